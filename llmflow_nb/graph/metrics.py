"""Estimate the width of a text in a drawing.

The widths of ASCII characters are those of Helvetica, from the Adobe font metrics; Arial and Liberation Sans have the
same. Any other character is taken to be as wide as its font size if it is a wide one of East Asia, else a bit wider
than an "n".
"""

from functools import lru_cache
from unicodedata import combining, east_asian_width

__all__ = ["text_width"]

# Of " " to "~", in thousandths of the font size.
# fmt: off
_ASCII = (
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
)
# fmt: on


@lru_cache(maxsize=4096)
def text_width(text: str, size: float) -> float:
    """Return the estimated width of a text in the unit of ``size``, the font size."""
    return sum(map(_width, text)) * size / 1000


def _width(char: str) -> int:
    code = ord(char) - 32
    if 0 <= code < len(_ASCII):
        return _ASCII[code]
    if combining(char):
        return 0
    return 1000 if east_asian_width(char) in "WF" else 600
