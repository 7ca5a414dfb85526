"""What the stepper's tests share: nodes that count their calls, and ways to read off where a stepper is."""

import os
import sys
import tempfile
import types
from typing import Any
from zlib import crc32

from llmflow_nb import Node


class Ledger(list):
    """Where hooks note what they were called with. On a node it stands for itself, whatever is in it."""


class Adds(Node):
    """Adds one to ``shared["n"]``, and notes its calls in ``calls``."""

    def __init__(self, name: str | None = None, **settings: Any) -> None:
        super().__init__(name=name, **settings)
        self.calls = Ledger()

    def prep(self, shared):
        return shared["n"]

    def exec(self, n):
        self.calls.append(n)
        return n + 1

    def post(self, shared, prep_res, exec_res):
        shared["n"] = exec_res


def at(place: Any) -> tuple[str, str]:
    """The node's name, and the phase, without the counters."""
    return place.path.rpartition("/")[2], place.phase


def walk(stepper: Any, command: str = "into") -> list[tuple[str, str]]:
    """Repeat one command until the end or a failure, and return the places where it stopped."""
    stops = []
    while not stepper.place.is_end:
        stops.append(at(getattr(stepper, command)()))
        if stepper.error is not None:
            break
        assert len(stops) < 1000, f"no end: {stepper}"
    return stops


def counts(stepper: Any) -> tuple[int, int]:
    """Calls made, and answered by earlier results."""
    return stepper.called, stepper.replayed


class Cells:
    """A notebook: cells run one after the other in a module that can be found by name, from files as a kernel has."""

    def __init__(self, name: str) -> None:
        self.module = types.ModuleType(name)
        sys.modules[name] = self.module

    def run(self, text: str) -> Any:
        file = os.path.join(tempfile.gettempdir(), "ipykernel_1", f"{crc32(text.encode())}.py")
        exec(compile(text, file, "exec"), self.module.__dict__)
        return self.module

    def __enter__(self) -> "Cells":
        return self

    def __exit__(self, *_: object) -> None:
        del sys.modules[self.module.__name__]
