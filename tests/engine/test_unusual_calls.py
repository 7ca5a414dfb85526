"""Calls with an executor, a wait function or an error that does not work, and settings that only nodes obey."""

import threading
from concurrent.futures import Executor

import pytest

from llmflow_nb import AllFailedError, Node
from tests.engine.helpers import DRIVERS, MODES, Sets, Signal, go, items_node, numbered, statuses


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
