"""The README's code runs, and prints what the README says."""

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


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
