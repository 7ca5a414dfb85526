"""The key of a call: 16 bytes that are equal, in every process, for calls that have the same result.

A key covers the path of the node, its code (see `fingerprint`), the input of ``exec``, the params, the attributes of
the node, and the content of ``shared`` if ``exec`` takes it. It does not cover settings of the engine, such as
``max_retries``, since no result depends on them.

An attribute, a param or a value in ``shared`` may be an object that is not data, such as a client. Its key contains its
class, the code of the class, and the object's content when it was first seen. So a counter in a client does not change
a key. An input must be data, or an object that can be pickled.
"""

import pickle
from collections.abc import Mapping
from operator import is_
from types import FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ..core.code_parts import attributes_of, is_code, is_library
from ..core.encoding import NoKeyError, digest, encode, encode_code, encode_sized, name_of, pack
from ..core.fingerprint import Fingerprints
from ..core.kinds import BY_NAME, FIXED_TYPES, is_array, is_object_array, is_pandas
from ..core.node import BaseNode
from ..engine.batch import Batch
from ..engine.calls import Call
from ..engine.plan import DRIVEN

__all__ = ["CallKey", "CallKeys"]

FORMAT = b"1"
"""The version of the key. Another one matches no call of an existing file."""

LARGE = 1_000_000
"""An array or a frame of more bytes is not read again for each call, as long as it is the same object."""

_NOT_INPUT = BaseNode._dialect.settings | {
    "successors",
    "params",
    "last_run",
    "name",
    "start_node",
    "overwritten",
    "volatile",
    "grace",
    DRIVEN,
}
"""Attributes of a node that no result depends on: those of the library, and the engine's settings."""


class CallKey(NamedTuple):
    """The key of a call and its parts: hashes of 16 bytes, which show why two calls have different keys.

    Attributes:
        digest: The key.
        path: Of the node.
        code: Of the node.
        item: The input of ``exec``.
        params: Of the visit.
        attributes: Of the node, by name.
        values: The attributes themselves, when they were read.
        shared: If ``exec`` takes it.
    """

    digest: bytes
    path: str
    code: bytes
    item: bytes
    params: bytes
    attributes: dict[str, bytes]
    values: dict[str, Any]
    shared: bytes


class _Attributes:
    """The attributes of a node at one moment, with their hashes. Many calls of a batch have the same.

    Attributes:
        values: The attributes, by name.
        hashes: The hashes of the attributes that results depend on.
        parts: The names and hashes of these, for a key.
    """

    __slots__ = ("_can_change", "hashes", "parts", "values")

    def __init__(self, node: Any, hashes: dict[str, bytes]) -> None:
        self.values = dict(node.__dict__)
        self.hashes = hashes
        self.parts = [part for name, found in hashes.items() for part in (name.encode("utf-8", "surrogatepass"), found)]
        self._can_change = not all(type(self.values[name]) in FIXED_TYPES for name in hashes)

    def are_current(self, node: Any) -> bool:
        """Return whether a node has the same attributes, and no attribute in the key can have changed in place."""
        now = node.__dict__
        return (
            not self._can_change
            and list(now) == list(self.values)
            and all(map(is_, now.values(), self.values.values()))
        )


class CallKeys:
    """Computes the keys of the calls of one run, or of one stepper."""

    def __init__(self, fingerprints: Fingerprints) -> None:
        self.fingerprints = fingerprints
        self._objects: dict[int, tuple[Any, bytes]] = {}  # what is not data, as it was at first sight
        self._large: dict[int, tuple[Any, bytes]] = {}
        self._distinguished = 0
        self._visits: WeakKeyDictionary[Batch, _Attributes] = WeakKeyDictionary()

    def of(self, call: Call) -> CallKey:
        """Return the key of a call.

        Raises:
            NoKeyError: There is none. The text says why.
        """
        plan, target, params = call.plan, call.target, call.batch.params
        try:
            item = self.of_input(call.item)
        except NoKeyError as exc:
            raise NoKeyError(f"its input cannot be compared ({exc})") from None
        code = self.fingerprints.of(target)
        attributes = self._attributes_for(call)
        of_params = self.of_value(dict(params)) if params else b""
        shared = self.of_shared(call.branch.position.shared) if plan.facts.hooks.exec_takes_shared else b""
        path = plan.path.encode("utf-8", "surrogatepass")
        whole = digest(pack("call", FORMAT, path, code, item, of_params, shared, *attributes.parts))
        return CallKey(whole, plan.path, code, item, of_params, attributes.hashes, attributes.values, shared)

    def _attributes_for(self, call: Call) -> _Attributes:
        """Return the attributes of the node that count for a call.

        Calls that are made side by side set attributes in any order. So those count that the visit began with.
        """
        known = self._visits.get(call.batch)
        if known is not None and (not call.is_in_turn or known.are_current(call.target)):
            return known
        found = _Attributes(call.target, self.of_attributes(call.target))
        if not call.batch.is_single:
            self._visits[call.batch] = found
        return found

    def of_input(self, item: Any) -> bytes:
        """Return the hash of an input.

        Raises:
            NoKeyError: It contains an object that is not data. The text is its type.
        """
        try:
            return digest(encode(item, self._data))
        except RecursionError:
            raise NoKeyError("nested too deeply") from None

    def of_attributes(self, node: Any) -> dict[str, bytes]:
        """Return the hash of each attribute of a node that results depend on. Code is in the fingerprint."""
        names = [name for name, value in node.__dict__.items() if name not in _NOT_INPUT and not is_code(value)]
        return {name: self.of_value(node.__dict__[name]) for name in sorted(names)}

    def of_value(self, value: Any) -> bytes:
        """Return the hash of a value that may contain objects that are not data."""
        known = self._large.get(id(value))
        if known is not None:
            return known[1]
        try:
            data, size = encode_sized(value, self._any, self._plain_object)
        except RecursionError:
            return digest(self._content(value))
        found = digest(data)
        if size > LARGE and (is_array(value) or is_pandas(value)):
            self._large[id(value)] = value, found
        return found

    def of_shared(self, shared: Any) -> bytes:
        """Return the hash of the keys and values of ``shared``, or of its attributes if it is no mapping."""
        return self.of_value(dict(shared) if isinstance(shared, Mapping) else dict(attributes_of(shared)))

    def forget_large(self) -> None:
        """Read large arrays and frames again: the user may have changed them."""
        self._large.clear()

    def distinguish(self, value: Any) -> None:
        """Give an object that is not data a different hash from all equal objects, since the user has replaced it."""
        if id(value) in self._objects:
            self._distinguished += 1
            self._objects[id(value)] = value, pack("other", b"%d" % self._distinguished, self._objects[id(value)][1])

    # ---- what is not data --------------------------------------------------------------------------------------------

    def _named(self, value: Any) -> bytes:
        """Encode a function by its code, a class of the user by its code too, and other things by name."""
        if isinstance(value, FunctionType):
            return pack("function", name_of(value), encode_code(value.__code__))
        if isinstance(value, type) and not is_library(value.__module__):
            return pack("class", name_of(value), self.fingerprints.of(value))
        return name_of(value)

    def _data(self, value: Any) -> bytes:
        if isinstance(value, BY_NAME):
            return self._named(value)
        return pack("pickled", self._named(type(value)), _pickled(value))

    def _any(self, value: Any) -> bytes:
        if isinstance(value, BY_NAME):
            return self._named(value)
        return self._object(value)

    def _plain_object(self, value: Any) -> bytes:
        """Encode a plain object: by its attributes, if all of them are data."""
        try:
            return encode(value, self._data)
        except NoKeyError:  # such as a client that has a lock
            return self._object(value)

    def _object(self, value: Any) -> bytes:
        """Encode an object that is not data, as it was when it was first seen; a frame or an array as it is now."""
        if is_pandas(value) or is_object_array(value):  # with cells that cannot be compared
            return self._content(value)
        if id(value) not in self._objects:
            self._objects[id(value)] = value, self._content(value)
        return self._objects[id(value)][1]

    def _content(self, value: Any) -> bytes:
        """Encode an object that is not data: by its pickle; or, as a client with a connection, by its attributes."""
        cls = self._named(type(value))
        try:
            return pack("pickled", cls, _pickled(value))
        except NoKeyError:
            parts = []
        for name, attribute in sorted(attributes_of(value).items()):
            parts += [name.encode("utf-8", "surrogatepass"), self._plain(attribute)]
        return pack("object", cls, *parts)

    def _plain(self, attribute: Any) -> bytes:
        """Encode an attribute of an object that is not data: by its value if that is data, else by its class."""
        try:
            return encode(attribute, self._data)
        except (NoKeyError, RecursionError):
            return self._named(type(attribute))


def _pickled(value: Any) -> bytes:
    """Return the hash of the pickle of an object, which shows content that is in none of its attributes.

    Raises:
        NoKeyError: It cannot be pickled. The text is its type.
    """
    try:
        return digest(pickle.dumps(value, protocol=5))
    except Exception:  # from the user's code, or any that pickle raises for what it cannot take
        raise NoKeyError(type(value).__name__) from None
