"""Tables as CSV files that are safe to open, under names that are safe to write."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import ExportError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["write_csv"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")

# What a spreadsheet takes for the beginning of a formula (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(df: "pd.DataFrame", path: str | Path, *, overwrite: bool, escape_formulas: bool) -> Path:
    """Write a table. See `BatchResult.to_csv`."""
    target = Path(path)
    if not _NAME.fullmatch(target.name):
        raise ExportError(
            f"{target.name[:100]!r} is no name for a file here: letters, digits, '.', '_' and '-', 100 at most."
        )
    if not target.parent.is_dir():
        raise ExportError(f"there is no folder {str(target.parent)!r}; make it first.")
    if target.is_symlink():
        raise ExportError(f"{target.name!r} is a link, which is not followed; remove it, or choose another name.")
    if target.exists() and not overwrite:
        raise ExportError(f"{target.name!r} is there already; give another name, or overwrite=True.")
    if escape_formulas:
        df = df.rename(columns=_escaped, index=_escaped)
        for place, name in enumerate(df.columns):
            values = df.iloc[:, place]
            if values.dtype == object or values.dtype == "string":
                df = df.assign(**{name: values.map(_escaped, na_action="ignore")})
    with target.open("w" if overwrite else "x", encoding="utf-8", errors="replace", newline="") as file:
        df.to_csv(file)
    return target


def _escaped(value: Any) -> Any:
    if isinstance(value, tuple):  # a label of several levels
        return tuple(_escaped(part) for part in value)
    if isinstance(value, int | float):
        return value
    try:
        text = str(value)
    except Exception as exc:  # the user's class cannot say what it is
        return f"<{type(value).__name__}: {type(exc).__name__}>"
    return f"'{text}" if text.startswith(_FORMULA) else value
