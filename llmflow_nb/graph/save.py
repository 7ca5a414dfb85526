"""The graph as a file, in the form that the file's name asks for."""

from collections.abc import Callable
from pathlib import Path

from ..core.errors import SettingError
from .model import GraphModel, Style
from .render import draw_file

__all__ = ["save"]


def save(model: GraphModel, path: Path, *, direction: str | None, legend: bool, style: Style | None) -> Path:
    """Write the graph to a file. See `GraphModel.save`."""
    dot = model.dot(direction=direction, legend=legend, style=style)
    texts: dict[str, Callable[[], str]] = {
        ".svg": lambda: model.svg(direction=direction, legend=legend, style=style),
        ".dot": lambda: dot,
        ".mmd": model.mermaid,
        ".txt": lambda: model.outline() + "\n",
    }
    suffix = path.suffix.lower()
    if suffix in texts:
        path.write_text(texts[suffix](), encoding="utf-8")
    elif suffix in (".png", ".pdf"):
        path.write_bytes(draw_file(dot, suffix.removeprefix(".")))
    else:
        known = ", ".join((*texts, ".png", ".pdf"))
        raise SettingError(f"save({path.name!r}): the name must end in one of {known}.")
    return path
