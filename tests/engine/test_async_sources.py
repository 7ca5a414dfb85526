"""An async generator that ``prep`` returns is closed before a run that does not read it to its end raises."""

import asyncio

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow
from tests.engine.helpers import PATIENCE, Signal, go

WAYS = ["run", "awaited"]


class Pages(BatchNode):
    """Reads pages from a connection, and does with each what ``shared["work"]`` says."""

    def prep(self, shared):
        self.work = shared["work"]
        return self.pages(shared["events"])

    async def pages(self, events):
        events.append("open")
        try:
            for n in range(100):
                await asyncio.sleep(0)
                yield n
        finally:
            await asyncio.sleep(0)
            events.append("closed")

    def exec(self, n):
        return self.work(n)


class Sets(BatchFlow):
    def prep(self, shared):
        return [{"n": 0}, {"n": 1}]


def raises(error):
    def work(n):
        if n == 2:
            raise error

    return work


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("max_concurrency", [1, 4])
@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=["failure", "interrupt"])
def test_generator_is_closed(way, max_concurrency, error):
    """It has run its ``finally`` when the error comes out, also after an interrupt."""
    events = []
    with pytest.raises(type(error)):
        go(way, Flow(Pages(max_concurrency=max_concurrency)), {"work": raises(error), "events": events})
    assert events == ["open", "closed"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_generators_of_branches_are_closed(way, max_concurrency):
    """So have those of param sets that are walked side by side."""
    events = []
    flow = Sets(Pages(), max_concurrency=max_concurrency)
    with pytest.raises(ValueError, match="no"):
        go(way, flow, {"work": raises(ValueError("no")), "events": events})
    assert events.count("open") == events.count("closed") >= 1


def test_generator_of_a_stopped_run_is_closed():
    """So has that of a run that is stopped, which ends within the second that ``stop`` waits."""
    events, begun, go_on = [], Signal(), Signal()

    def work(n):
        begun.set()
        go_on.wait()

    handle = Pages().submit({"work": work, "events": events})
    begun.wait()
    assert handle.stop()
    assert events == ["open", "closed"]
    go_on.set()
    assert handle.wait(PATIENCE)


def test_generator_of_a_failed_step_is_closed():
    """So has that of a step that fails in a stepper."""
    events = []
    stepper = Flow(Pages()).stepper({"work": raises(ValueError("no")), "events": events})
    stepper.run()
    assert "no" in str(stepper.error)
    assert events == ["open", "closed"]


def test_generator_that_fails_when_it_is_closed():
    """What it raises then is a warning, and the error of the run comes out."""

    class Broken(Pages):
        async def pages(self, events):
            try:
                for n in range(100):
                    yield n
            finally:
                raise OSError("already closed")

    node = Broken()
    with (
        pytest.warns(UserWarning, match="Broken: the async item generator raised OSError"),
        pytest.raises(ValueError, match="no"),
    ):
        node.run({"work": raises(ValueError("no")), "events": []})


def test_batch_of_a_closed_generator_begins_anew():
    """After a resume, a batch whose async generator was closed begins anew, like one of a plain generator."""
    events = []
    shared = {"work": raises(ValueError("no")), "events": events}
    flow = Flow(Pages())
    with pytest.raises(ValueError, match="no"):
        flow.run(shared)
    shared["work"] = lambda n: n
    flow.last_run.resume()
    assert flow.last_run.batch("Pages").results == list(range(100))
    assert events == ["open", "closed"] * 2
