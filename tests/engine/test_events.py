"""The events that subscribers are told."""

import asyncio
import warnings
from collections import Counter

import pytest

from llmflow_nb import BatchFlow, FlowWarning, Node, spend
from tests.engine.helpers import MODES, Items, Signal, go, items_node


class Listener:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events = []

    def handle(self, event):
        self.events.append(event)

    @property
    def lines(self):
        """Kind, path, position, attempt and status, without those that do not apply."""
        return [
            " ".join(
                str(part)
                for part in (
                    event.kind,
                    event.path,
                    *(() if event.position is None else (f"[{event.position}]",)),
                    *((f"attempt {event.attempt}",) if event.attempt else ()),
                    event.status,
                )
                if part != ""
            )
            for event in self.events
        ]

    @property
    def unfinished(self):
        """What started and did not finish, or finished and did not start."""
        count = Counter()
        for event in self.events:
            what, _, step = event.kind.rpartition("_")
            count[what, event.path, event.position] += 1 if step == "started" else -1
        return {key: n for key, n in count.items() if n}


class Sets(BatchFlow):
    def prep(self, shared):
        return [{"n": 0}, {"n": 1}]


class Ask(Node):
    def exec(self, prep_res):
        if self.params["n"] == 1 and self.cur_retry == 0:
            raise ValueError("busy")
        return self.params["n"] * 10

    def post(self, shared, prep_res, exec_res):
        return "asked"


def test_events_of_a_batch_flow():
    """A subscriber is told of the run, its visits, param sets, calls and attempts, in order."""
    listener = Listener()
    Sets(Ask(max_retries=2)).run({}, subscribers=[listener])
    assert listener.lines == [
        "run_started Sets",
        "visit_started Sets",
        "param_set_started Sets [0]",
        "visit_started Sets/Ask",
        "call_started Sets/Ask",
        "attempt_started Sets/Ask attempt 1",
        "attempt_finished Sets/Ask attempt 1 ok",
        "call_finished Sets/Ask ok",
        "visit_finished Sets/Ask ok",
        "param_set_finished Sets [0] ok",
        "param_set_started Sets [1]",
        "visit_started Sets/Ask",
        "call_started Sets/Ask",
        "attempt_started Sets/Ask attempt 1",
        "attempt_finished Sets/Ask attempt 1 failed",
        "attempt_started Sets/Ask attempt 2",
        "attempt_finished Sets/Ask attempt 2 ok",
        "call_finished Sets/Ask ok",
        "visit_finished Sets/Ask ok",
        "param_set_finished Sets [1] ok",
        "visit_finished Sets ok",
        "run_finished Sets ok",
    ]


def test_events_of_a_batch_node():
    """Of a batch node there is a call for each item, told apart by its position."""
    listener = Listener()
    items_node("inline", lambda node, item: item, name="Map").run({"items": ["a", "b"]}, subscribers=[listener])
    assert listener.lines == [
        "run_started Map",
        "visit_started Map",
        "call_started Map [0]",
        "attempt_started Map [0] attempt 1",
        "attempt_finished Map [0] attempt 1 ok",
        "call_finished Map [0] ok",
        "call_started Map [1]",
        "attempt_started Map [1] attempt 1",
        "attempt_finished Map [1] attempt 1 ok",
        "call_finished Map [1] ok",
        "visit_finished Map ok",
        "run_finished Map ok",
    ]


def test_what_events_carry():
    """Events carry items, results, actions, params and exceptions."""
    listener = Listener()
    flow = Sets(Ask(max_retries=2))
    flow.run({}, subscribers=[listener])

    def of(kind):
        return [event for event in listener.events if event.kind == kind]

    assert [event.value for event in of("param_set_started")] == [{"n": 0}, {"n": 1}]
    assert [event.value for event in of("call_finished")] == [0, 10]
    assert [event.params for event in of("call_finished")] == [{"n": 0}, {"n": 1}]
    assert [event.value for event in of("visit_finished")] == ["asked", "asked", None]
    assert [str(event.error) for event in of("attempt_finished") if event.status == "failed"] == ["busy"]


def test_usage_in_events():
    """The end of a call has what its attempts have reported; that of a visit, what prep and post have reported."""

    class Count(Ask):
        def prep(self, shared):
            spend(input=1)

        def exec(self, prep_res):
            spend(input=10)
            return super().exec(prep_res)

        def post(self, shared, prep_res, exec_res):
            spend(input=100)

    listener = Listener()
    Sets(Count(max_retries=2)).run({}, subscribers=[listener])
    found = [(e.kind, [usage.input for usage in e.usage]) for e in listener.events if e.usage]
    assert found == [
        ("call_finished", [10]),
        ("visit_finished", [1, 100]),
        ("call_finished", [10, 10]),
        ("visit_finished", [1, 100]),
    ]


class Outer(BatchFlow):
    """Its param sets are walked through another batch flow."""

    def prep(self, shared):
        return [{"m": 0}, {"m": 1}]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_events_tell_walks_apart(concurrency):
    """The path and the positions of the param sets around it say where an event belongs, also side by side."""
    listener = Listener()
    sets = Sets(Ask(max_retries=2), max_concurrency=concurrency)
    Outer(sets, max_concurrency=concurrency).run({}, subscribers=[listener])

    def around(kind):
        return sorted((event.path, event.param_sets) for event in listener.events if event.kind == kind)

    asks = [("Outer/Sets/Ask", (m, n)) for m in (0, 1) for n in (0, 1)]
    visits = [("Outer", ()), ("Outer/Sets", (0,)), ("Outer/Sets", (1,)), *asks]
    assert around("visit_started") == around("visit_finished") == visits
    assert around("call_started") == around("call_finished") == asks
    sets = [("Outer", ()), ("Outer", ()), *(("Outer/Sets", (m,)) for m in (0, 0, 1, 1))]
    assert around("param_set_started") == around("param_set_finished") == sets
    assert all(event.param_sets[-1] == event.params["n"] for event in listener.events if event.kind == "call_started")


@pytest.mark.parametrize("mode", MODES)
def test_fallback_events(mode):
    """A call that its fallback answered says so; attempts are those of ``exec``."""

    def work(node, item):
        raise ValueError

    made = items_node(mode, work)
    made_class = type(made)

    class Map(made_class):
        def exec_fallback(self, prep_res, exc):
            return "made up"

    listener = Listener()
    go(mode, Map(max_retries=2, name="Map"), {"items": [0]}, subscribers=[listener])
    assert [line for line in listener.lines if line.startswith("attempt_finished")][:2] == [
        "attempt_finished Map [0] attempt 1 failed",
        "attempt_finished Map [0] attempt 2 failed",
    ]
    assert "call_finished Map [0] fallback" in listener.lines
    assert listener.unfinished == {}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("on_error", ["raise", "keep"])
def test_what_starts_finishes(mode, on_error):
    """For everything that started, its end is told too, whatever failed."""

    async def fail(item):
        raise LookupError(item)

    def work(node, item):
        if item == 2:
            return fail(item) if mode in ("tasks", "awaited") else {}[item]
        return item

    class Map(type(items_node(mode, work))):
        def exec_fallback(self, prep_res, exc):
            raise exc

    class Two(Sets):
        pass

    listener = Listener()
    concurrency = 1 if mode == "inline" else 2
    flow = Two(Map(max_concurrency=concurrency, max_retries=2), max_concurrency=concurrency, on_error=on_error)
    with pytest.raises((LookupError, RuntimeError)):
        go(mode, flow, {"items": [0, 1, 2, 3]}, subscribers=[listener])
    assert listener.unfinished == {}
    assert listener.lines[-1] == "run_finished Two failed"


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("concurrency", [1, 2])
def test_what_starts_finishes_when_cancelled(nested, concurrency):
    """A run that is cancelled tells the end of everything that it had begun."""
    listener, begun = Listener(), Signal()

    class Map(Items):
        async def exec(self, item):
            if item == 0:
                return
            begun.set()
            await asyncio.Event().wait()

    async def main():
        run = asyncio.ensure_future(node.run_async({"items": [0, 1, 2]}, subscribers=[listener]))
        await begun.seen()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    node = Map(max_concurrency=concurrency)
    if nested:
        node = Sets(node, max_concurrency=concurrency)
    asyncio.run(main())

    assert listener.unfinished == {}
    assert listener.lines[-1] == f"run_finished {type(node).__name__} interrupted"


@pytest.mark.parametrize("mode", ["inline", "threads"])
def test_what_starts_finishes_when_interrupted(mode):
    """So does a run that an interrupt ends."""
    listener = Listener()

    def work(node, item):
        if item == 1:
            raise KeyboardInterrupt
        return item

    node = items_node(mode, work, max_concurrency=1 if mode == "inline" else 2)
    with pytest.raises(KeyboardInterrupt):
        node.run({"items": [0, 1, 2]}, subscribers=[listener])
    assert listener.unfinished == {}


@pytest.mark.parametrize("mode", MODES)
def test_subscriber_that_raises(mode):
    """A subscriber that raises is warned about once and told no more; the run and the other subscribers go on."""

    class Broken:
        told = 0

        def handle(self, event):
            self.told += 1
            raise ZeroDivisionError("in the display")

    broken, listener, shared = Broken(), Listener(), {"items": [1, 2, 3]}
    node = items_node(mode, lambda node, item: item)
    with pytest.warns(FlowWarning, match=r"subscriber Broken raised ZeroDivisionError\('in the display'\)") as caught:
        go(mode, node, shared, subscribers=[broken, listener])

    assert len(caught) == 1
    assert broken.told == 1
    assert shared["results"] == [1, 2, 3]
    assert listener.lines[-1].endswith("ok")
    assert len(listener.events) == 2 + 2 + 3 * 4
    assert node.last_run.problems == [
        "subscriber Broken raised ZeroDivisionError('in the display') and was unsubscribed"
    ]


def test_warning_points_at_the_callers_line():
    """The warning about a subscriber points at the line that started the run."""

    class Broken:
        def handle(self, event):
            raise ZeroDivisionError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Node().run({}, subscribers=[Broken()])
    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("mode", MODES)
def test_subscribers_change_nothing(mode):
    """Watched or not, a run has the same results and the same rows."""

    def work(node, item):
        if item == 1 and node.cur_retry == 0:
            raise ValueError
        if item == 3:
            raise LookupError
        return item * 10

    def outcome(**options):
        node, shared = items_node(mode, work, max_retries=2, on_error="keep"), {"items": range(5)}
        go(mode, node, shared, **options)
        rows = [(row.status, row.result, row.attempts, type(row.error)) for row in node.last_run.batch(node)]
        visits = [(visit.status, visit.attempts) for visit in node.last_run.visits]
        return shared["results"], rows, visits, node.last_run.calls

    assert outcome(subscribers=[Listener()]) == outcome()
