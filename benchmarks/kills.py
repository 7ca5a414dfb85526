"""Kill runs that have a journal, run them again, and count what was called twice: ``python -m benchmarks.kills``.

Random flows (chains, branches, loops, nested flows, batches, param sets, retries, async calls) run in processes that
are killed: by themselves, between any two function calls of the driver's thread, or by SIGKILL at a random moment. Then
the same flow runs again, until it is done. Each call writes a line into a ledger before it returns anything, and each
result that a subscriber is told of one into another file. These must hold:

* no call is made whose result had been reported before its process began;
* of the calls that a process has made, at most as many are not reported at its end as may be in progress at once;
* the results are those of a run that nobody has disturbed;
* SQLite finds the file intact after each kill, and the journal can be looked at.

``--kernel 30`` kills a real Jupyter kernel in the middle of 400 rows instead, and runs the same cells in a new one.
``--interrupts 1000`` interrupts the runs of a batch of 4,000 items, in one process. The file then has each result that
a run has reported as a part of this run.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from llmflow_nb import BatchNode, Flow, Journal

from .random_flows import Built, built, ledger, reported

__all__ = ["Tally", "interrupt_batch", "kill_flows", "kill_kernels"]

KILLS = 300
KILLS_OF_ONE = 6  # how often one flow is killed at most

# ---- one run, in a process of its own --------------------------------------------------------------------------------


class Reports:
    """Writes down which results a subscriber is told of."""

    def handle(self, event):
        if event.kind == "call_finished" and event.status == "ok" and event.value is not None:
            reported.add(event.value["name"])


def in_child(work: Callable[[], None]) -> int:
    """Start a function in a forked process, and return its number. It ends with the function, as if it was killed."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException as exc:
        sys.excepthook(type(exc), exc, exc.__traceback__)
    finally:
        sys.stderr.flush()
        os._exit(status)


def run(folder: Path, flow: Any, calls_left: int = 0, functions_left: int = 0) -> None:
    """Run a flow, and write down its results and how many functions its driver has called.

    Args:
        folder: Where it writes.
        flow: What is run.
        calls_left: The call in which the process ends; 0: it goes on.
        functions_left: The call or return of a function, or of a built-in one, at which it ends.
    """
    ledger.open(folder / "ledger", calls_left)
    reported.open(folder / "reported")
    calls = 0

    def count(frame: Any, event: str, _: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == functions_left:
            os._exit(9)

    shared: dict[str, Any] = {"visits": {}, "results": {}}
    sys.setprofile(count)
    flow.run(shared, journal=folder / "runs.db", progress=False, subscribers=[Reports()])
    sys.setprofile(None)
    results = sorted(map(repr, shared["results"].values()))
    (folder / "results").write_text(json.dumps([calls, results]))


# ---- many runs -------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What was counted.

    Attributes:
        flows: How many flows were run to their end.
        calls: How many calls the flows consist of.
        kills: How many runs were killed.
        extra: How many calls were made again.
        most_extra: How many were in progress at one kill.
        faults: What must not be.
    """

    flows: int = 0
    calls: int = 0
    kills: int = 0
    extra: int = 0
    most_extra: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.flows} flows of {self.calls:,} calls, {self.kills:,} kills: {self.extra} calls were made again, "
            f"at most {self.most_extra} for a kill; {len(self.faults)} faults"
        )


def kill_flows(kills: int, seed: int = 0) -> Tally:
    """Run random flows, one after the other, until there were so many kills."""
    tally = Tally()
    while tally.kills < kills:
        folder = Path(tempfile.mkdtemp(prefix="kills"))
        _kill_one(folder, seed + tally.flows, tally)
        shutil.rmtree(folder)
    return tally


def _kill_one(folder: Path, seed: int, tally: Tally) -> None:
    """Run one flow, kill it some times, and run it to its end."""
    chance, found = random.Random(seed), built(seed)
    journal = folder / "runs.db"
    functions, seconds, expected = _undisturbed(folder, found)
    for n in range(KILLS_OF_ONE + 1):
        before, made_before = set(_lines(folder / "reported")), _lines(folder / "ledger")
        way = chance.choice(["in a call", "anywhere", "from outside"]) if n < KILLS_OF_ONE else ""
        calls_left = chance.randrange(1, 20) if way == "in a call" else 0
        functions_left = chance.randrange(1, functions) if way == "anywhere" else 0
        child = in_child(partial(run, folder, found.flow, calls_left, functions_left))
        if way == "from outside":
            time.sleep(chance.uniform(0, seconds))
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        made = _lines(folder / "ledger")[len(made_before) :]
        where = f"seed {seed}, run {n + 1}"
        names = {line.partition(" ")[2] for line in made}
        tally.faults += [f"{where}: called again: {name}" for name in names & before]
        open_calls = len(names - set(_lines(folder / "reported")))
        tally.faults += [f"{where}: {open_calls} calls in progress"] * (open_calls > found.at_once)
        tally.faults += [f"{where}: {text}" for text in _faults_of(journal)]
        if code == 0:
            break
        tally.kills += 1
        tally.most_extra = max(tally.most_extra, open_calls)
        if code not in (9, -signal.SIGKILL):
            tally.faults.append(f"{where}: ended with {code}")
            return
    first = Counter(line for line in _lines(folder / "ledger") if line.startswith("0 "))
    tally.flows += 1
    tally.calls += len(first)
    tally.extra += first.total() - len(first)
    if json.loads((folder / "results").read_text())[1] != expected:
        tally.faults.append(f"seed {seed}: other results")


def _undisturbed(folder: Path, found: Built) -> tuple[int, float, list[str]]:
    """Run a flow with a journal of its own. Return its function calls, its time and its results."""
    own = folder / "undisturbed"
    own.mkdir()
    started = time.perf_counter()
    child = in_child(partial(run, own, found.flow))
    assert os.waitpid(child, 0)[1] == 0
    seconds = time.perf_counter() - started
    calls, results = json.loads((own / "results").read_text())
    return calls, seconds, results


def _faults_of(journal: Path) -> list[str]:
    """Return what is wrong with a file after a kill."""
    if not journal.exists():  # killed before it was created
        return []
    with closing(sqlite3.connect(journal)) as db:
        found = [row for (row,) in db.execute("PRAGMA integrity_check") if row != "ok"]
    shown = repr(Journal(journal))
    return [*found, shown] if "damaged" in shown else found


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


# ---- interrupts ------------------------------------------------------------------------------------------------------


class Quick(BatchNode):
    def prep(self, shared):
        return shared["items"]

    def exec(self, n):
        ledger.add(str(n))
        return {"name": str(n)}


def interrupt_batch(interrupts: int, limit: int = 1) -> Tally:
    """Run a batch of 4,000 items again and again, and interrupt it at random moments until there were so many.

    Args:
        interrupts: How many.
        limit: How many calls are made at once.
    """
    folder, tally, chance = Path(tempfile.mkdtemp(prefix="kills")), Tally(flows=1, calls=4_000), random.Random(limit)
    ledger.open(folder / "ledger")
    reported.open(folder / "reported")
    done, in_run = threading.Event(), threading.Event()

    def interrupt() -> None:
        while tally.kills < interrupts and not done.wait(chance.random() * 0.1):
            if in_run.is_set():
                tally.kills += 1
                os.kill(os.getpid(), signal.SIGINT)

    flow = Flow(start=Quick(max_concurrency=limit), name="quick")
    flow.run({"items": [-1]}, journal=folder / "runs.db", progress=False)  # all imports are made
    threading.Thread(target=interrupt, daemon=True).start()
    while not done.is_set():
        told_before, made_before = _lines(folder / "reported"), _lines(folder / "ledger")
        try:
            in_run.set()
            flow.run({"items": range(4_000)}, journal=folder / "runs.db", progress=False, subscribers=[Reports()])
            done.set()
        except KeyboardInterrupt:
            pass
        finally:
            _insist(in_run.clear)
        made = _lines(folder / "ledger")[len(made_before) :]
        tally.most_extra = max(tally.most_extra, len(set(made) & set(made_before)))
        tally.faults += [f"called again: {name}" for name in set(made) & set(told_before)]
        told = len(_lines(folder / "reported")) - len(told_before)
        run, rows = _rows_of_last_run(folder / "runs.db")
        tally.faults += [f"run {run}: {told} results were reported, {rows} are in the file"] * (rows < told)
    made = _lines(folder / "ledger")[1:]
    tally.extra = len(made) - len(set(made))
    tally.faults += ["not all were called"] * (len(set(made)) != 4_000) + _faults_of(folder / "runs.db")
    shutil.rmtree(folder)
    return tally


def _rows_of_last_run(journal: Path) -> tuple[int, int]:
    """Return the number of the latest run, and how many results the file has for it."""
    with closing(sqlite3.connect(journal)) as db:
        (run,) = db.execute("SELECT max(id) FROM run").fetchone()
        queries = "SELECT count(*) FROM call WHERE run = ? AND status = 'ok'", "SELECT count(*) FROM use WHERE run = ?"
        return run, sum(db.execute(query, (run,)).fetchone()[0] for query in queries)


def _insist(work: Callable[[], None]) -> None:
    """Call a function once more if an interrupt comes. No second one comes so soon."""
    try:
        work()
    except KeyboardInterrupt:
        work()


# ---- a real kernel ---------------------------------------------------------------------------------------------------

CELLS = """
import os, time
from llmflow_nb import BatchNode, Flow

def entry(name, value):
    file = os.open(name, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(file, f"{value}\\n".encode())
    os.close(file)

class Label(BatchNode):
    def prep(self, shared):
        return range(400)
    def exec(self, n):
        entry("ledger", n)
        time.sleep(0.002 + n % 7 / 1000)
        return {"n": n, "label": f"label {n}"}
    def post(self, shared, items, results):
        shared["labels"] = results

class Reports:
    def handle(self, event):
        if event.kind == "call_finished" and event.status == "ok":
            entry("reported", event.value["n"])
"""
RUN = """
shared = {}
Flow(start=Label(max_concurrency=8), name="labels").run(shared, journal="runs.db", subscribers=[Reports()])
assert [each["n"] for each in shared["labels"]] == list(range(400))
entry("done", 1)
"""


def kill_kernels(kills: int) -> Tally:
    """Kill a kernel at half of 400 rows that are called 8 at a time, and run the same cells in a new one, each time."""
    from jupyter_client.manager import start_new_kernel

    tally = Tally()
    for n in range(kills):
        folder = Path(tempfile.mkdtemp(prefix="kills"))
        made: list[list[str]] = []
        for half in (200, 400):
            before, made_before = set(_lines(folder / "reported")), _lines(folder / "ledger")
            manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder))
            client.execute(CELLS)
            client.execute(RUN)
            until = time.monotonic() + 60
            while len(set(_lines(folder / "reported"))) < half and time.monotonic() < until:
                time.sleep(0.002)
            while half == 400 and not (folder / "done").exists() and time.monotonic() < until:
                time.sleep(0.01)
            os.kill(manager.provisioner.pid, signal.SIGKILL)
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            made.append(_lines(folder / "ledger")[len(made_before) :])
            tally.faults += [f"kernel {n + 1}: called again: {name}" for name in set(made[-1]) & before]
        again = len(made[0]) + len(made[1]) - len(set(made[0]) | set(made[1]))
        tally.faults += [f"kernel {n + 1}: {again} extra calls"] * (again > 8)
        tally.faults += [f"kernel {n + 1}: not done"] * (not (folder / "done").exists())
        tally.faults += [f"kernel {n + 1}: {text}" for text in _faults_of(folder / "runs.db")]
        tally.flows, tally.kills, tally.calls = tally.flows + 1, tally.kills + 1, tally.calls + 400
        tally.extra, tally.most_extra = tally.extra + again, max(tally.most_extra, again)
        shutil.rmtree(folder)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=KILLS, help=f"of random flows (default: {KILLS})")
    parser.add_argument("--seed", type=int, default=0, help="of the first flow (default: 0)")
    parser.add_argument("--kernel", type=int, default=0, help="kill a Jupyter kernel so often instead")
    parser.add_argument("--interrupts", type=int, default=0, help="interrupt a batch so often instead")
    parser.add_argument("--limit", type=int, default=1, help="calls at once of that batch (default: 1)")
    options = parser.parse_args()
    if options.kernel:
        tally = kill_kernels(options.kernel)
    elif options.interrupts:
        tally = interrupt_batch(options.interrupts, options.limit)
    else:
        tally = kill_flows(options.kills, options.seed)
    print(tally, *tally.faults[:20], sep="\n")
    sys.exit(bool(tally.faults))


if __name__ == "__main__":
    main()
