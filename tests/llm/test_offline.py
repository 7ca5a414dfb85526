"""`call_llm` without a model: the offline summary, and what is no prompt."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmflow_nb.llm import call_llm

VARIABLES = ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "LLMFLOW_NB_MODEL"]
KEY = "dummy-key-for-tests"

PROSE = """\
Bees live in hives. A hive of bees has one queen, and the queen lays all the eggs of the hive.
The weather was fine that day. Worker bees collect nectar, and the hive turns nectar into honey.
"""

CODE = '''\
"""Read and write tables of numbers."""

import math

__all__ = ["read_table", "write_table"]

# A table is a list of rows.
def read_table(path):
    """Read a table from a file, row by row."""
    with open(path) as file:
        rows = [[float(cell) for cell in line.split()] for line in file]
    return rows


def write_table(path, rows):
    """Write the rows of a table to a file."""
    with open(path, "w") as file:
        file.write("\\n".join(" ".join(map(str, row)) for row in rows))
'''


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def words(text: str) -> int:
    return len(text.split())


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, where nothing has been imported or said yet."""
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parent.parent,
    )


# --- the offline summary ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3, 10, 25])
def test_word_limit(limit: int) -> None:
    """The words asked for bound the answer."""
    assert 0 < words(call_llm(f"Summarize this chunk in {limit} words: {PROSE}")) <= limit


@pytest.mark.parametrize(
    ("instruction", "sentences"),
    [("in 1 sentence", 1), ("in one sentence", 1), ("in two sentences", 2), ("in at most 3 sentences", 3), ("", 2)],
)
def test_sentence_limit(instruction: str, sentences: int) -> None:
    """The sentences asked for bound the answer, and without any limit it has two sentences at most."""
    assert call_llm(f"Summarize {instruction}: {PROSE}").count(".") == sentences


def test_answer_is_quoted_in_order() -> None:
    """The sentences of an answer stand in the text word for word, and in the same order."""
    text = " ".join(PROSE.split())
    answer = re.split(r"(?<=\.) ", call_llm(f"Summarize in 3 sentences: {PROSE}"))
    places = [text.index(sentence) for sentence in answer]
    assert places == sorted(places)


def test_aside_is_left_out() -> None:
    """What has nothing to do with the rest of a text is not in its summary."""
    assert "weather" not in call_llm(f"Summarize this: {PROSE}")


def test_no_sentence_twice() -> None:
    """A sentence that the text repeats comes once."""
    answer = call_llm("Summarize this: Bees make honey. Bees make honey. Bees make honey! Bears like honey.")
    assert answer.count("Bees make honey") == 1


def test_instruction_is_no_part_of_the_text() -> None:
    """The answer is made of the text, not of the instruction before it."""
    assert call_llm("Summarize chunk: Bees make honey.") == "Bees make honey."


def test_instruction_with_an_empty_line_after_it() -> None:
    """An instruction may also end with an empty line."""
    assert words(call_llm(f"Summarize the text below in 10 words.\n\n{PROSE}")) <= 10


def test_prompt_without_an_instruction() -> None:
    """A prompt that is only text is summarised whole."""
    assert call_llm("Bees make honey.") == "Bees make honey."


def test_long_sentence_is_cut() -> None:
    """Where no sentence fits the limit, the most central one is cut, and shows it."""
    assert call_llm("Summarize in 3 words: Bees make a great deal of honey.") == "Bees make a…"


def test_text_without_sentences() -> None:
    """A text with no sentences, or not even spaces, gets a short answer too."""
    assert words(call_llm(f"Summarize this chunk: {'a1=b2 ' * 2000}")) <= 100
    assert len(call_llm(f"Summarize this chunk in 10 words: {'a1b2' * 2000}")) <= 301


def test_markdown_is_told_by_its_prose() -> None:
    """Blocks of code in Markdown are passed over."""
    text = f"# Tables\n\nA table has rows of *numbers*.\n\n```python\n{CODE}```\n"
    assert call_llm(f"Summarize this chunk in one sentence: {text}") == "A table has rows of *numbers*."


@pytest.mark.parametrize("prompt", ["Summarize this: ", "Summarize in 10 words:\n\n"])
def test_nothing_to_summarise(prompt: str) -> None:
    """An instruction with no text after it gets an answer that says so."""
    assert call_llm(prompt) == "(no text to summarise)"


def test_python_source_is_told_by_its_docstrings() -> None:
    """Of Python source the docstrings are read, not the lines of code."""
    answer = call_llm(f"Summarize this chunk in 3 sentences: {CODE}")
    assert "Read a table from a file, row by row." in answer
    assert not re.search(r"import|return|=|\(", answer)


def test_chunk_that_begins_inside_a_docstring() -> None:
    """A chunk that begins in the middle of a docstring is read like any other."""
    answer = call_llm(f"Summarize this chunk in 10 words: {CODE[CODE.index('from a file') :]}")
    assert answer == "Write the rows of a table to a file."


def test_python_source_with_comments_only() -> None:
    """Without docstrings the comments are read."""
    code = "import os\n\n# The folder that holds the cache.\nCACHE = os.getcwd()\nSIZE = 10\n"
    assert call_llm(f"Summarize this chunk: {code}") == "The folder that holds the cache."


def test_python_source_without_prose() -> None:
    """Source without docstrings and comments is told by what it defines."""
    code = "import os\n\nclass Cache:\n    def clear(self):\n        return os.getcwd()\n"
    assert call_llm(f"Summarize this chunk: {code}") == "Code that defines Cache, clear."


def test_source_of_the_standard_library() -> None:
    """Every chunk of real source gets an answer within its limit, and the same one each time."""
    text = Path(json.__file__).read_text(encoding="utf-8")
    for start in range(0, len(text), 1000):
        prompt = f"Summarize this chunk in 10 words: {text[start : start + 1000]}"
        assert 0 < words(call_llm(prompt)) <= 10
        assert call_llm(prompt) == call_llm(prompt)


@given(st.text(min_size=1).filter(str.strip))
def test_any_prompt_gets_an_answer(prompt: str) -> None:
    """No text makes the summary fail or come out empty."""
    assert call_llm(prompt).strip()


def test_many_threads_at_once() -> None:
    """Calls from many threads give what the same calls give one after the other."""
    prompts = [f"Summarize in {limit} words: {PROSE}" for limit in range(1, 41)]
    with ThreadPoolExecutor(8) as executor:
        assert list(executor.map(call_llm, prompts)) == [call_llm(prompt) for prompt in prompts]


def test_model_name_makes_no_difference_offline() -> None:
    """The offline summary takes a model's name and has no use for it."""
    assert call_llm(f"Summarize: {PROSE}", model="any") == call_llm(f"Summarize: {PROSE}")


def test_says_once_that_it_is_no_model() -> None:
    """The first call of a process says on stderr that there is no model and how to get one; the others say nothing."""
    done = python("from llmflow_nb.llm import call_llm\nfor text in 'ab': call_llm(f'Summarize: Bees {text} fly.')")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("no model is configured") == 1
    assert "offline summary" in done.stderr
    assert 'pip install "llmflow_nb[openai]"' in done.stderr
    assert "/" not in done.stderr
    assert "\\" not in done.stderr


def test_import_is_cheap() -> None:
    """Importing the module imports neither the SDK nor scikit-learn nor NumPy."""
    done = python(
        "import sys, llmflow_nb.llm\n"
        "print([name for name in ('openai', 'sklearn', 'numpy', 'pandas') if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_without_scikit_learn() -> None:
    """Without scikit-learn the error names the extra that brings it."""
    done = python(
        "import sys; sys.modules['sklearn'] = None\nfrom llmflow_nb.llm import call_llm\ncall_llm('Bees fly.')"
    )
    assert 'ImportError: The offline summary needs scikit-learn: pip install "llmflow_nb[offline]"' in done.stderr


# --- prompts that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["", "  \n\t"])
def test_empty_prompt(prompt: str) -> None:
    """A prompt with nothing in it is an error before anything is called."""
    with pytest.raises(ValueError, match="empty prompt; write what to ask"):
        call_llm(prompt)


@pytest.mark.parametrize(("prompt", "kind"), [(None, "NoneType"), (["text"], "list"), (b"text", "bytes")])
def test_prompt_of_another_type(prompt: Any, kind: str) -> None:
    """A prompt that is no str is an error that names its type."""
    with pytest.raises(TypeError, match=f"needs the prompt as a str, not {kind}"):
        call_llm(prompt)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_timeout_that_is_none(timeout: float) -> None:
    """A timeout that is not above 0 is an error, with and without a model."""
    with pytest.raises(ValueError, match=r"call_llm\(timeout=.*\): timeout must be seconds, more than 0, or None"):
        call_llm("Hello", timeout=timeout)


# --- without the SDK -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "OPENAI_BASE_URL"])
def test_without_the_sdk(variable: str) -> None:
    """With a model configured and no SDK, the error names the extra that brings it, and does not show the value."""
    done = python(
        "import sys; sys.modules['openai'] = None\nfrom llmflow_nb.llm import call_llm\ncall_llm('Hello')",
        **{variable: KEY},
    )
    assert f"ImportError: {variable} is set, but the openai package cannot be imported" in done.stderr
    assert 'pip install "llmflow_nb[openai]"' in done.stderr
    assert KEY not in done.stderr
