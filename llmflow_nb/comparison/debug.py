"""`Comparison.debug`: the row and the variants to open, and their steppers side by side."""

from typing import TYPE_CHECKING, Any

from ..core.api.display import ShownLive
from ..core.errors import RowError, SettingError, a_type, did_you_mean
from ..core.text import quoted
from ..runs.selection import rows_of
from ..stepper.stepper import Stepper
from .measures import Measures
from .rows import Row

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Steppers", "chosen"]


class Steppers(ShownLive, dict[str, Stepper]):
    """Steppers by the name of their variant. As the last line of a cell they are shown side by side."""

    _shown_as = "steppers"

    def _repr_pretty_(self, printer: Any, is_cycle: bool) -> None:
        """Print the text form, where IPython would print a dict."""
        printer.text(self._repr_mimebundle_()["text/plain"])


def chosen(
    df: "pd.DataFrame", path: str, measures: Measures, label: Any, names: tuple[str, ...]
) -> tuple[Row, list[str]]:
    """Return the row with a label, and the variants to open there. See `Comparison.debug`.

    Args:
        df: The table of the comparison.
        path: The path of the batch, for errors.
        measures: The rows.
        label: The label of the row, or its number.
        names: The variants that the user has named.
    """
    for name in names:
        if name not in measures.names:
            raise SettingError(f"no variant {quoted(name)}{did_you_mean(name, measures.names)}.")
    if isinstance(label, list) or hasattr(type(label), "iloc"):
        raise RowError(f"debug got {a_type(label)}; give the label of one row, such as .regressions.index[0].")
    try:
        (number,) = rows_of(df, path, [label])
    except RowError as exc:  # its advice to give a part of the table is for several rows
        raise RowError(str(exc).replace(", or a part of .df itself, such as .df[mask]", "")) from None
    row = measures.rows[number]

    def rank(name: str) -> tuple[bool, float]:
        return not measures.is_regression(row, name), measures.delta(row, name) or 0.0

    return row, list(names) or [measures.baseline, min(measures.others, key=rank)]
