"""Compute the fingerprint of a node's code, which is the same in every process and needs no source text.

It contains the bytecode of the node's class, and all code and data of the user that can be reached from there:

- base classes, mixins, and hooks that were set on the object;
- the wrappers that decorators put around a hook: `functools` objects, objects with ``__call__`` or ``__get__``;
- defaults, closures and attributes of functions;
- the globals that functions read: constants, helpers, classes, names in the user's own modules.

It does not contain line numbers, file names, docstrings, and settings of the engine such as ``max_retries``, on which
no result depends. It contains the minor version of Python, since bytecode differs between versions. Code of the
standard library and of installed packages counts by name. An object that cannot be taken apart, such as a client,
counts by its class and its plain attributes.

A function or an object may declare what it depends on, by an attribute ``__fingerprint__`` or a method of that name
without arguments. Its value then counts in place of the object.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from .code_data import CodeData
from .code_parts import is_code
from .code_reader import Body, CodeReader
from .encoding import digest, pack
from .node import BaseNode

VERSION = f"2 {sys.version_info[0]}.{sys.version_info[1]}".encode()
"""The version of this format, and of Python."""


def fingerprint(node: BaseNode | type) -> bytes:
    """Return the fingerprint (16 bytes) of the current code of a node or a class."""
    return Fingerprints().of(node)


class Fingerprints:
    """Compute the fingerprints of nodes, each once. Call `forget` when code may have been edited.

    Reading all code takes long. So a reader remembers the objects that it has read. `forget` compares them, and only if
    one was replaced, or data have changed in place, everything is read again.
    """

    def __init__(self) -> None:
        self._found: dict[Any, tuple[bytes, Any]] = {}  # with the objects in the key, so that no id is reused
        self._data = CodeData()
        self._reader = CodeReader(self._data)

    def of(self, node: BaseNode | type) -> bytes:
        """Return the fingerprint of a node's code: of its class, and of code that was set on the object."""
        cls, attributes = (node, {}) if isinstance(node, type) else (type(node), node.__dict__)
        own = sorted([item for item in attributes.items() if is_code(item[1])])
        key = (cls, *((name, id(value)) for name, value in own))
        found = self._found.get(key)
        if found is None:
            root = self._reader.node(cls, own, id(node))
            found = self._found[key] = digest(pack("node", VERSION, *self._walk(root))), own
        return found[0]

    def _walk(self, root: Body) -> Iterator[bytes]:
        """Yield all code that a node refers to: each body once, and for each reference the number of its body."""
        bodies = [root]
        numbers: dict[int, int] = {}
        for body in bodies:  # it grows meanwhile
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
            self.forget_all()

    def forget_all(self) -> None:
        """Read all code again."""
        self._found.clear()
        self._reader = CodeReader(self._data)

    def settle(self, nodes: Iterable[BaseNode]) -> None:
        """Accept the changes of data since the last call as the code's own, not as edits."""
        self.forget()
        self._data.is_settling = True
        try:
            for node in nodes:
                self.of(node)
        finally:
            self._data.is_settling = False
