"""What has to hold where several things come together: failures beside each other, odd inputs, interrupts anywhere."""

import asyncio
import copy
import pickle
import threading
from concurrent.futures import Executor

import pytest

from llmflow_nb import AllFailedError, BatchFlow, BatchNode, Flow, Limiter, MaxStepsError, Node, Run, SignatureError
from llmflow_nb.engine.advance import AFTER_PREP, ALL, BOUNDARY
from llmflow_nb.engine.drivers.sync import drive
from llmflow_nb.engine.limiter import Ticket
from llmflow_nb.engine.mark import Mark
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
    setup = Setup(Run(flow), concurrent=False)
    position = Position.at_start(flow, {}, setup)
    copies = []
    while drive(position, setup, mask) == BOUNDARY:
        copies.append(Mark(position).position()[0])
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
    assert "return?" in problem


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
