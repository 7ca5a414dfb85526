"""Exits and interrupts at any event: slots of a limiter are given back, and each call is made once."""

import asyncio
import gc
import itertools
import sys
from concurrent.futures import Executor, Future

import pytest

from llmflow_nb import Limiter, Node
from tests.engine.helpers import (
    DRIVERS,
    MODES,
    SIDE_BY_SIDE,
    InterruptAt,
    Items,
    go,
    is_free,
    items_node,
    statuses,
)


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
def test_an_exit_gives_the_slot_back(mode):
    """A call that ends with ``SystemExit``, in a thread or as a task, gives its slot of the limiter back."""

    def work(node, item):
        raise SystemExit(3)

    limiter = Limiter(1)
    node = items_node(mode, work, limiter=limiter)
    with pytest.raises(SystemExit):
        go(mode, node, {"items": [0, 1, 2]})
    assert is_free(limiter)
    assert node.last_run.status == "interrupted"


@pytest.mark.parametrize("mode", MODES)
def test_an_interrupt_in_the_users_generator_gives_the_slots_back(mode):
    """An interrupt that comes while the next item is made leaves the limiter free, and every item read with a row."""

    def items():
        yield 0
        yield 1
        raise KeyboardInterrupt

    limiter = Limiter(2)
    node = items_node(mode, lambda node, item: item * 10, limiter=limiter)
    with pytest.raises(KeyboardInterrupt):
        go(mode, node, {"items": items()})
    assert is_free(limiter)
    assert node.last_run.status == "interrupted"
    rows = list(node.last_run.batch(node))
    assert [row.item for row in rows] == [0, 1]
    assert all(row.status == "cancelled" or row.result == row.item * 10 for row in rows)


class AllAtOnce(Executor):
    """Makes no call until it has a number of them, then one after the other, where the last one was handed over."""

    def __init__(self, number):
        self.number, self.calls = number, []

    def submit(self, fn, /, *args):
        self.calls.append((Future(), fn, args))
        if len(self.calls) == self.number:
            for future, fn, args in self.calls:
                try:
                    future.set_result(fn(*args))
                except BaseException as exc:
                    future.set_exception(exc)
        return self.calls[-1][0]


@pytest.mark.parametrize("mode", ["threads", "awaited threads"])
def test_a_coroutine_that_comes_with_an_exit_is_not_awaited(mode):
    """A plain ``exec`` that returns a coroutine as another call ends the program is cancelled, and no warning comes."""
    asked = []

    async def ask(item):
        asked.append(item)

    class Plain(Items):
        def exec(self, item):
            if item == 0:
                raise SystemExit(3)
            return ask(item)

    limiter = Limiter(2)
    node = Plain(max_concurrency=2, limiter=limiter)
    with pytest.raises(SystemExit):
        go(mode, node, {"items": [0, 1, 2]}, executor=AllAtOnce(2))
    gc.collect()  # which would complain
    assert asked == []
    assert statuses(node) == ["cancelled", "cancelled", "pending"]
    assert is_free(limiter)


def test_a_wait_that_is_over_when_another_call_has_failed():
    """A call that is to be tried again as another one fails for good is not: its row is cancelled, with one attempt."""
    started = []

    class Notes:
        def handle(self, event):
            if event.kind == "attempt_started":
                started.append((event.value, event.attempt))

    async def work(node, item):
        if (item, node.cur_retry) == ("fails", 0):
            raise LookupError(item)
        if item != "last":
            waiting.append(item)
            if len(waiting) == 2:
                both_wait.set()
            await go_on.wait()
            raise LookupError(item)
        await both_wait.wait()
        go_on.set()

    waiting, both_wait, go_on = [], asyncio.Event(), asyncio.Event()
    node = items_node("awaited", work, max_retries=2, wait=lambda attempt: 1e-9)
    with pytest.raises(LookupError, match="fails"):
        go("awaited", node, {"items": ["waits", "fails", "last"]}, subscribers=[Notes()])

    assert waiting == ["waits", "fails"]
    assert [(row.status, row.attempts) for row in node.last_run.batch(node)] == [
        ("cancelled", 1),
        ("failed", 2),
        ("ok", 1),
    ]
    assert sorted(started) == [("fails", 1), ("fails", 2), ("last", 1), ("waits", 1)]


def flaky(node, item):
    """One item needs a second attempt, so that there are events of a failed one."""
    if item == 1 and node.cur_retry == 0:
        raise LookupError("busy")
    return item * 10


# In an awaited run an interrupt of this kind would stop the caller's own loop; there it arrives as a cancellation.
@pytest.mark.parametrize("mode", ["inline", "threads", "tasks"])
def test_an_interrupt_at_any_event(mode):
    """Wherever an interrupt comes, every item has a row, what is ok has its result, and the limiter is free."""
    limiter = Limiter(2)
    width = 1 if mode == "inline" else 3
    node = items_node(mode, flaky, max_concurrency=width, max_retries=2, limiter=limiter)
    nowhere = InterruptAt(0)
    node.run({"items": [5, 1, 7, 3]}, subscribers=[nowhere])
    assert nowhere.told == 2 + 2 + 4 * 4 + 2

    for n in range(2, nowhere.told):  # the first and the last have tests of their own
        with pytest.raises(KeyboardInterrupt):
            node.run({"items": [5, 1, 7, 3]}, subscribers=[InterruptAt(n)])
        assert node.last_run.status == "interrupted", f"at event {n}"
        assert is_free(limiter), f"at event {n}"
        assert len(node.last_run.batches) == (n > 2), "there is a record as soon as prep has given its items"
        for batch in node.last_run.batches:
            assert len(list(batch)) == 4, f"at event {n}"
            for row in batch:
                item = [5, 1, 7, 3][row.position]
                came_back = {"ok", "failed"} if item == 1 else {"ok"}  # its first attempt may be the last that is made
                assert row.status in came_back | {"cancelled", "pending"}, f"at event {n}"
                assert row.item == item, f"at event {n}"
                assert row.result == (item * 10 if row.status == "ok" else None), f"at event {n}"


class InterruptAfterCall:
    """A profile function that raises ``KeyboardInterrupt``, once: when the n-th builtin that the engine calls returns.

    There Python looks for signals too, so an interrupt by the keyboard comes at the same places.
    """

    def __init__(self, n):
        self.n, self.returned = n, 0

    def __call__(self, frame, event, function):
        if event == "c_return" and any(self.is_of_engine(caller) for caller in (frame, frame.f_back)):
            self.returned += 1
            if self.returned == self.n:
                raise KeyboardInterrupt

    def is_of_engine(self, frame):
        return frame is not None and frame.f_globals["__name__"].startswith("llmflow_nb.engine.")


class Direct(Executor):
    """Makes each call at once, where it is handed over."""

    def submit(self, fn, /, *args):
        future = Future()
        try:
            future.set_result(fn(*args))
        except LookupError as exc:
            future.set_exception(exc)
        return future


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    ("executor", "items", "end"),
    [
        (None, [5, 6, 1, 7], ["ok", "ok", "failed", "pending"]),
        (Direct(), [5, 6, 1, 7], ["ok", "ok", "failed", "pending"]),
    ],
    ids=["on the spot", "executor"],
)
def test_an_interrupt_between_any_two_steps(executor, items, end):
    """Wherever in the engine an interrupt comes, what was answered is in its row, and the limiter is free."""
    limiter = Limiter(1)

    def work(node, item):
        if item == 1 or (item == 6 and node.cur_retry == 0):
            raise LookupError("no such item")
        answered.append(item)
        return item * 10

    def is_interrupted(node, n):
        sys.setprofile(InterruptAfterCall(n))
        try:
            node.run({"items": items}, executor=executor, progress=False)
        except KeyboardInterrupt:
            return True
        except LookupError:
            return False
        finally:
            sys.setprofile(None)

    for n in itertools.count(1):
        answered = []
        width = 1 if executor is None else 3
        node = items_node("inline", work, limiter=limiter, max_concurrency=width, max_retries=2)
        if not is_interrupted(node, n):
            break
        assert is_free(limiter), f"after call {n}"
        if node.last_run is None:  # it came before there was a record
            assert answered == []
            continue
        assert node.last_run.status == "interrupted", f"after call {n}"
        rows = [row for batch in node.last_run.batches for row in batch]
        assert len(rows) == 4 * len(node.last_run.batches), f"after call {n}"
        assert [row.item for row in rows if row.status == "ok"] == answered, f"after call {n}"
        for row in rows:
            may_be = {"cancelled", "pending"} | ({"failed"} if row.item == 1 else {"ok"})
            assert row.status in may_be, f"after call {n}"
            assert row.result == (row.item * 10 if row.status == "ok" else None), f"after call {n}"
    assert n > 100
    assert statuses(node) == end


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_interrupt_before_the_first_visit(driver):
    """A run that is interrupted when it is told to have started is over as well."""
    node = Node()
    with pytest.raises(KeyboardInterrupt):
        go(driver, node, {}, subscribers=[InterruptAt(1, "run_started")])
    assert node.last_run.status == "interrupted"
    assert node.last_run.visits == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_an_interrupt_after_the_last_visit(driver):
    """A run that is interrupted when it is told to have finished stays as it has been told."""
    node = Node()
    with pytest.raises(KeyboardInterrupt):
        go(driver, node, {}, subscribers=[InterruptAt(1, "run_finished")])
    assert node.last_run.status == "ok"
    assert [visit.status for visit in node.last_run.visits] == ["ok"]
