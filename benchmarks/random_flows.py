"""Random flows that keep a ledger of their calls: chains, branches, loops, nested flows, batches, param sets."""

import asyncio
import json
import os
import random
import zlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from llmflow_nb import BatchFlow, BatchNode, Flow, Node

__all__ = ["Built", "built", "ledger", "reported"]


class Lines:
    """A file to which a line is added by one write, so that it is there as a whole or not at all."""

    def __init__(self) -> None:
        self._file, self._left = -1, 0

    def open(self, path: Path, die_after: int = 0) -> None:
        """Open a file. The process ends after so many lines; 0: it goes on."""
        self._file, self._left = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY), die_after

    def add(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())
        self._left -= 1
        if self._left == 0:
            os._exit(9)

    def __fingerprint__(self) -> str:
        return "lines"


ledger, reported = Lines(), Lines()


def answered(node: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a call, which depends on nothing but its input. The first attempt of some calls fails."""
    name = json.dumps(asked)
    ledger.add(f"{node.cur_retry} {name}")
    number = zlib.crc32(name.encode())
    if node.max_retries > 1 and node.cur_retry == 0 and number % 2:
        raise ConnectionError(name)
    return {"name": name, "number": number, "more": ({number % 7}, b"\0", {(1, 2): None}, "é" * (number % 3000))}


class Ask(Node):
    def prep(self, shared):
        return {"node": self.label, "set": self.params.get("set", ""), "visit": self._visit(shared)}

    def _visit(self, shared):
        shared["visits"][key] = visit = shared["visits"].get(key := (self.label, self.params.get("set", "")), 0) + 1
        return visit

    def exec(self, asked):
        return answered(self, asked)

    def post(self, shared, asked, result):
        results = result if isinstance(result, list) else [result]
        shared["results"].update((each["name"], each) for each in results)
        if self.again and shared["visits"][self.label, self.params.get("set", "")] < self.again:
            return "again"
        return "left" if results and results[0]["number"] % 2 and "left" in self.successors else "default"


class AskAsync(Ask):
    async def exec(self, asked):
        await asyncio.sleep(zlib.crc32(repr(asked).encode()) % 3 / 5000)
        return answered(self, asked)


class AskMany(BatchNode):
    def prep(self, shared):
        asked = Ask.prep(self, shared)
        return [{**asked, "item": item} for item in range(self.size)]

    _visit, exec, post = Ask._visit, Ask.exec, Ask.post


class AskManyAsync(AskMany):
    exec = AskAsync.exec


class Sets(BatchFlow):
    def prep(self, shared):
        return [{"set": f"{self.params.get('set', '')}/{self.label}{number}"} for number in range(self.size)]


@dataclass
class Built:
    """A random flow, and how many of its calls may be in progress at once."""

    flow: Any
    at_once: int


def built(seed: int) -> Built:
    """Return the flow of a seed, which is the same each time."""
    return _flow(random.Random(seed), f"f{seed}", depth=2)


def _flow(chance: random.Random, label: str, depth: int) -> Built:
    steps = [_step(chance, f"{label}.{number}", depth) for number in range(chance.randrange(1, 4))]
    nodes = [step.flow for step in steps]
    for node, following in pairwise(nodes):
        node >> following
    for node, following in zip(nodes, nodes[2:], strict=False):
        if isinstance(node, Ask | AskMany):
            node - "left" >> following
    if isinstance(nodes[-1], Ask | AskMany):
        nodes[-1].again = 2
        nodes[-1] - "again" >> nodes[0]
        nodes[-1] >> Node()
    return Built(Flow(start=nodes[0], name=label), max(step.at_once for step in steps))


def _step(chance: random.Random, label: str, depth: int) -> Built:
    kind = chance.choice(["ask", "many", "many", "flow", "sets"] if depth else ["ask", "many"])
    limit = chance.choice([1, 3, 8])
    if kind == "flow":
        return _flow(chance, label, depth - 1)
    if kind == "sets":
        inner = _flow(chance, label, depth - 1)
        sets = Sets(start=inner.flow, max_concurrency=limit)
        sets.label, sets.size = label, chance.randrange(5)
        return Built(sets, limit * inner.at_once)
    settings = {"max_retries": chance.choice([1, 1, 2])}
    if kind == "many":
        node: Any = chance.choice([AskMany, AskManyAsync])(max_concurrency=limit, **settings)
        node.size = chance.randrange(12)
    else:
        node, limit = chance.choice([Ask, AskAsync])(**settings), 1
    node.label, node.again = label, 0
    return Built(node, limit)
