"""What a record keeps of an exception: its text and the user's own frames, and nothing of whoever ran the flow."""

import asyncio
import gc
import pdb
import sys
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import StringIO

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node
from tests.engine.helpers import MODES, PATIENCE, Items, go, items_node


class Big:
    """Stands for a large value; its instances can be referred to weakly."""

    def __init__(self, number=0):
        self.number = number


def fails(node, item):
    """An exec that fails."""
    half = item / 2
    raise ValueError(f"no {half}")


class Fails(Node):
    """Fails in the hook that ``shared["hook"]`` names."""

    def prep(self, shared):
        self.fail("prep", shared)
        return shared

    def exec(self, shared):
        self.fail("exec", shared)

    def post(self, shared, prep_res, exec_res):
        self.fail("post", shared)

    def fail(self, hook, shared):
        if shared["hook"] == hook:
            raise ValueError(hook)


class Sets(BatchFlow):
    """Walks twice."""

    def prep(self, shared):
        return [{"n": 0}, {"n": 1}]


def is_kept(work):
    """Whether a value that ``work`` gets, and has as a local variable of its own, is in memory after it has returned.

    Returns it with what ``work`` returned, which stays in memory.
    """

    def call():
        big = Big()
        return work(big), weakref.ref(big)

    result, big = call()
    for thread in threading.enumerate():
        if thread.name.startswith("llmflow_nb-call"):  # it may be on its way out
            thread.join(PATIENCE)
    gc.collect()
    return big() is not None, result


def lines(error):
    """The functions and lines of a traceback."""
    return [(frame.name, frame.line) for frame in traceback.extract_tb(error.__traceback__)]


# ---- callers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_kept_failure_holds_no_caller(mode):
    """With ``on_error="keep"``, the variables of whoever ran the node are free once that function has returned."""

    def work(big):
        node = items_node(mode, lambda node, item: item if item else fails(node, item), on_error="keep")
        go(mode, node, {"items": [0, 1, 0]})
        return node

    kept, node = is_kept(work)
    assert node.last_run.batch(node).counts == {"ok": 1, "failed": 2}
    assert not kept


@pytest.mark.parametrize("mode", MODES)
def test_record_of_a_raised_error_holds_no_caller(mode):
    """Nor does the record hold them when the error was raised to them."""

    def work(big):
        node = items_node(mode, fails)
        with pytest.raises(ValueError, match="no 0"):
            go(mode, node, {"items": [1, 1, 1]})
        return node

    kept, node = is_kept(work)
    assert node.last_run.status == "failed"
    assert not kept


@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
@pytest.mark.parametrize("max_concurrency", [1, 2])
@pytest.mark.parametrize("on_error", ["raise", "keep"])
def test_failed_param_set_holds_no_caller(hook, max_concurrency, on_error):
    """The same of param sets, whichever hook fails."""

    def work(big):
        flow = Flow(Sets(Fails(), max_concurrency=max_concurrency, on_error=on_error))
        with suppress(ValueError, RuntimeError):  # all param sets fail, which is an error too
            flow.run({"hook": hook})
        return flow

    kept, flow = is_kept(work)
    assert flow.last_run.batch("Sets").counts["failed"] >= 1
    assert not kept


def test_interrupted_run_holds_no_caller():
    """The same of an interrupt in a hook."""

    def interrupt(node, item):
        raise KeyboardInterrupt

    def work(big):
        node = items_node("inline", interrupt)
        with pytest.raises(KeyboardInterrupt):
            node.run({"items": [1]})
        return node

    kept, node = is_kept(work)
    assert node.last_run.status == "interrupted"
    assert not kept


def test_failed_retry_holds_no_caller():
    """The same of rows that fail again in a retry."""
    node = items_node("inline", lambda node, item: item if item else fails(node, item), on_error="keep")
    node.run({"items": [0, 1]})

    def work(big):
        return node.last_run.batch(node).retry_failed()

    kept, batch = is_kept(work)
    assert batch[0].attempts == 2
    assert not kept


def test_executor_holds_no_caller():
    """The same of calls in an executor of the user's."""
    with ThreadPoolExecutor(2) as executor:

        def work(big):
            node = items_node("inline", lambda node, item: item if item else fails(node, item), on_error="keep")
            node.run({"items": [0, 1]}, executor=executor)
            return node

        kept, node = is_kept(work)
    assert lines(node.last_run.batch(node).exceptions[0])[-1] == ("fails", 'raise ValueError(f"no {half}")')
    assert not kept


def test_awaiting_a_submitted_run_holds_no_caller():
    """The same of whoever awaits a run that was submitted and failed."""
    handle = items_node("inline", fails).submit({"items": [1]})

    def work(big):
        async def wait(big):
            with pytest.raises(ValueError, match="no 0"):
                await handle

        asyncio.run(wait(big))

    assert not is_kept(work)[0]


def test_stepper_holds_no_caller():
    """The same of a step that fails."""

    def work(big):
        stepper = Flow(Fails()).stepper({"hook": "exec"})
        stepper.run()
        return stepper

    kept, stepper = is_kept(work)
    assert [name for name, _ in lines(stepper.error)] == ["exec", "fail"]
    assert not kept


def test_error_that_the_caller_handles_is_not_kept():
    """A failure while the caller handles another error holds no variable of the caller, and leaves that error whole."""

    seen = []

    def handles(big):
        node = items_node("inline", lambda node, item: item if item else fails(node, item), on_error="keep")
        try:
            raise LookupError("of the caller")
        except LookupError as error:
            node.run({"items": [0, 1]})
            seen.extend(lines(error))
        return node

    kept, node = is_kept(handles)
    error = node.last_run.batch(node).exceptions[0]
    assert repr(error.__context__) == "LookupError('of the caller')"
    assert seen == [("handles", 'raise LookupError("of the caller")')]
    assert not kept


# ---- what is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_kept_failure_shows_the_hook(mode):
    """The traceback of a kept failure begins at the hook, with its line and that of every function it called."""
    node = items_node(mode, lambda node, item: item if item else fails(node, item), on_error="keep")
    go(mode, node, {"items": [0, 1]})
    error = node.last_run.batch(node).exceptions[0]
    assert [name for name, _ in lines(error)] == ["exec", "<lambda>", "fails"]
    assert 'raise ValueError(f"no {half}")' in "".join(traceback.format_exception(error))


def test_debugger_shows_the_hook():
    """A debugger shows the variables of the hook, and goes up to the hook and no further."""
    node = items_node("inline", lambda node, item: item if item else fails(node, item), on_error="keep")
    node.run({"items": [0, 1]})
    error = node.last_run.batch(node).exceptions[0]
    said = StringIO()
    debugger = pdb.Pdb(stdin=StringIO("p half\nup\nup\np item\nup\nq\n"), stdout=said, readrc=False)
    debugger.reset()
    debugger.interaction(None, error.__traceback__)
    assert "(Pdb) 0.0" in said.getvalue()
    assert "exec()" in said.getvalue()
    assert "*** Oldest frame" in said.getvalue()


def test_tracing_may_be_on():
    """Frames in kept tracebacks are sound also while a debugger or a profiler is on, whatever the size of the hook."""
    node = items_node("inline", lambda node, item: item if item else fails(node, item), on_error="keep")

    class Short(Items):
        exec = lambda self, item: item.x  # noqa: E731

    before = sys.gettrace(), sys.getprofile(), gc.get_threshold()
    gc.set_threshold(5)
    sys.settrace(lambda *_: None)
    sys.setprofile(lambda *_: None)
    try:
        for each in (node, Short(on_error="keep")):
            with suppress(RuntimeError):
                each.run({"items": [0] * 200 + [1]})
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
        gc.set_threshold(*before[2])
    assert lines(node.last_run.batch(node).exceptions[199])[-1] == ("fails", 'raise ValueError(f"no {half}")')


def test_record_of_a_raised_error_shows_the_hook():
    """So does the record of a run that failed; the raised exception itself has the frames of its callers as well."""
    flow = Flow(Fails())
    with pytest.raises(ValueError, match="exec") as caught:
        flow.run({"hook": "exec"})
    assert [name for name, _ in lines(flow.last_run.error)] == ["exec", "fail"]
    assert flow.last_run.error.__notes__ == caught.value.__notes__
    names = [name for name, _ in lines(caught.value)]
    assert names[0] == "test_record_of_a_raised_error_shows_the_hook"
    assert names[-2:] == ["exec", "fail"]
    assert caught.value.__traceback__.tb_frame.f_locals["flow"] is flow


def test_cause_of_a_kept_failure_is_shown():
    """An error that the hook handled keeps its traceback too."""

    class Asks(Items):
        def exec(self, item):
            try:
                return {}[item]
            except KeyError as exc:
                raise ValueError("no answer") from exc

    node = Asks(on_error="keep")
    with pytest.raises(RuntimeError):
        node.run({"items": ["a"]})
    error = node.last_run.batch(node).exceptions[0]
    assert lines(error.__cause__) == [("exec", "return {}[item]")]
    assert "direct cause" in "".join(traceback.format_exception(error))


def test_errors_of_a_task_group_are_shown():
    """The errors in an exception group keep their tracebacks, from the task on."""

    async def task():
        raise LookupError("in a task")

    class Asks(Items):
        async def exec(self, item):
            async with asyncio.TaskGroup() as group:
                group.create_task(task())

    node = Asks(on_error="keep")
    with pytest.raises(RuntimeError):
        node.run({"items": ["a"]})
    error = node.last_run.batch(node).exceptions[0]
    assert lines(error.exceptions[0]) == [("task", 'raise LookupError("in a task")')]


class Refused(Exception):
    """As errors of SDKs are: made with other arguments than it keeps."""

    def __init__(self, message, *, response):
        super().__init__(message)
        self.response = response


@pytest.mark.parametrize(
    "error",
    [
        Refused("too many", response={"status": 429}),
        FileNotFoundError(2, "No such file", "notes.txt"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        KeyError("id"),
        ImportError("no module", name="openai"),
        ExceptionGroup("two", [ValueError(1), ValueError(2)]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_in_the_record_is_like_the_raised_one(error):
    """The record's copy of a raised error has the same type, text and attributes."""

    class Raises(Node):
        def exec(self, prep_res):
            raise error

    node = Raises()
    with pytest.raises(type(error)) as caught:
        node.run({})
    kept = node.last_run.error
    assert caught.value is error
    assert kept is not error
    assert (type(kept), str(kept), kept.args) == (type(error), str(error), error.args)
    assert vars(kept) == vars(error)
    for name in ("errno", "filename", "start", "end", "object", "name", "exceptions"):
        assert getattr(kept, name, None) == getattr(error, name, None)


# ---- attempts that were retried --------------------------------------------------------------------------------------


class Source(BatchNode):
    """Reads large items from a generator and keeps none; ``refs`` are weak references to them."""

    def __init__(self, refs, **settings):
        super().__init__(keep_items=False, **settings)
        self.refs = refs

    def prep(self, shared):
        for number in range(shared["n"]):
            item = Big(number)
            self.refs.append(weakref.ref(item))
            yield item


class FailsOnce(Source):
    def exec(self, item):
        copy = item  # noqa: F841  # a variable of the attempt that fails
        if self.cur_retry == 0:
            raise ValueError("busy")
        return item.number


class FailsOnceAsync(Source):
    async def exec(self, item):
        copy = item  # noqa: F841
        if self.cur_retry == 0:
            raise ValueError("busy")
        return item.number


class FallsBack(Source):
    def exec(self, item):
        raise ValueError("busy")

    def exec_fallback(self, item, exc):
        assert exc.__traceback__ is not None
        return item.number


@pytest.mark.parametrize("max_concurrency", [1, 4])
@pytest.mark.parametrize("kind", [FailsOnce, FailsOnceAsync, FallsBack])
def test_retried_attempts_hold_no_items(kind, max_concurrency):
    """With ``keep_items=False``, items that came through after a failed attempt are free, without a collection."""
    refs = []
    node = kind(refs, max_retries=1 if kind is FallsBack else 2, max_concurrency=max_concurrency)
    gc.collect()
    gc.disable()
    try:
        node.run({"n": 50})
        alive = sum(ref() is not None for ref in refs)
    finally:
        gc.enable()
    assert node.last_run.batch(node).results == list(range(50))
    assert alive <= max_concurrency + 1, f"{alive} of 50 items are in memory"


def test_retried_attempts_keep_their_error():
    """A row that came through after a failed attempt says what that was, without a traceback."""
    node = FailsOnce([], max_retries=2)
    node.run({"n": 2})
    rows = list(node.last_run.batch(node))
    assert [(row.status, row.attempts, repr(row.error)) for row in rows] == [("ok", 2, "ValueError('busy')")] * 2
    assert [row.error.__traceback__ for row in rows] == [None, None]


def test_fallback_rows_keep_the_lines():
    """A row that the fallback answered has the lines of the failed attempt, without variables."""
    node = FallsBack([])
    node.run({"n": 1})
    error = node.last_run.batch(node).exceptions[0]
    assert lines(error) == [("exec", 'raise ValueError("busy")')]
    assert error.__traceback__.tb_frame.f_locals == {}
