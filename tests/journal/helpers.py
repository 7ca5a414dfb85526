"""A flow that keeps a ledger of its calls, and ways to run it in other processes and kill these."""

import os
import subprocess
import sys
import textwrap

PROGRAM = """
import os, sys, time
from llmflow_nb import BatchFlow, BatchNode, Flow, Journal, Node

def entry(name, *values):  # one write of a short line is whole, or it is not there
    fd = os.open(name, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(fd, (" ".join(map(str, values)) + "\\n").encode())
    os.close(fd)

class Label(BatchNode):
    def prep(self, shared):
        return shared["items"]
    def exec(self, x):
        entry("ledger", x)
        time.sleep(PAUSE)
        return {"label": f"label {x}", "n": (x,)}
    def post(self, shared, items, results):
        shared["labels"] = results

class Ends:
    def handle(self, event):
        if event.kind == "call_finished" and event.status == "ok":
            entry("finished", event.value["n"][0])

PAUSE = 0.002
CONCURRENCY = 8
flow = Flow(start=Label(max_concurrency=CONCURRENCY), name="labels")
shared = {"items": range(400)}
"""


class Aside(list):
    """A list that hooks use, and on which no result depends."""

    def __fingerprint__(self):
        return "aside"


def start(text, folder, **environment):
    """Run a program in another process, in a folder."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM + textwrap.dedent(text)],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(text, folder, **environment):
    """Run a program to its end, and return what it prints."""
    process = start(text, folder, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def lines(path):
    """Return the entries of a file; none if there is no file."""
    return path.read_text().split() if path.exists() else []
