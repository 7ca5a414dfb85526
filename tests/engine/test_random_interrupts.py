"""Fifty interrupts of a real kernel at moments that nobody chose: what is in the table is what was answered.

Every call of ``exec`` takes a few milliseconds and enters its answer in a ledger as its last act. A cell says "under
way" when the ledger has so many answers, the interrupt follows, and then the table is held against the ledger. The last
item blocks, so that no cell ends before its interrupt. In a call that is on its way back from the ledger to the table,
an interrupt cannot but lose the answer: one call where they are made on the spot, and those in threads, which are left
to end and counted in ``abandoned``.
"""

import random
import textwrap

import pytest

from tests.engine.kernel import running_kernel

ITEMS = 60

SETUP = f"""
import asyncio, random, sys, threading, warnings
from collections import Counter
from llmflow_nb import BatchNode, Limiter
from llmflow_nb.engine.limiter import Ticket
from llmflow_nb.runs.submit import Submitted

# An interrupt may come between the making of a coroutine and that of its task: then the coroutine never begins.
warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
ITEMS = {ITEMS}

class Scene:
    '''The ledger of one try, and when to ask for the interrupt.'''

    def __init__(self, seed, moment):
        self.random = random.Random(seed)
        self.moment = moment                # how many answers there are when the interrupt is asked for
        self.began, self.ledger = [], []    # calls that started; answers, as pairs of an item and a number
        self.lock = threading.Lock()
        self.release = threading.Event()
        self.waited_for = False             # whether the cell is to be found in Submitted.wait() first

    def begin(self, item):
        self.began.append(item)
        if len(self.ledger) >= self.moment and not self.release.is_set():
            with self.lock:
                asked, self.moment = self.moment, 10**9
            if asked < 10**9:
                while self.waited_for and not cell_waits():
                    threading.Event().wait(0.001)
                print("under way", flush=True)
        return self.random.random() * 0.003

    def answer(self, item):
        answer = item, len(self.began), object()
        self.ledger.append(answer)
        return answer

    def settle(self):
        '''Let go of what blocks, and wait until no thread is left that could call anything.'''
        self.release.set()
        for thread in threading.enumerate():
            if thread.name.startswith("llmflow_nb-call"):
                thread.join(10)

def cell_waits():
    frame, codes = sys._current_frames()[threading.main_thread().ident], []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return Submitted.wait.__code__ in codes and threading.Condition.wait.__code__ in codes

class Blocking(BatchNode):
    def prep(self, shared):
        return list(range(ITEMS))

    def exec(self, item):
        threading.Event().wait(scene.begin(item))
        if item == ITEMS - 1:
            scene.release.wait(20)
        return scene.answer(item)

class Awaiting(Blocking):
    async def exec(self, item):
        await asyncio.sleep(scene.begin(item))
        while item == ITEMS - 1 and not scene.release.is_set():
            await asyncio.sleep(0.01)
        return scene.answer(item)

def finished():
    return [row.result for row in node.last_run.batch(node) if row.status == "ok"]

def is_free(limiter):
    tickets = [limiter.request(Ticket(lambda: None)) for _ in range(limiter.max_concurrency)]
    free = all(limiter.seconds_left(ticket) == 0 for ticket in tickets)
    for ticket in tickets:
        limiter.give_back(ticket)
    return free
"""

ON_THE_SPOT, IN_THREADS, AS_TASKS = "on the spot", "in threads", "as tasks"
WAYS = {
    "inline": ("Blocking()", "node.run({})", ON_THE_SPOT, 9),
    "inline, limited": ("Blocking(limiter=Limiter(1))", "node.run({})", ON_THE_SPOT, 5),
    "threads": ("Blocking(max_concurrency=4)", "node.run({})", IN_THREADS, 9),
    "threads, limited": ("Blocking(max_concurrency=4, limiter=Limiter(2))", "node.run({})", IN_THREADS, 5),
    "tasks": ("Awaiting(max_concurrency=4)", "node.run({})", AS_TASKS, 5),
    "tasks, limited": ("Awaiting(max_concurrency=4, limiter=Limiter(2))", "node.run({})", AS_TASKS, 5),
    "submitted": (
        "Blocking(max_concurrency=4, limiter=Limiter(3))",
        "node.submit({}, progress=False).wait()",
        IN_THREADS,
        7,
    ),
    "submitted tasks": (
        "Awaiting(max_concurrency=4, limiter=Limiter(3))",
        "node.submit({}, progress=False).wait()",
        AS_TASKS,
        5,
    ),
}
MOMENTS = [
    (way, seed, random.Random(f"{way} {seed}").randrange(1, ITEMS - 10))
    for way, (_, _, _, times) in WAYS.items()
    for seed in range(times)
]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with running_kernel(tmp_path_factory.mktemp("kernel"), SETUP) as kernel:
        yield kernel


def test_fifty_moments():
    """There are fifty of them."""
    assert len(MOMENTS) == 50


def look(kernel, code, **expressions):
    """Run code in the kernel, and return the values that expressions have after it: in one cell, as each takes time."""
    values = ", ".join(f"{name!r}: {expression}" for name, expression in expressions.items())
    return eval(kernel.run(f"{textwrap.dedent(code)}\n{{{values}}}"))  # `literal_eval` knows no empty set


@pytest.mark.parametrize(("way", "seed", "moment"), MOMENTS)
def test_the_table_is_the_ledger(kernel, way, seed, moment):
    """Whenever an interrupt comes, the table has what was answered, nothing goes on, and a retry does just the rest."""
    node, cell, where, _ = WAYS[way]
    kernel.run(f"scene = Scene({seed}, {moment}); node = {node}; scene.waited_for = {'submit' in cell}")
    assert kernel.interrupt(cell) == "KeyboardInterrupt"

    # Read in one cell, and at once: what was answered in time, and how far things were.
    seen = look(
        kernel,
        """
        status, began, ledger = node.last_run.status, scene.began[:], scene.ledger[:]
        rows, kept = list(node.last_run.batch(node)), finished()
        lost = [answer for answer in ledger if answer not in kept]
        """,
        status="status",
        are_in_order="[row.position for row in rows] == [row.item for row in rows] == list(range(ITEMS))",
        statuses="{row.status for row in rows}",
        are_of_their_items="all(row.result[0] == row.position for row in rows if row.status == 'ok')",
        invented="sum(answer not in ledger for answer in kept)",
        kept="len(kept)",
        lost="len(lost)",
        statuses_of_lost="{rows[answer[0]].status for answer in lost}",
        abandoned="node.last_run.abandoned",
    )
    assert seen["status"] == ("stopped" if "submit" in cell else "interrupted")
    assert (seen["are_in_order"], seen["are_of_their_items"], seen["invented"]) == (True, True, 0)
    assert seen["statuses"] <= {"ok", "cancelled", "pending"}
    assert seen["kept"] >= moment - (where == ON_THE_SPOT), "an answer of before the interrupt is lost"
    if where == AS_TASKS:
        assert seen["lost"] == 0
    else:
        assert seen["statuses_of_lost"] <= {"cancelled", "pending"}
        most = 1 if where == ON_THE_SPOT else seen["abandoned"]
        assert seen["lost"] <= most <= 4

    # What blocked comes back now; nothing follows from it.
    seen = look(
        kernel,
        "scene.settle()",
        began_no_more="scene.began == began",
        answered_since="sum(answer not in ledger for answer in scene.ledger)",
        is_as_it_was="finished() == kept",
        is_free="node.limiter is None or is_free(node.limiter)",
    )
    assert seen["answered_since"] == 0 or where == IN_THREADS
    assert (seen["began_no_more"], seen["is_as_it_was"], seen["is_free"]) == (True, True, True)

    # The rest, and only the rest, is called again.
    seen = look(
        kernel,
        """
        late = [answer for answer in scene.ledger if answer not in kept]
        _ = node.last_run.batch(node).retry(progress=False)
        calls = Counter(answer[0] for answer in scene.ledger)
        wasted = Counter(answer[0] for answer in late)
        """,
        is_complete="[answer[0] for answer in finished()] == list(range(ITEMS))",
        holds_what_was_answered="set(kept) <= set(finished()) <= set(scene.ledger)",
        called_the_rest="calls == wasted + Counter(range(ITEMS))",
    )
    assert seen == dict.fromkeys(seen, True)
