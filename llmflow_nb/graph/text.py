"""Make a string of unknown origin fit to be shown: one line, of a sane length, with nothing in it that XML forbids."""

import re

__all__ = ["LABEL_LENGTH", "shown"]

LABEL_LENGTH = 80

# What XML 1.0 forbids (https://www.w3.org/TR/xml/#charsets), and the C1 controls, which it advises against.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
# Nothing is seen of these; joiners, which emoji and some scripts are written with, stay.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2064\u206a-\u206f\u2800\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
)
# These change what stands beside them; alone, nothing is seen of them either.
_ONLY_BESIDE = re.compile("[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef\\s]*")
# Turn the reading direction of what follows: shown as text, so that a name cannot pose as another one.
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def shown(text: str, length: int = LABEL_LENGTH) -> str:
    r"""Return ``text`` as one line of 1 to ``length`` characters; "\ufffd" where nothing of it can be seen.

    >>> shown("two\nlines"), shown("\x00a\u202eb"), shown("abcdef", 4)
    ('two lines', 'a[U+202E]b', 'abc…')
    """
    is_long = str.__len__(text) > 4 * length
    text = str.__getitem__(text, slice(4 * length))  # before any work on it: it may be of any size, and of any class
    text = _INVISIBLE.sub("", _FORBIDDEN.sub("", text))
    text = _BIDI.sub(lambda found: f"[U+{ord(found[0]):04X}]", text)
    text = " ".join(text.split())
    if _ONLY_BESIDE.fullmatch(text):
        text = "\ufffd"
    return text[: length - 1] + "…" if is_long or len(text) > length else text
