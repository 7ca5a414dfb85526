"""Write tables as CSV files that are safe to open in a spreadsheet. File names are restricted to safe ones."""

import os
import re
from numbers import Number
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..core.errors import ExportError
from ..core.text import quoted

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write_csv"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")

# A spreadsheet reads a text that starts with one of these as a formula (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(df: "pd.DataFrame", path: str | Path, *, overwrite: bool, escape_formulas: bool) -> Path:
    """Write a table. See `BatchResult.to_csv`."""
    from .tables import mapped

    target = Path(path).expanduser()
    _check(target, overwrite)
    part = target.with_name(f".{uuid4().hex}.part")  # an existing file stays complete until this one is
    try:
        with part.open("x", encoding="utf-8", newline="") as file:
            table = mapped(df, lambda value: _plain(value, escape_formulas))
            table.to_csv(file, lineterminator="\r\n")  # so that a lone \r is quoted too
        _check(target, overwrite)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _check(target: Path, overwrite: bool) -> None:
    """Check that a file may be written.

    Raises:
        ExportError: The name is not allowed, the folder is missing, or the file exists.
    """
    if not _NAME.fullmatch(target.name):
        raise ExportError(
            f"{quoted(target.name, 100)} is not allowed as a file name: use letters, digits, '.', '_' and '-', "
            "100 at most."
        )
    if not target.parent.is_dir():
        raise ExportError(f"there is no folder {quoted(str(target.parent), 300)}; create it first.")
    if target.is_symlink():
        raise ExportError(
            f"{quoted(target.name)} is a link, and links are not followed; remove it or choose another name."
        )
    if target.exists() and not target.is_file():
        raise ExportError(f"{quoted(target.name)} exists and is not a file; choose another name.")
    if target.exists() and not overwrite:
        raise ExportError(f"{quoted(target.name)} exists; choose another name or set overwrite=True.")


def _plain(value: Any, escape_formulas: bool) -> Any:
    """Return a value as a text that can be written; a number as it is."""
    if isinstance(value, Number):
        return value
    try:
        text = str(value)
    except Exception as exc:  # from a user's class
        return f"<{type(value).__name__}: {type(exc).__name__}>"
    text = text.encode("utf-8", "replace").decode()
    return f"'{text}" if escape_formulas and text.startswith(_FORMULA) else text
