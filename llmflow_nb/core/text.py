r"""Make texts and values from users and models safe to show. Everything that the library shows passes through here.

A node's name, an action, a param, an item or an error text may contain anything: terminal escape sequences, characters
that reverse the reading direction, a million letters, a password, a ``__repr__`` that raises. The functions of this
file return texts of bounded length, without such characters, and with secrets masked. They never raise. They do not
escape for HTML, XML, DOT or Mermaid: each writer does that itself.

* `shown`: a text as one line, for labels and cells. `message`: a sentence of the library with foreign texts in it.
* `quoted`: a value as Python writes it, for sentences and reprs. `literal`: the same, with control characters.
* `text_of`: ``str(value)`` unchanged, for tables of data.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

LABEL_LENGTH = 80
MASK = "***"
"""Stands for the value of a secret."""

# Patterns are strings: `re` compiles each at its first use and caches it, which saves 3 ms at import.
# Characters that are invisible, or that affect a terminal or the text beside them:
_HIDDEN = (
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029"  # the controls C0 and C1 and line ends, except "\t" and "\n"
    "\ud800-\udfff\ufffe\uffff"  # what XML forbids (https://www.w3.org/TR/xml/#charsets), such as lone surrogates
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the controls of the reading direction
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2064\u206a-\u206f\u2800\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"  # joiners stay: emoji and some scripts need them
)
# These change the character beside them; alone they are invisible.
_ONLY_BESIDE = "[\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef\\s]*"
_LINE_ENDS = "\r\n|[\t\n\r\x85\u2028\u2029]"


def class_name(value: object) -> str:
    """Return the name of a value's class, even if its metaclass overrides ``__name__``."""
    return str(type.__dict__["__name__"].__get__(type(value)))


def text_of(value: object) -> str:
    """Return ``str(value)`` as a plain str, of any length; a placeholder if it raises. A str keeps its characters."""
    try:
        text = value if issubclass(type(value), str) else str(value)
        return str.__getitem__(text, slice(None))  # type: ignore[index]  # ignores what a subclass overrides
    except Exception as exc:
        if issubclass(type(value), int):
            return f"<int of {int.bit_length(value)} bits>"  # type: ignore[arg-type]
        return f"<{class_name(value)} without a text: {class_name(exc)}>"


def plain_text(value: Any) -> Any:
    """Return a str of any class (such as a string Enum) as a plain str, and any other value unchanged."""
    return text_of(value) if issubclass(type(value), str) else value


def shown(value: object, length: int = LABEL_LENGTH, *, keep_lines: bool = False) -> str:
    r"""Return a text as one line of 1 to ``length`` characters; "\ufffd" if nothing in it is visible.

    Args:
        value: A str, or a value that `text_of` turns into one.
        length: The maximum number of characters. A longer text ends in "…".
        keep_lines: Whether line ends, tabs and repeated spaces stay.

    >>> shown("two\nlines"), shown("\x1b[1ma\u202eb"), shown("abcdef", 4)
    ('two lines', '\\x1b[1ma\\u202eb', 'abc…')
    """
    text = text_of(value)
    is_long = len(text) > 4 * length
    text = text[: 4 * length]  # first, since the text may be of any size
    if keep_lines:
        text = _visible(text.replace("\r\n", "\n"))
    else:
        text = " ".join(_visible(_on_one_line(text)).split())
        if not text or (not text.isascii() and re.fullmatch(_ONLY_BESIDE, text)):
            text = "\ufffd"
    return text[: length - 1] + "…" if is_long or len(text) > length else text


def message(text: str, length: int = 2_000) -> str:
    """Return a sentence of the library, with foreign texts in it, as one line. Repeated spaces stay."""
    text = text_of(text)
    is_long = len(text) > length
    text = _visible(_on_one_line(text[:length]))
    return text[: length - 1] + "…" if is_long or len(text) > length else text


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():  # nearly all texts, in a twentieth of the time
        return text
    return re.sub(_HIDDEN, _escape, text)


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else re.sub(_LINE_ENDS, " ", text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def error_text(error: BaseException, length: int = 200) -> str:
    """Return the class and the text of an exception as one line."""
    text = text_of(error)
    return f"{shown(class_name(error))}: {shown(text, length)}" if text else shown(class_name(error))


def many(n: int, what: str) -> str:
    """Return a number of things as a text: "1 visit", "1,200 visits"."""
    return f"{n:,} {what}{'s' * (n != 1)}"


# ---- values ----------------------------------------------------------------------------------------------------------

_DEPTH, _ELEMENTS = 3, 6
_LARGE = 1000
_MOST = 10_000
"""The number of characters that are read of the result of a ``__repr__``."""

_BRACKETS = ((list, "[", "]"), (tuple, "(", ")"), (set, "{", "}"), (frozenset, "frozenset({", "})"), (dict, "{", "}"))
_SIZED: tuple[Any, ...] = (list, tuple, dict, set, frozenset, deque, bytearray, memoryview)


def quoted(value: object, length: int = LABEL_LENGTH, *, elements: int = _ELEMENTS) -> str:
    r"""Return a value as Python writes it, as one line of about ``length`` characters.

    >>> quoted("it's"), quoted({"api_key": "sk-1", "n": [1, 2]}), quoted("abcdef", 4)
    ('"it\'s"', "{'api_key': ***, 'n': [1, 2]}", "'abc…'")
    """
    try:
        if issubclass(type(value), str):
            plain, text = text_of(value), characters(value)  # type: ignore[arg-type]
            if text == plain:
                return _visible(repr(text if len(text) <= length else f"{text[: length - 1]}…"))
        return message(literal(value, length, elements=elements), length)
    except Exception:  # a class whose own methods contradict each other
        return "<?>"


def literal(
    value: object, length: int, foreign: Callable[[Any], str] | None = None, *, elements: int = _ELEMENTS
) -> str:
    """Return a value as Python writes it, with secrets masked and large parts left out.

    Args:
        value: Numbers, strings and the usual containers are written by this function.
        length: The number of characters that the caller can use. Strings are cut there.
        foreign: Returns the text of a value of any other class. Default: its ``__repr__``, or the name of its error.
        elements: The maximum number of elements of a container that are written.
    """
    return _Literal(length, foreign or _own_repr, elements).of(value, _DEPTH, ())


class _Literal:
    def __init__(self, length: int, foreign: Callable[[Any], str], elements: int) -> None:
        self.length, self.foreign, self.elements = length, foreign, elements

    def of(self, value: Any, depth: int, around: tuple[int, ...]) -> str:
        cls = type(value)
        if value is None or cls is bool or cls is float:
            return repr(value)
        if cls is str or cls is bytes:
            return repr(value if len(value) <= self.length else value[: self.length] + ("…" if cls is str else b"..."))
        if cls is int:
            return str(value) if value.bit_length() < 400 else f"<int of {value.bit_length()} bits>"
        for known, left, right in _BRACKETS:
            # A subclass of dict that prints as a dict, such as `Params`, may contain secrets too.
            if cls is known or (known is dict and _prints_as(cls, dict)):
                if id(value) in around or depth == 0:
                    return "..."
                return self.container(value, known, (left, right), depth - 1, (*around, id(value)))
        for known in _SIZED:
            if issubclass(cls, known) and known.__len__(value) > _LARGE:  # its repr would block all threads
                return f"<{class_name(value)} of {known.__len__(value):,}>"
        if str(getattr(cls, "__module__", "")).partition(".")[0] in ("pandas", "numpy") and hasattr(cls, "shape"):
            return f"<{class_name(value)} {' x '.join(map(str, value.shape))}>" if value.shape else repr(value)
        return _masked(self.foreign(value)[:_MOST])

    def container(self, value: Any, known: Any, brackets: tuple[str, str], depth: int, around: tuple[int, ...]) -> str:
        if known is set and not value:
            return "set()"
        parts: list[str] = []
        for n, element in enumerate(dict.items(value) if known is dict else known.__iter__(value)):
            if n == self.elements or sum(map(len, parts)) > self.length:
                parts.append(f"... {known.__len__(value)} in all")
                break
            if known is dict:
                key, element = element
                is_hidden = is_secret(key) and element is not None and type(element) is not bool
                written = MASK if is_hidden else self.of(element, depth, around)
                parts.append(f"{self.of(key, depth, around)}: {written}")
            else:
                parts.append(self.of(element, depth, around))
        comma = "," if known is tuple and known.__len__(value) == 1 else ""
        return f"{brackets[0]}{', '.join(parts)}{comma}{brackets[1]}"


def _own_repr(value: Any) -> str:
    try:
        return text_of(repr(value))
    except Exception as exc:
        return f"<{class_name(value)}: its repr raised {class_name(exc)}>"


def _prints_as(cls: type[Any], base: type[Any]) -> bool:
    return cls.__repr__ is base.__repr__


def characters(text: str) -> str:
    """Return the characters of a str, or its ``repr`` if that hides them, as that of a class for secrets does."""
    plain = text_of(text)
    if _prints_as(type(text), str):
        return plain
    written = _own_repr(text)
    return plain if repr(plain[:40])[1:-1] in written else written


def described(name: str, fields: Iterable[tuple[str, Any]]) -> str:
    """Return the repr of a record: its name, and its fields with their values."""
    return f"{name}({', '.join(f'{field}={quoted(value, 200)}' for field, value in fields)})"


def params_text(params: Mapping[str, Any]) -> str:
    """Return the first params that are plain values, for an error message: ", with file='a.txt', top=3"."""
    try:
        plain = [(key, value) for key, value in params.items() if issubclass(type(value), str | int | float)]
    except Exception:  # from a user's mapping; it must not replace the error that this text describes
        return ""
    some = []
    for key, value in plain[:4]:
        name, is_masked = _param_name(text_of(key)[:200])
        some.append(f"{name}={MASK if is_masked else quoted(value, 40)}")
    return f", with {', '.join(some)}" if some else ""


@lru_cache(maxsize=1024)  # the params of a batch have the same names in every row
def _param_name(name: str) -> tuple[str, bool]:
    return shown(name, 40), is_secret(name)


# ---- secrets ---------------------------------------------------------------------------------------------------------

_CAMEL = r"(?<=[a-z0-9])(?=[A-Z])"
# As whole words: "api_key", "OPENAI_API_KEY", "x-api-key", "clientSecret", "db_password2", but not "secretary".
_SECRET = (
    r"(?:^|_)(?:(?:api|access|private|secret|signing|encryption)_?keys?|secrets?|pass(?:word|wd|phrase|code)s?"
    r"|credentials?)(?![a-z])"
    # As the last word: "access_token", but not "max_tokens", "token_count", "tokenizer", "cookie_recipe".
    r"|(?:^|_)(?:pwd|authorization|auth|bearer|cookies?|(?<!max_)(?<!min_)(?<!per_)(?<!eos_)(?<!bos_)(?<!pad_)(?<!unk_)"
    r"(?<!sep_)(?<!cls_)(?<!mask_)(?<!stop_)(?<!end_)(?<!start_)(?<!first_)(?<!last_)(?<!next_)(?<!special_)token)\d*$"
)


def is_secret(name: object) -> bool:
    """Return whether a name is that of a secret, so that its value is masked.

    >>> [is_secret(name) for name in ("api_key", "accessToken", "Authorization", "max_tokens", "tokenizer", "key")]
    [True, True, True, False, False, False]
    """
    if issubclass(type(name), bytes):
        name = bytes.decode(name, "latin-1")  # type: ignore[arg-type]
    if not issubclass(type(name), str):
        return False
    words = re.sub(_CAMEL, "_", text_of(name)[:200])
    return re.search(_SECRET, re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")) is not None


# A field in the result of a ``__repr__``: ``name='...'``, or ``'name': ...``.
_FIELD = r"""\b([A-Za-z_][\w.-]{0,60})['"]?\s*[=:]\s*"""
_VALUE = (
    r"""b?'(?:[^'\\]|\\.)*'?|b?"(?:[^"\\]|\\.)*"?|\[[^\]]*\]?|\{[^}]*\}?|\([^)]*\)?|"""
    r"""(?:(?:Bearer|Basic|Token)\s+)?[^\s,(){}\[\]]+(?:\([^)]*\)?)?"""
)


def _masked(text: str) -> str:
    """Return the result of a ``__repr__`` with the values of secret fields masked."""
    parts: list[str] = []
    start = 0
    for field in re.finditer(_FIELD, text):
        if field.start() < start or not is_secret(field[1]):
            continue
        value = re.compile(_VALUE).match(text, field.end())
        if value is not None and value[0] not in ("None", "True", "False") and MASK not in value[0]:
            parts += text[start : field.end()], MASK
            start = value.end()
    return "".join([*parts, text[start:]])
