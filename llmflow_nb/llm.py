"""`call_llm`: one prompt in, one text out, from the model that the environment names or from an offline stand-in.

The stand-in lets every example run with no account, no key and no network. It is no model: it reads the prompt as
"instruction: text", scores the sentences of the text by TF-IDF against all of the text, and returns the most central
ones word for word. The same prompt always gives the same answer.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai import OpenAI

__all__ = ["call_llm"]

DEFAULT_MODEL = "gpt-4o-mini"
DEFAULT_BASE_URL = "https://api.openai.com/v1"

NOTICE = (
    "llmflow_nb: no model is configured, so call_llm() answers with an offline summary: the most central sentences\n"
    'of the text, found by TF-IDF. That is no model. To get one: pip install "llmflow_nb[openai]", then set\n'
    "OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own."
)
NOTHING_TO_SUMMARISE = "(no text to summarise)"


def call_llm(prompt: str, *, model: str | None = None) -> str:
    """Answer a prompt with the configured model or, where none is configured, with an offline summary.

    With `OPENAI_API_KEY` or `OPENAI_BASE_URL` in the environment, the prompt goes as one chat completion to that
    OpenAI-compatible endpoint. It is tried once: repeating, waiting and limiting are the node's affair
    (`max_retries`, `wait`, `timeout`, `limiter`), which counts every try.

    Otherwise the answer is extracted from the prompt itself, and a note on stderr says so, once per process. A prompt
    is read as `instruction: text`; "in 10 words" or "in two sentences" in the instruction bounds the answer, without
    it the answer has at most two sentences. Of Python source only docstrings and comments are read. The function can
    be called from many threads at once.

    Args:
        prompt: What to ask, such as `f"Summarize this chunk in 10 words: {chunk}"`.
        model: The model's name at the endpoint. None: `LLMFLOW_NB_MODEL`, else `OPENAI_MODEL` from the environment,
            else "gpt-4o-mini". The offline summary has no use for it.

    Returns:
        The answer, without white space around it.

    Raises:
        TypeError: The prompt is not a str.
        ValueError: The prompt is empty, or the key can be none.
        ImportError: A package is missing; the message names the extra that installs it.
        RuntimeError: The model answered with no text, or the endpoint's own error would have shown the key.
        openai.OpenAIError: Any other error of the endpoint, as the SDK raises it.

    Example:
        >>> call_llm("Summarize in 4 words: Cats sleep. Cats and dogs sleep long. Rain fell.")
        'Cats sleep.'
    """
    if not isinstance(prompt, str):
        raise TypeError(f"call_llm needs the prompt as a str, not {type(prompt).__name__}.")
    if not prompt.strip():
        raise ValueError("call_llm got an empty prompt; write what to ask, such as f'Summarize this: {text}'.")
    if _setting("OPENAI_API_KEY") or _setting("OPENAI_BASE_URL"):
        return _ask_model(prompt, model or _setting("LLMFLOW_NB_MODEL") or _setting("OPENAI_MODEL") or DEFAULT_MODEL)
    return _summarise_offline(prompt)


def _setting(name: str) -> str:
    """An environment variable that is empty counts as not set."""
    return os.environ.get(name, "").strip()


# --- the model -------------------------------------------------------------------------------------------------------


def _ask_model(prompt: str, model: str) -> str:
    key = _setting("OPENAI_API_KEY")
    if not (key.isascii() and key.isprintable()):
        # It would fail as an HTTP header, with the key in the error.
        raise ValueError("OPENAI_API_KEY holds a line break or another character that no key has; set it anew.")
    try:
        client = _client(_setting("OPENAI_BASE_URL") or DEFAULT_BASE_URL, key or "none")
    except ImportError as exc:
        variable = "OPENAI_API_KEY" if key else "OPENAI_BASE_URL"
        raise ImportError(
            f"{variable} is set, but the openai package cannot be imported: "
            f'pip install "llmflow_nb[openai]", or unset {variable} for the offline summary.'
        ) from exc
    revealing = ""
    try:
        completion = client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])
    except Exception as exc:
        if not _shows(key, exc):
            raise
        revealing = f"{type(exc).__name__}: {exc}".replace(key, "[key]")
    # Raised out here, so that nothing leads back to the error that shows the key.
    if revealing:
        raise RuntimeError(revealing)
    choice = completion.choices[0] if completion.choices else None
    if choice is None or not choice.message.content:
        reason = f"finish_reason {choice.finish_reason!r}" if choice else "no choices"
        raise RuntimeError(f"The model {model!r} answered with no text ({reason}).")
    return choice.message.content.strip()


@lru_cache(maxsize=1)
def _client(base_url: str, api_key: str) -> OpenAI:
    """Kept between calls: making one costs 30 ms, and the next call finds the connection open."""
    from openai import OpenAI

    return OpenAI(base_url=base_url, api_key=api_key, max_retries=0)


def _shows(key: str, exc: BaseException) -> bool:
    """Whether the error, or one that it came from, has the key in its text."""
    link: BaseException | None = exc
    while key and link is not None:
        if key in f"{link} {link!r}":
            return True
        link = link.__cause__ or link.__context__
    return False


# --- the stand-in ----------------------------------------------------------------------------------------------------
#
# A text becomes candidates: its sentences, or for source code those of its docstrings and comments. TF-IDF makes each a
# vector of length 1; the most central is the one whose mean likeness to all of them is highest. Taken are the best that
# fit the limits, and none that says nearly the same as one already taken.

_notice_lock = threading.Lock()
_noticed = False


def _summarise_offline(prompt: str) -> str:
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
            # Not a warning: its text would carry the caller's file and line into every saved notebook.
            print(NOTICE, file=sys.stderr)
            _noticed = True


_INSTRUCTION = re.compile(r"\s*(?:([^:\n]{1,200}):(?:\s|$)|([^\n]{0,100}(?i:summar)[^\n]{0,100})\n\s*\n)")
_NUMBERS = {
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_LIMIT = re.compile(rf"(?i)\b(\d{{1,6}}|{'|'.join(_NUMBERS)})[\s-]+(word|sentence)")


def _split_prompt(prompt: str) -> tuple[str, str]:
    """Take the instruction off the text: a first line up to a colon, or one that says "summar" before an empty line."""
    match = _INSTRUCTION.match(prompt)
    return (match[match.lastindex or 0], prompt[match.end() :]) if match else ("", prompt)


def _limits(instruction: str) -> tuple[int, int]:
    """How many words and sentences an instruction asks for: two sentences where it says nothing, 50 words for each."""
    asked = {unit.lower(): _NUMBERS.get(number.lower()) or int(number) for number, unit in _LIMIT.findall(instruction)}
    sentences = max(1, asked.get("sentence", asked.get("word", 2)))
    return max(1, asked.get("word", 50 * sentences)), sentences


def _most_central(candidates: list[str], words: int, count: int) -> str:
    try:
        import numpy as np
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError as exc:
        raise ImportError(
            'The offline summary needs scikit-learn: pip install "llmflow_nb[offline]". '
            'For a model instead: pip install "llmflow_nb[openai]" and set OPENAI_API_KEY or OPENAI_BASE_URL.'
        ) from exc
    # A text that is cut into chunks has half sentences at both ends.
    candidates = [candidate for candidate in candidates if _WHOLE.match(candidate)] or candidates
    try:
        matrix = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit_transform(candidates)
    except ValueError:  # no word is left once the stop words are gone
        return _cut(candidates[0], words)
    # Rounded, so that the last bits, which differ between machines, decide nothing.
    scores = np.round(matrix @ np.asarray(matrix.sum(axis=0)).ravel(), 9)
    related = scores > 1  # to itself each has a likeness of 1
    if related.any():
        related[0] = True  # texts tend to begin with what they are about
        scores[0] *= 1.5

    order = [index for index in np.argsort(-scores, kind="stable") if related[index] or not related.any()]
    taken: list[int] = []
    for index in order:
        if len(taken) == count or scores[index] < scores[order[0]] / 4:
            break
        size = _size(candidates[index])
        if size <= words and not (taken and (matrix[taken] @ matrix[index].T).max() > 0.75):
            taken.append(index)
            words -= size
    return " ".join(candidates[index] for index in sorted(taken)) or _cut(candidates[order[0]], words)


def _size(sentence: str) -> int:
    """The number of words; what has no spaces counts as a word for every 30 characters."""
    return max(len(sentence.split()), len(sentence) // 30)


def _cut(sentence: str, words: int) -> str:
    return (
        sentence if _size(sentence) <= words else " ".join(sentence.split()[:words])[: 30 * words].rstrip(".,;:") + "…"
    )


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
    """The sentences that can stand in a summary, each once."""
    text = _FENCED.sub("", text) or text
    if not _is_code(text, 0.06):
        found = list(dict.fromkeys(_sentences(text.splitlines())))
        return [sentence for sentence in found if _reads_as_prose(sentence)] or found
    docstrings: list[str] = []
    comments: list[str] = []
    # Whether a part stands inside or outside of a docstring is judged by its look: a chunk may begin in either.
    for part in re.split(r'"""|\'\'\'', text):
        lines = part.splitlines()
        if _is_code(part, 0.25):
            # A line that is no comment separates those around it.
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
    """Tell a sentence from a table, a signature, an example or a line of code beside it."""
    letters = sum(character.isalpha() or character == " " for character in sentence)
    return letters > 0.85 * len(sentence) and not _SYNTAX.search(sentence)


def _names_in_code(text: str) -> str:
    """What code without a word of prose has to say for itself."""
    names = list(dict.fromkeys(re.findall(r"(?m)^[ \t]*(?:class|def|async[ ]+def)[ ]+(\w+)", text)))
    public = [name for name in names if not name.startswith("_")] or names
    if public:
        return f"Code that defines {', '.join(public[:8])}."
    return "Code or data with no sentence of prose." if _is_code(text, 0.06) else ""
