"""The offline summary with which `call_llm` answers if no model is configured.

It reads the prompt as "instruction: text", scores each sentence of the text by TF-IDF against the whole text, and
returns the most central sentences word for word. The same prompt always gives the same answer.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from math import hypot, log

NOTICE = (
    "llmflow_nb: no model is configured, so call_llm() answers with an offline summary: the most central sentences\n"
    'of the text, found by TF-IDF. That is not a model. To get one: pip install "llmflow_nb[openai]", then set\n'
    "OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own."
)
NOTHING_TO_SUMMARISE = "(no text to summarise)"

# The candidates are the sentences of a text, or of the docstrings and comments of source code. TF-IDF makes each a
# vector of length 1. The most central one has the highest mean similarity to all of them. The best candidates that fit
# the limits are taken, except those that nearly repeat one that is taken already.

_notice_lock = threading.Lock()
_noticed = False


def summarise(prompt: str) -> str:
    """Return the most central sentences of the text in a prompt. Print `NOTICE` once per process."""
    instruction, text = _split_prompt(prompt)
    words, count = _limits(instruction)
    candidates = _candidates(text) or [_names_in_code(text) or " ".join(text.split()) or NOTHING_TO_SUMMARISE]
    answer = _most_central(candidates, words, count)
    _notice_once()
    return answer


def _notice_once() -> None:
    global _noticed
    with _notice_lock:
        if not _noticed:
            # Not a warning: that would put the caller's file and line into each saved notebook.
            print(NOTICE, file=sys.stderr)
            _noticed = True


_INSTRUCTION = re.compile(r"\s*(?:([^:\n]{1,200}):(?:\s|$)|([^\n]{0,100}(?i:summar)[^\n]{0,100})\n\s*\n)")
_NUMBER_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {word: n for n, word in enumerate(_NUMBER_WORDS, 1)}
_TERM = re.compile(r"\b\w\w+\b")
_LIMIT = re.compile(rf"(?i)\b(\d{{1,6}}|{'|'.join(_NUMBERS)})[\s-]+(word|sentence)")


def _split_prompt(prompt: str) -> tuple[str, str]:
    """Split off the instruction: a first line up to a colon, or a line with "summar" before an empty line."""
    match = _INSTRUCTION.match(prompt)
    return (match[match.lastindex or 0], prompt[match.end() :]) if match else ("", prompt)


def _limits(instruction: str) -> tuple[int, int]:
    """Return the numbers of words and sentences in an instruction. Default: two sentences, 50 words for each."""
    asked = {unit.lower(): _NUMBERS.get(number.lower()) or int(number) for number, unit in _LIMIT.findall(instruction)}
    sentences = max(1, asked.get("sentence", asked.get("word", 2)))
    return max(1, asked.get("word", 50 * sentences)), sentences


def _most_central(candidates: list[str], words: int, count: int) -> str:
    # A chunk of a longer text begins and ends with incomplete sentences.
    candidates = [candidate for candidate in candidates if _WHOLE.match(candidate)] or candidates
    vectors = _tf_idf(candidates)
    if not any(vectors):  # there are only stop words
        return _cut(candidates[0], words)
    total: dict[str, float] = defaultdict(float)
    for vector in vectors:
        for term, weight in vector.items():
            total[term] += weight
    # Rounding removes the last bits, which differ between machines.
    scores = [round(_similarity(vector, total), 9) for vector in vectors]
    related = [score > 1 for score in scores]  # each sentence has a similarity of 1 with itself
    if any(related):
        related[0] = True  # the first sentence often names the subject
        scores[0] *= 1.5

    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    order = [index for index in order if related[index]] or order
    taken: list[int] = []
    for index in order:
        if len(taken) == count or scores[index] < scores[order[0]] / 4:
            break
        size = _size(candidates[index])
        if size <= words and all(_similarity(vectors[index], vectors[other]) <= 0.75 for other in taken):
            taken.append(index)
            words -= size
    return " ".join(candidates[index] for index in sorted(taken)) or _cut(candidates[order[0]], words)


def _tf_idf(candidates: list[str]) -> list[dict[str, float]]:
    """Return the weights of the terms of each candidate. `TfidfVectorizer` does the same, and checks for 3 ms."""
    try:
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
    except ImportError as exc:
        raise ImportError(
            'The offline summary needs scikit-learn: pip install "llmflow_nb[offline]". '
            'For a model instead: pip install "llmflow_nb[openai]" and set OPENAI_API_KEY or OPENAI_BASE_URL.'
        ) from exc
    counts = [Counter(_TERM.findall(candidate.lower())) for candidate in candidates]
    shares = Counter(term for each in counts for term in each)
    vectors = []
    for each in counts:
        vector = {
            term: (1 + log(count)) * (1 + log((1 + len(counts)) / (1 + shares[term])))
            for term, count in each.items()
            if term not in ENGLISH_STOP_WORDS
        }
        length = hypot(*vector.values())
        vectors.append({term: weight / length for term, weight in vector.items()})
    return vectors


def _similarity(vector: dict[str, float], other: dict[str, float]) -> float:
    return sum(weight * other.get(term, 0.0) for term, weight in vector.items())


def _size(sentence: str) -> int:
    """Return the number of words. A text without spaces counts as one word for every 30 characters."""
    return max(len(sentence.split()), len(sentence) // 30)


def _cut(sentence: str, words: int) -> str:
    if _size(sentence) <= words:
        return sentence
    return " ".join(sentence.split()[:words])[: 30 * words].rstrip(".,;:") + "…"


# --- sentences in prose and in code ----------------------------------------------------------------------------------

_WHOLE = re.compile(r"""["'`(\[]*[^\W\d_a-z].*[.!?…。]["'`)\]]*$""")
_SENTENCE_END = re.compile(
    r"""(?<=[.!?…])(?<!e\.g\.)(?<!i\.e\.)(?<!\b[A-Z]\.)["')\]]*\s+(?=["'`(\[]*[^\W\d_a-z])  # next: no small letter
    |(?<=[。\uff01\uff1f])""",
    re.VERBOSE,
)
_CODE_LINE = re.compile(
    r"""^[ \t]*(?:(?:async[ ]+)?def[ ]|class[ ]+\w+.*:$|import[ ]|from[ ]+\S+[ ]+import[ ]|@\w|return\b|raise[ ]
    |(?:if|elif|else|for|while|with|try|except)\b.*:$|[\w.\[\]]+(?::[ ]*[\w\[\], |]+)?[ ][-+|]?=[ ]|[\w.]+\(.*\)$
    |'[^'\n]*'[:,]|"[^"\n]*"[:,]|0x)""",
    re.VERBOSE | re.MULTILINE,
)
_FENCED = re.compile(r"(?ms)^[ \t]*(```|~~~).*?^[ \t]*\1")  # a block of code in Markdown
_COMMENT_LINE = re.compile(r"\s*#+!?\s*(.*)$")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•]|\d+[.)]|>)\s+")
_SYNTAX = re.compile(r"[={}<>\\|]|\bself\b|--|\.\.\.|\w\(\w")
_ASIDE = re.compile(r"(?i)copyright|licen[sc]e|all rights|\bauthor|warrant|this software|\b(?:xxx|todo|fixme)\b|\?$")


def _candidates(text: str) -> list[str]:
    """Return the sentences that a summary may contain, each once."""
    text = _FENCED.sub("", text) or text
    if not _is_code(text, 0.06):
        found = list(dict.fromkeys(_sentences(text.splitlines())))
        return [sentence for sentence in found if _reads_as_prose(sentence)] or found
    docstrings: list[str] = []
    comments: list[str] = []
    # A chunk may begin inside a docstring, so the content of a part decides whether it is one.
    for part in re.split(r'"""|\'\'\'', text):
        lines = part.splitlines()
        if _is_code(part, 0.25):
            # A line without a comment separates the comments around it.
            comments += _sentences([comment[1] if (comment := _COMMENT_LINE.match(line)) else "" for line in lines])
        else:
            docstrings += _sentences(lines)
    return _worth_telling(docstrings) or _worth_telling(comments)


def _is_code(text: str, share: float) -> bool:
    lines = sum(1 for line in text.splitlines() if line.strip() and not _COMMENT_LINE.match(line))
    return len(_CODE_LINE.findall(text)) > share * lines


def _worth_telling(sentences: list[str]) -> list[str]:
    kept = (s for s in sentences if len(s.split()) > 2 and _reads_as_prose(s) and not _ASIDE.search(s))
    return list(dict.fromkeys(kept))


def _sentences(lines: list[str]) -> Iterator[str]:
    paragraph: list[str] = []
    for line in [*lines, ""]:
        item = _LIST_ITEM.match(line)
        if item or not line.strip():
            yield from _split_sentences(" ".join(paragraph))
            paragraph = []
        paragraph.append(line[item.end() :] if item else line.lstrip("# \t"))


def _split_sentences(paragraph: str) -> Iterator[str]:
    for sentence in _SENTENCE_END.split(" ".join(paragraph.split())):
        if any(character.isalnum() for character in sentence):
            yield sentence


def _reads_as_prose(sentence: str) -> bool:
    """Return whether a text is a sentence, and not a table, a signature, an example or a line of code."""
    letters = sum(character.isalpha() or character == " " for character in sentence)
    return letters > 0.85 * len(sentence) and not _SYNTAX.search(sentence)


def _names_in_code(text: str) -> str:
    """Return a sentence about code that has no prose: the names that it defines."""
    names = list(dict.fromkeys(re.findall(r"(?m)^[ \t]*(?:class|def|async[ ]+def)[ ]+(\w+)", text)))
    public = [name for name in names if not name.startswith("_")] or names
    if public:
        return f"Code that defines {', '.join(public[:8])}."
    return "Code or data with no sentence of prose." if _is_code(text, 0.06) else ""
