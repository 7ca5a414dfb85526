"""The graph as a file, in the form that the file's name asks for."""

from collections.abc import Callable
from pathlib import Path

from ..core.errors import SettingError
from ..core.text import quoted
from .model import GraphModel
from .render import draw_file

__all__ = ["save"]


def save(model: GraphModel, path: Path) -> Path:
    """Write the graph to a file. See `GraphModel.save`."""
    texts: dict[str, Callable[[], str]] = {
        ".svg": model.svg,
        ".dot": model.dot,
        ".mmd": model.mermaid,
        ".txt": model.outline,
    }
    suffix = path.suffix.lower()
    if suffix in texts:
        path.write_text(texts[suffix]() + "\n", encoding="utf-8")
    elif suffix in (".png", ".pdf"):
        path.write_bytes(draw_file(model.dot(), suffix.removeprefix(".")))
    else:
        known = ", ".join((*texts, ".png", ".pdf"))
        raise SettingError(f"save({quoted(path.name)}): the name must end in one of {known}.")
    return path
