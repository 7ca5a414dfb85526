"""Nodes whose ``exec`` runs in other processes, and a ledger of their calls: a folder with a file for each start."""

import asyncio
import os
import threading
import time
import uuid
from pathlib import Path

from llmflow_nb import BatchNode, spend

PROMPT = "first"


def enter(folder, name):
    """Note that a call has started. One file for each start: no two processes write to the same one."""
    Path(folder, f"{name}.{uuid.uuid4().hex[:8]}").touch()


def entered(folder):
    """Return the names of the calls that have started, sorted."""
    return sorted(path.name.partition(".")[0] for path in Path(folder).iterdir())


class Work(BatchNode):
    """Notes each call in a folder, and returns what it was given with the number of its process."""

    folder = ""
    seconds = 0.0

    def prep(self, shared):
        return shared["items"]

    def exec(self, item):
        if self.folder:
            enter(self.folder, item)
        time.sleep(self.seconds)
        return item, os.getpid()

    def post(self, shared, items, results):
        shared["results"] = results


class AsyncWork(Work):
    async def exec(self, item):
        if self.folder:
            enter(self.folder, item)
        await asyncio.sleep(self.seconds)
        return item, os.getpid()


class Waits(Work):
    """Waits until there is a file ``open`` beside its folder."""

    def exec(self, item):
        enter(self.folder, item)
        while not Path(self.folder).with_name("open").exists():
            time.sleep(0.02)
        return item


class Spans(Work):
    """Returns the clock of this machine when the call started and when it ended."""

    def exec(self, item):
        start = time.monotonic()
        time.sleep(0.02)
        return start, time.monotonic()


class Sleeps(Work):
    def exec(self, item):
        time.sleep(item)
        return item


class Writes(Work):
    def exec(self, shared, item):
        shared["found"] = item
        return item


class Prompted(Work):
    def exec(self, item):
        return f"{PROMPT} {item}"


class OddError(Exception):
    """An exception that cannot be pickled: its lock cannot."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class Fails(Work):
    def exec(self, item):
        if item == 1:
            raise OddError("one")
        if item == 2 and self.cur_retry == 0:
            raise ValueError("two")
        if item == 3:
            raise ValueError("three")
        return item


class Holds(Work):
    """Has an attribute that cannot be sent."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.client = threading.Lock()


class Returns(Work):
    def exec(self, item):
        return threading.Lock() if item == 1 else item


class Dies(Work):
    """Some items kill the worker the first time that they are called, while it runs; -1 does each time, at once."""

    kills = ()

    def exec(self, item):
        enter(self.folder, item)
        if item == -1:
            os._exit(1)
        time.sleep(0.02)
        if item in self.kills and entered(self.folder).count(str(item)) == 1:
            time.sleep(0.5)  # Dask gives a worker up that dies in its first moments
            os._exit(1)
        return item


class Spends(Work):
    """Spends a token for each number up to the item, at each attempt; items above 2 fail at their first one."""

    def exec(self, item):
        for _ in range(item):
            spend(input=1, cost=0.5)
        if item > 2 and self.cur_retry == 0:
            raise ValueError(item)
        return item
