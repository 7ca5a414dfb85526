"""What the code of a node is: a fingerprint that is the same in every process, and needs no source text.

It is made of the bytecode of the node's class and of all that leads from there to code or data of the user's:

- every base class and mixin, and hooks that were set on the object;
- what decorators put around a hook: wrappers, `functools` objects, objects with ``__call__`` or ``__get__``;
- defaults, closures and attributes of functions;
- what functions read from their module: constants, helpers, classes, names in the user's own modules.

Line numbers, file names and docstrings are no part of it, nor are the settings of the engine, such as ``max_retries``,
since no answer depends on them. The minor version of Python is, since bytecode differs between versions. Code of the
standard library and of installed packages counts by name. An object that cannot be taken apart, such as a client,
counts by its class and its plain attributes.

A function or an object can say itself what it depends on: a method or an attribute ``__fingerprint__`` without
arguments, whose result counts in its place.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from .code_data import CodeData
from .code_parts import is_code
from .code_reader import Body, CodeReader
from .encoding import digest, pack
from .node import BaseNode

__all__ = ["Fingerprints", "fingerprint"]

VERSION = f"1 {sys.version_info[0]}.{sys.version_info[1]}".encode()
"""The version of this format, and of Python."""


def fingerprint(node: BaseNode | type) -> bytes:
    """Return 16 bytes that stand for the code of a node, or of a class, as it is now."""
    return Fingerprints().of(node)


class Fingerprints:
    """Compute fingerprints of nodes, each once; `forget` them when code may have been edited.

    Reading all code takes long. So a reader remembers which objects it has read where: `forget` compares these, and
    only if one is another object, or if data have changed in place, all is read again.
    """

    def __init__(self) -> None:
        self._found: dict[Any, tuple[bytes, Any]] = {}  # with the objects in the key, so that no id is used again
        self._data = CodeData()
        self._reader = CodeReader(self._data)

    def of(self, node: BaseNode | type) -> bytes:
        """Return the fingerprint of a node's code: of its class, and of code that was set on the object."""
        cls, attributes = (node, {}) if isinstance(node, type) else (type(node), node.__dict__)
        own = sorted((name, value) for name, value in attributes.items() if is_code(value))
        key = (cls, *((name, id(value)) for name, value in own))
        found = self._found.get(key)
        if found is None:
            root = self._reader.node(cls, own, id(node))
            found = self._found[key] = digest(pack("node", VERSION, *self._walk(root))), own
        return found[0]

    def _walk(self, root: Body) -> Iterator[bytes]:
        """Yield all code that a node leads to: each body once, and for each reference to it its number."""
        bodies = [root]
        numbers: dict[int, int] = {}
        for body in bodies:  # grows as it is read
            yield body.data
            for child in body.children:
                number = numbers.get(id(child.found))
                if number is None:
                    number = numbers[id(child.found)] = len(bodies)
                    bodies.append(self._reader.body(child))
                yield b"%d" % number

    def forget(self) -> None:
        """Read again all code that may have been edited."""
        if not self._reader.is_current():
            self._found.clear()
            self._reader = CodeReader(self._data)

    def settle(self, nodes: Iterable[BaseNode]) -> None:
        """Accept the present data as the code's own changes, which are no edits."""
        self.forget()
        self._data.is_settling = True
        try:
            for node in nodes:
                self.of(node)
        finally:
            self._data.is_settling = False
