"""The library's errors share a base and are the natural builtin; the user's keep their type and say where."""

import asyncio
import inspect
import pickle
import traceback
from dataclasses import dataclass

import pytest

import llmflow_nb
from llmflow_nb import BatchFlow, BatchNode, Flow, FlowError, Node
from llmflow_nb.core import errors

NATURAL = {
    "AllFailedError": RuntimeError,
    "BudgetError": RuntimeError,
    "CallTimeoutError": TimeoutError,
    "ExecutorError": RuntimeError,
    "ExportError": OSError,
    "HookCancelledError": RuntimeError,
    "HookReturnError": TypeError,
    "ItemsNotKeptError": RuntimeError,
    "JournalError": OSError,
    "LostActionError": ValueError,
    "MaxStepsError": RuntimeError,
    "NestedLimiterError": RuntimeError,
    "NestedLoopError": RuntimeError,
    "RemoteError": RuntimeError,
    "RowError": KeyError,
    "RunStateError": RuntimeError,
    "SendError": TypeError,
    "SettingError": ValueError,
    "SignatureError": TypeError,
    "StoppedError": RuntimeError,
    "WiringError": ValueError,
    "WiringTypeError": TypeError,
}
PUBLIC = {
    name: value for name, value in vars(llmflow_nb).items() if inspect.isclass(value) and issubclass(value, Exception)
}


# ---- the library's own -----------------------------------------------------------------------------------------------


def test_every_error_is_listed():
    """Every public error has its natural builtin listed here."""
    assert set(NATURAL) | {"FlowError", "FlowWarning"} >= set(PUBLIC) >= set(NATURAL) | {"FlowError"}


@pytest.mark.parametrize(("name", "builtin"), NATURAL.items())
def test_base_and_builtin(name, builtin):
    """Every error is a FlowError, and the builtin that one would have expected."""
    error = PUBLIC[name]
    assert issubclass(error, FlowError)
    assert issubclass(error, builtin)


@pytest.mark.parametrize("error", PUBLIC.values(), ids=PUBLIC)
def test_documented(error):
    """Every error says in its docstring when it comes."""
    assert error.__doc__


@pytest.mark.parametrize("error", PUBLIC.values(), ids=PUBLIC)
def test_pickles(error):
    """Every error can be sent between processes."""
    twin = pickle.loads(pickle.dumps(error("what happened")))
    assert type(twin) is error
    assert str(twin) == "what happened"


def test_lost_action_keeps_its_parts_in_a_pickle():
    """The parts of an error are sent along."""
    twin = pickle.loads(pickle.dumps(errors.LostActionError("text", "x", ["y"])))
    assert (str(twin), twin.action, twin.known) == ("text", "x", ["y"])


def test_warning():
    """The library's warnings are UserWarnings."""
    assert issubclass(errors.FlowWarning, UserWarning)


# ---- the user's ------------------------------------------------------------------------------------------------------


class ModelAway(Exception):
    """An exception of the user's own, with arguments of its own."""

    def __init__(self, code, *, hint):
        super().__init__(f"model away: {code}")
        self.code, self.hint = code, hint


class Summarize(BatchNode):
    def prep(self, shared):
        return shared["items"]

    def exec(self, item):
        if item == "bad":
            raise ModelAway(503, hint="later")
        return item


def fail(node, shared=None, *, is_async=False):
    """Run, and return the exception."""
    with pytest.raises(ModelAway) as caught:
        asyncio.run(node.run_async(shared)) if is_async else node.run(shared)
    return caught.value


def notes(error):
    return "\n".join(error.__notes__)


@pytest.mark.parametrize("is_async", [False, True], ids=["run", "run_async"])
@pytest.mark.parametrize("max_concurrency", [1, 3])
def test_batch_item(is_async, max_concurrency):
    """An item's exception keeps type, parts and traceback, and gains a note with path, item and attempt."""
    flow = Flow(start=Summarize(max_retries=2, max_concurrency=max_concurrency), name="research")
    error = fail(flow, {"items": ["a", "b", "bad", "c"]}, is_async=is_async)
    assert (type(error), error.code, error.hint) == (ModelAway, 503, "later")
    (note,) = error.__notes__
    assert note.startswith("in research > Summarize, item 3 of 4")
    assert "attempt 2 of 2" in note
    assert "last_run" in note
    assert any(frame.name == "exec" for frame in traceback.extract_tb(error.__traceback__))


def test_item_of_a_generator():
    """Where the number of items is not known, the note gives the item's alone."""
    error = fail(Summarize(), {"items": (item for item in ["a", "bad"])})
    assert notes(error).startswith("in Summarize, item 2")
    assert " of " not in notes(error)


def test_one_attempt_is_not_counted():
    """The note counts attempts only where there may be more than one."""
    error = fail(Summarize(), {"items": ["bad"]})
    assert notes(error).startswith("in Summarize, item 1 of 1")
    assert "attempt" not in notes(error)


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
def test_every_hook(hook, is_async):
    """An exception from any hook, plain or async, names the path through nested flows."""

    async def raises_async(self, *args):
        raise ModelAway(1, hint="")

    signature = {"prep": "self, shared", "exec": "self, x", "post": "self, shared, p, e"}[hook]
    namespace = {"ModelAway": ModelAway}
    exec(f"{'async ' * is_async}def {hook}({signature}):\n    raise ModelAway(1, hint='')", namespace)
    leaf = type("Leaf", (Node,), {hook: namespace[hook]})()
    flow = Flow(start=Flow(start=leaf, name="inner"), name="outer")
    error = fail(flow, {})
    assert len(error.__notes__) == 1
    assert notes(error).startswith("in outer > inner > Leaf")


def test_param_set():
    """An exception inside a BatchFlow names the path; the record has the param set that failed."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"item": item} for item in ("a", "bad", "c")]

    class Leaf(Node):
        def exec(self, prep_res):
            if self.params["item"] == "bad":
                raise ModelAway(1, hint="")

    flow = Sets(start=Leaf())
    error = fail(flow, {})
    assert notes(error).startswith("in Sets > Leaf")
    assert [item.status for item in flow.last_run.batch(flow)] == ["ok", "failed", "pending"]


def test_hook_of_a_flow():
    """An exception from a hook of a flow names that flow."""

    class Mine(Flow):
        def post(self, shared, prep_res, exec_res):
            raise ModelAway(1, hint="")

    assert notes(fail(Flow(start=Mine(start=Node()), name="outer"), {})).startswith("in outer > Mine")


def test_same_exception_object_twice():
    """An exception object that is raised again in a later run has one note for each run at most."""
    kept = ModelAway(1, hint="")

    class Again(Node):
        def exec(self, prep_res):
            raise kept

    node = Again(max_retries=3)
    fail(node)
    assert len(kept.__notes__) == 1


def test_fallback():
    """An exception from a fallback keeps its type, and has the first one as its context."""

    class Falls(Node):
        def exec(self, prep_res):
            raise ValueError("first")

        def exec_fallback(self, prep_res, exc):
            raise ModelAway(1, hint="") from exc

    error = fail(Falls(max_retries=2))
    assert isinstance(error.__cause__, ValueError)
    assert notes(error).startswith("in Falls")


def test_not_a_group():
    """Side by side, one exception comes out by itself and not in a group."""
    error = fail(Summarize(max_concurrency=4), {"items": ["bad"] * 4})
    assert not isinstance(error, BaseExceptionGroup)


def test_library_error_says_where_too():
    """The library's own run-time errors name the path as well."""

    class Wrong(Node):
        def post(self, shared, prep_res, exec_res):
            return 3

    with pytest.raises(FlowError, match=r"^outer/inner/Wrong.post returned an int"):
        Flow(start=Flow(start=Wrong(), name="inner"), name="outer").run({})


@pytest.mark.parametrize("is_async", [False, True], ids=["run", "run_async"])
def test_exception_that_is_frozen(is_async):
    """An exception that cannot take a note, such as a frozen dataclass, comes out all the same."""

    @dataclass(frozen=True)
    class Frozen(Exception):
        code: int

    class Raises(Node):
        def exec(self, prep_res):
            raise Frozen(503)

    flow = Flow(start=Raises())
    with pytest.raises(Frozen) as caught:
        asyncio.run(flow.run_async({})) if is_async else flow.run({})
    assert caught.value.code == 503
    assert flow.last_run.error == caught.value
