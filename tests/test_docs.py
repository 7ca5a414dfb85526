"""What is written about the package: the README's code runs, links lead somewhere, every public name is told of.

The code of docs/ runs when it is built: `make docs`.
"""

import contextlib
import io
import re
from pathlib import Path

import pytest

import llmflow_nb
from llmflow_nb.core import errors

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_readme_blocks():
    """Every python block of the README runs, after those before it; a text block right after one is what it prints."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert [kind for kind, _ in blocks].count("python") >= 3
    namespace = {"__name__": "readme"}
    printed = None
    for kind, text in blocks:
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, "README.md", "exec"), namespace)
            printed = out.getvalue()
        else:
            assert kind == "text"
            assert printed == text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths(page):
    """Every link to a file, and every path to a file of this repository that is named, is there."""
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    named = re.findall(r"(?<!\})`((?:docs|notebooks|tests|benchmarks|llmflow_nb)/[\w./]+)`", text)
    layers = re.findall(r"(?<!\})`((?:core|engine|runs|graph|stepper|notebook)/[\w./]+)`", text)
    named += [f"llmflow_nb/{path}" for path in layers]
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_targets():
    """Every `make` target that is named is one."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M))
    named = {word for page in PAGES for word in re.findall(r"`make ([\w-]+)", page.read_text(encoding="utf-8"))}
    assert named - targets == set()


def test_the_reference_has_every_public_name():
    """Each name of the package, but for the errors, which are listed as a whole, has an entry in the reference."""
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    names = set(llmflow_nb.__all__) - set(errors.__all__)
    assert [name for name in sorted(names) if f":: llmflow_nb.{name}\n" not in text] == []
    assert ".. automodule:: llmflow_nb.core.errors" in text
