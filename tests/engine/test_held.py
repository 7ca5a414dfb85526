"""What has to hold where several things come together: failures beside each other, odd inputs, interrupts anywhere."""

import asyncio
import copy
import gc
import itertools
import pickle
import sys
import threading
from concurrent.futures import Executor, Future

import pytest

from llmflow_nb import AllFailedError, BatchFlow, BatchNode, Flow, Limiter, MaxStepsError, Node, Run, SignatureError
from llmflow_nb.engine.advance import AFTER_PREP, ALL, BOUNDARY
from llmflow_nb.engine.checkpoint import Checkpoint
from llmflow_nb.engine.drivers.sync import drive
from llmflow_nb.engine.limiter import Ticket
from llmflow_nb.engine.plan import Setup
from llmflow_nb.engine.position import Position
from tests.engine.helpers import MODES, PATIENCE, SIDE_BY_SIDE, Items, Signal, When, go, items_node, statuses

DRIVERS = ["run", "awaited"]


class Sets(BatchFlow):
    """Walks once for each of ``shared["sets"]``, leaving the walks' results in ``shared["results"]``."""

    def prep(self, shared):
        return shared["sets"]

    def post(self, shared, prep_res, exec_res):
        shared["results"] = exec_res


def numbered(count):
    return [{"n": n} for n in range(count)]


def is_free(limiter):
    """Whether all slots of a limiter can be had, those included that a thread which was left alone gives back soon."""
    tickets = []
    for _ in range(limiter.max_concurrency):
        woken = threading.Event()
        tickets.append(limiter.request(Ticket(woken.set)))
        while limiter.seconds_left(tickets[-1]) is None:
            if not woken.wait(PATIENCE):
                return False
            woken.clear()
    for ticket in tickets:
        limiter.give_back(ticket)
    return True


class InterruptAt:
    """A subscriber that raises ``KeyboardInterrupt``, once: at the n-th event of a kind (None: of any)."""

    def __init__(self, n, kind=None):
        self.n, self.kind = n, kind
        self.told = 0

    def handle(self, event):
        self.told += self.kind in (None, event.kind)
        if self.told == self.n:
            self.n = 0
            raise KeyboardInterrupt


# --- param sets side by side, one of which fails ---------------------------------------------------------------------


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_failed_set_takes_nothing_from_the_others(driver, width):
    """Where a set fails while its calls wait for a limiter, later sets get all their results, at every run."""

    class Map(BatchNode):
        def prep(self, shared):
            return range(4)

        def exec(self, item):
            if self.params["n"] == 0:
                raise LookupError("first set")
            return item * 10

        def post(self, shared, prep_res, exec_res):
            shared["posts"].append((self.params["n"], exec_res))

    limiter = Limiter(1)
    flow = Sets(Map(max_concurrency=width, limiter=limiter), max_concurrency=2, on_error="keep")
    for _ in range(2):
        shared = {"sets": numbered(4), "posts": []}
        go(driver, flow, shared)
        assert sorted(shared["posts"]) == [(n, [0, 10, 20, 30]) for n in (1, 2, 3)]
        assert statuses(flow) == ["failed", "ok", "ok", "ok"]
        assert is_free(limiter)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_set_that_fails_while_the_next_is_pulled(driver):
    """Where a set of an inner flow fails and the next is to be pulled, the outer flow waits for its other sets."""

    class Step(Node):
        async def prep(self, shared):
            shared["preps"].append(self.params["n"])

        def post(self, shared, prep_res, exec_res):
            return "again" if self.params["n"] == 0 else "done"

    class Last(Node):
        async def prep(self, shared):
            shared["ends"].append(self.params["n"])

    class Inner(BatchFlow):
        async def prep(self, shared):
            async def pages():
                yield {"page": 0}
                yield {"page": 1}

            return pages()

    step = Step()
    step - "again" >> step
    step - "done" >> Last()
    inner = Inner(step, max_steps=3, max_concurrency=2)
    flow = Sets(inner, max_concurrency=2, on_error="keep")
    shared = {"sets": numbered(2), "preps": [], "ends": []}
    go(driver, flow, shared)

    assert statuses(flow) == ["failed", "ok"]
    assert shared["ends"] == [1, 1]
    assert shared["results"] == [None, [None, None]]
    assert [type(error) for error in flow.last_run.batch(flow).exceptions] == [MaxStepsError]
    assert flow.last_run.visits[-1].path == "Sets"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_cancelled_set_keeps_its_last_result(is_async):
    """A set that is stopped because another one failed keeps what its last ``exec`` had given."""
    failed = When("attempt_finished", "failed")

    class Ask(Node):
        def exec(self, prep_res):
            if self.params["n"] == 0:
                raise LookupError("first set")
            failed.signal.wait()
            return "paid for"

    class AskAsync(Node):
        async def exec(self, prep_res):
            if self.params["n"] == 0:
                raise LookupError("first set")
            await failed.signal.seen()
            return "paid for"

    flow = Sets((AskAsync if is_async else Ask)(), max_concurrency=2)
    with pytest.raises(LookupError, match="first set"):
        flow.run({"sets": numbered(2)}, subscribers=[failed])
    assert [(row.status, row.result) for row in flow.last_run.batch(flow)] == [
        ("failed", None),
        ("cancelled", "paid for"),
    ]


# --- calls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["threads", "awaited threads"])
def test_an_executor_that_refuses_every_item(mode):
    """An executor that refuses thousands of items, all of them kept, comes out as one error."""

    class Full(Executor):
        def submit(self, fn, /, *args, **kwargs):
            raise RuntimeError("full")

    node = items_node(mode, lambda node, item: item, on_error="keep")
    with pytest.raises(AllFailedError, match="all 3000 items failed, the first with RuntimeError: full"):
        go(mode, node, {"items": range(3000)}, executor=Full())
    assert statuses(node) == ["failed"] * 3000


@pytest.mark.parametrize("driver", DRIVERS)
def test_in_time_while_a_post_blocks(driver):
    """A call that ended in time has not timed out, though a ``post`` held the driver up for longer than that."""
    timeout = 0.5
    posting, returning = Signal(), Signal()

    class Ask(Node):
        def exec(self, prep_res):
            if self.params["n"] == 1:
                posting.wait()
                returning.set()
            return self.params["n"]

        def post(self, shared, prep_res, exec_res):
            if self.params["n"] == 0:
                posting.set()
                returning.wait()
                threading.Event().wait(1.5 * timeout)

    flow = Sets(Ask(timeout=timeout), max_concurrency=2)
    shared = {"sets": numbered(2)}
    go(driver, flow, shared)
    assert shared["results"] == [0, 1]
    assert flow.last_run.abandoned == 0


@pytest.mark.parametrize("mode", MODES)
def test_wait_function_that_raises(mode):
    """The error of a function for ``wait`` comes out, caused by the one that was to be waited after."""

    def work(node, item):
        raise LookupError("busy")

    def wait(attempt):
        raise ZeroDivisionError("in wait")

    node = items_node(mode, work, max_retries=2, wait=wait)
    with pytest.raises(ZeroDivisionError, match="in wait") as caught:
        go(mode, node, {"items": [0]})
    assert repr(caught.value.__cause__) == "LookupError('busy')"


@pytest.mark.parametrize("mode", MODES)
def test_an_error_that_cannot_say_what_it_is(mode):
    """Where all items fail with an exception that cannot be made a string, its type is named."""

    class Mute(Exception):
        def __str__(self):
            raise ValueError("no words")

    def work(node, item):
        raise Mute

    node = items_node(mode, work, on_error="keep")
    with pytest.raises(AllFailedError, match="all 2 items failed, the first with Mute") as caught:
        go(mode, node, {"items": [0, 1]})
    assert type(caught.value.__cause__) is Mute


@pytest.mark.parametrize("concurrency", [1, 2])
def test_attributes_of_a_flow_that_only_nodes_obey(concurrency):
    """A batch flow's own attribute called ``max_retries`` or ``wait`` does not come between the user and an error."""
    asked = []

    class Folders(Sets):
        max_retries = 3
        wait = "a minute"

        def exec(self, element):
            asked.append(element["n"])
            raise LookupError("no such folder")

    with pytest.raises(LookupError, match="no such folder"):
        Folders(Node(), max_concurrency=concurrency).run({"sets": numbered(1)})
    assert asked == [0]


# --- items -----------------------------------------------------------------------------------------------------------


class Given:
    """An awaitable that is no coroutine and has its value at once."""

    def __init__(self, value):
        self.value = value

    def __await__(self):
        return self.value
        yield


class Pages:
    """An async iterator over 0 and 1 whose ``__anext__`` is a plain method."""

    def __init__(self):
        self.left = [0, 1]

    def __aiter__(self):
        return self

    def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        return Given(self.left.pop(0))


@pytest.mark.parametrize("mode", MODES)
def test_async_iterator_without_coroutines(mode):
    """An async iterator may return any awaitable, and may raise its end at once."""
    shared = {"items": Pages()}
    node = items_node(mode, lambda node, item: item * 10)
    go(mode, node, shared)
    assert shared["results"] == [0, 10]
    assert statuses(node) == ["ok", "ok"]


@pytest.mark.parametrize("mode", MODES)
def test_generator_is_closed_after_a_failure(mode):
    """A generator that is not read to its end has been closed when the run is over."""
    closed = []

    def items():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    def work(node, item):
        raise LookupError("no such item")

    shared = {"items": items()}  # held on to, so that it does not close for want of references
    with pytest.raises(LookupError, match="no such item"):
        go(mode, items_node(mode, work), shared)
    assert closed == [True]


class Sized:
    """Three items, and a length of one's own."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        if isinstance(self.length, Exception):
            raise self.length
        return self.length

    def __iter__(self):
        return iter("abc")


@pytest.mark.parametrize("length", [OSError("not known"), -1, "three", 0, 1, 99], ids=repr)
@pytest.mark.parametrize("mode", ["inline", "threads", "tasks"])
def test_a_length_that_fails_or_lies(mode, length):
    """A length that is wrong or cannot be had makes no difference to what is read, nor to the rows."""
    shared = {"items": Sized(length)}
    node = items_node(mode, lambda node, item: item.upper())
    go(mode, node, shared)
    assert shared["results"] == ["A", "B", "C"]
    assert [row.item for row in node.last_run.batch(node)] == ["a", "b", "c"]
    assert len(node.last_run.batch(node)) == 3


# --- what post is given ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("change", ["sort", "clear"])
def test_lists_of_a_batch_node_are_the_users_own(mode, kind, change):
    """What ``post`` does to the lists that it is given changes no row of the record."""
    node = items_node(mode, lambda node, item: -item)

    def post(shared, prep_res, exec_res):
        shared["given"] = list(prep_res), list(exec_res)
        getattr(exec_res, change)()
        prep_res.pop()

    node.post = post
    shared = {"items": kind([1, 2, 3])}
    go(mode, node, shared)
    assert shared["given"] == ([1, 2, 3], [-1, -2, -3])
    assert [(row.item, row.result, row.status) for row in node.last_run.batch(node)] == [
        (1, -1, "ok"),
        (2, -2, "ok"),
        (3, -3, "ok"),
    ]


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("change", ["sort", "clear"])
def test_lists_of_a_batch_flow_are_the_users_own(concurrency, kind, change):
    """So it is for the param sets of a batch flow and the results of its walks."""

    class Negate(Node):
        def exec(self, prep_res):
            return -self.params["n"]

    class Changing(Sets):
        def post(self, shared, prep_res, exec_res):
            shared["given"] = list(prep_res), list(exec_res)
            getattr(exec_res, change)()
            prep_res.pop()

    flow = Changing(Negate(), max_concurrency=concurrency)
    shared = {"sets": kind(numbered(3))}
    flow.run(shared)
    assert shared["given"] == (numbered(3), [0, -1, -2])
    assert [(row.item, row.result, row.status) for row in flow.last_run.batch(flow)] == [
        ({"n": 0}, 0, "ok"),
        ({"n": 1}, -1, "ok"),
        ({"n": 2}, -2, "ok"),
    ]


# --- copies ----------------------------------------------------------------------------------------------------------


class Locks(BatchNode):
    """Importable by name, with results that can be neither copied nor pickled."""

    def prep(self, shared):
        return range(2)

    def exec(self, item):
        return threading.Lock()


@pytest.mark.parametrize(
    "twin_of", [copy.deepcopy, lambda node: pickle.loads(pickle.dumps(node))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("make", [Locks, lambda: Flow(Locks())], ids=["node", "flow"])
def test_a_copy_leaves_the_record_behind(twin_of, make):
    """A copy of a node that has run comes without its record, which may hold what cannot be copied."""
    node = make()
    node.run({})
    twin = twin_of(node)
    assert twin.last_run is None
    assert node.last_run.status == "ok"
    twin.run({})
    assert twin.last_run.status == "ok"


class Slotted(Node):
    """Keeps what it sets in a slot."""

    __slots__ = ("seen",)

    def prep(self, shared):
        self.seen = "in prep"

    def exec(self, prep_res):
        return self.seen


class CopiesItself(Node):
    """Says itself how it is copied."""

    copies = 0

    def __copy__(self):
        type(self).copies += 1
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    prep, exec = Slotted.prep, Slotted.exec


@pytest.mark.parametrize("cls", [Slotted, CopiesItself])
@pytest.mark.parametrize("mask", [AFTER_PREP, ALL])
def test_a_copied_position_keeps_what_a_visit_has_set(cls, mask):
    """From a copy of a position, and from the original, a visit goes on with what its ``prep`` has set on it."""
    flow = Flow(cls())
    setup = Setup(Run(flow)._recorder, concurrent=False)
    position = Position.at_start(flow, {}, setup)
    copies = []
    while drive(position, setup, mask) == BOUNDARY:
        copies.append(Checkpoint(position).restore(setup, position.shared, copies=True))
    assert position.result == "in prep"
    for twin in copies:
        drive(twin, setup)
        assert twin.result == "in prep"


# --- what helps the user ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [BatchNode, BatchFlow])
def test_a_batch_that_forgot_its_return(base):
    """A batch whose ``prep`` returned None is empty, and the record asks about the ``return``."""

    class Forgetful(base):
        def prep(self, shared):
            list(shared)

    node = Forgetful() if base is BatchNode else Forgetful(Node())
    node.run({})
    (problem,) = node.last_run.problems
    assert "Forgetful: prep returned None" in problem
    assert "Is a return missing?" in problem


def test_shared_in_the_wrong_place():
    """An ``exec`` with ``shared`` behind the other argument is refused with its class, and told how to write it."""
    with pytest.raises(
        SignatureError, match=r"Swapped\.exec\(self, x, shared\) .*or def exec\(self, shared, prep_res\)"
    ):

        class Swapped(Node):
            def exec(self, x, shared):
                pass


def test_self_was_forgotten():
    """An ``exec`` without ``self`` is refused with its class, and told how to write it."""
    with pytest.raises(SignatureError, match=r"Selfless\.exec\(shared, x\) .*write def exec\(self, prep_res\) or def"):

        class Selfless(Node):
            def exec(shared, x):
                pass


def test_half_an_edge_says_what_is_missing():
    """The left half of an edge says that it is none yet, and what to write."""
    assert repr(Node(name="Draft") - "retry") == "<<Node 'Draft'> - 'retry', no edge yet: write >> target after it>"


def test_a_run_counts_its_failed_items():
    """The line that stands for a run says how many items failed."""

    def work(node, item):
        if item < 2:
            raise LookupError
        return item

    node = items_node("inline", work, on_error="keep")
    node.run({"items": range(5)})
    assert "2 failed items" in repr(node.last_run)
    node.run({"items": range(1, 5)})
    assert "1 failed item," in repr(node.last_run)
    node.run({"items": range(2, 5)})
    assert "failed" not in repr(node.last_run)


# --- exits and interrupts --------------------------------------------------------------------------------------------


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


class Finishing(Items):
    """Item 0 ends once the others wait; those finish what they are at when they are cancelled."""

    def __init__(self):
        super().__init__(max_concurrency=3)
        self.waiting = []
        self.all_wait = asyncio.Event()

    async def exec(self, item):
        if item == 0:
            await self.all_wait.wait()
            return 0
        self.waiting.append(item)
        if len(self.waiting) == 2:
            self.all_wait.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return item * 10


def test_results_that_come_while_an_interrupt_cleans_up():
    """A task that answers its cancellation with a result, after an interrupt of ``run()``, has it in its row."""
    node = Finishing()
    with pytest.raises(KeyboardInterrupt):
        node.run({"items": [0, 1, 2]}, subscribers=[InterruptAt(1, "attempt_finished")])
    assert [(row.status, row.result) for row in node.last_run.batch(node)] == [("ok", 0), ("ok", 10), ("ok", 20)]
    assert node.last_run.status == "interrupted"


def test_results_that_come_while_a_cancelled_run_cleans_up():
    """So it is where the task that awaits ``run_async()`` is cancelled."""
    node = Finishing()

    async def main():
        run = asyncio.ensure_future(node.run_async({"items": [0, 1, 2]}))
        await node.all_wait.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    rows = [(row.status, row.result) for row in node.last_run.batch(node)]
    assert rows[1:] == [("ok", 10), ("ok", 20)]
    assert node.last_run.status == "interrupted"


@pytest.mark.parametrize("hook", ["prep", "post"])
def test_a_cancelled_run_cancels_the_hook_that_it_awaits(hook):
    """Where the task that awaits ``run_async()`` is cancelled, the hook has cleaned up, and nothing follows it."""
    done = []

    async def waits(self, shared, *args):
        done.append("begun")
        shared.set()
        try:
            await asyncio.Event().wait()
        finally:
            done.append("cleaned up")

    class After(Node):
        def prep(self, shared):
            done.append("after")

    node = type("Waits", (Node,), {hook: waits})()
    node >> After()
    flow = Flow(node)

    async def main():
        begun = asyncio.Event()
        run = asyncio.ensure_future(flow.run_async(begun))
        await begun.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    assert done == ["begun", "cleaned up"]
    assert flow.last_run.status == "interrupted"
    assert [visit.status for visit in flow.last_run.visits] == ["cancelled", "cancelled"]


class LateFuture(Future):
    """Is done a while before it tells so."""

    def __init__(self):
        super().__init__()
        self.told_whom, self.done_by_now, self.tell = Signal(), Signal(), Signal()
        super().add_done_callback(self._hold_back)  # the first one, so that the others come after it

    def add_done_callback(self, fn):
        super().add_done_callback(fn)
        self.told_whom.set()

    def _hold_back(self, _):
        self.done_by_now.set()
        self.tell.wait()


class TellsLate(Executor):
    """Makes one call, in a thread of its own, when there is somebody to tell of it; and tells late."""

    def __init__(self):
        self.future = LateFuture()

    def submit(self, fn, /, *args):
        self.thread = threading.Thread(target=self._call, args=(fn, args))
        self.thread.start()
        return self.future

    def _call(self, fn, args):
        self.future.told_whom.wait()
        try:
            result = fn(*args)
        except LookupError as exc:
            self.future.set_exception(exc)
        else:
            self.future.set_result(result)


@pytest.mark.parametrize(("item", "status", "result"), [(1, "ok", 10), (0, "failed", None)], ids=["result", "error"])
def test_what_is_done_when_a_run_is_stopped_counts(item, status, result):
    """What an executor has finished, and has not told of yet when the run is stopped, is in its row: it is paid for."""

    def work(node, item):
        if not item:
            raise LookupError("no such item")
        return item * 10

    executor, limiter = TellsLate(), Limiter(1)
    node = items_node("threads", work, max_concurrency=1, limiter=limiter)
    handle = node.submit({"items": [item, 2]}, executor=executor)
    executor.future.done_by_now.wait()
    assert handle.stop()
    executor.future.tell.set()
    executor.thread.join(PATIENCE)
    assert [(row.status, row.result) for row in handle.run.batch(node)] == [(status, result), ("pending", None)]
    assert handle.run.abandoned == 0
    assert is_free(limiter)


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
