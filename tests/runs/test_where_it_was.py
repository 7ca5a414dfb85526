"""The places at which a run may fail, in one table, and each way to continue from there.

However a run is continued, a call that returned is not made again, and all others are made. The laws over random flows
are in tests/properties/test_resuming.py.
"""

import random
import threading
from collections import Counter
from contextlib import suppress

import pytest

from llmflow_nb import AllFailedError, BatchFlow, BatchNode, Flow, Node
from tests.engine.helpers import PATIENCE


class World:
    """Notes every call that is made; one of them fails, until it is repaired."""

    def __init__(self, failing):
        self.failing, self.calls = failing, []

    def call(self, *key):
        self.calls.append(key)
        if key == self.failing:
            raise ValueError("no")
        return key


class Step(Node):
    def __init__(self, name, world, hook="exec"):
        super().__init__(name=name)
        self.world, self.hook = world, hook

    def exec(self, prep_res):
        return self.world.call(self.name, *self.params.values()) if self.hook == "exec" else None

    def post(self, shared, prep_res, exec_res):
        if self.hook == "post":
            self.world.call(self.name, *self.params.values())


class Items(BatchNode):
    def __init__(self, world, **settings):
        super().__init__(name="items", **settings)
        self.world = world

    def prep(self, shared):
        return [0, 1, 2, 3]

    def exec(self, item):
        return self.world.call("items", *self.params.values(), item)


class Sets(BatchFlow):
    def prep(self, shared):
        return [{self.name: n} for n in range(3)]


class Expanding(Sets):
    world = None

    def exec(self, element):
        self.world.call(self.name, *element.values())


def chain(first, *nodes):
    node = first
    for following in nodes:
        node = node >> following
    return first


def steps(world, *names):
    return chain(*(Step(name, world) for name in names))


def expanding(world):
    flow = Expanding(steps(world, "a", "b"), name="sets")
    flow.world = world
    return flow


class Listing(Expanding):
    def exec(self, element):
        super().exec(element)
        return [{"element": n} for n in range(3)]


def listing(world, **settings):
    flow = Listing(steps(world, "a", "b"), name="sets", **settings)
    flow.world = world
    return flow


SETS = [(name, n) for n in range(3) for name in "ab"]
LISTED = [("sets", n) for n in range(3)] + [(name, n, m) for n in range(3) for m in range(3) for name in "ab"]
IN_ITEMS = [("items", n) for n in range(4)]
WHERE = {
    "exec of a node": (lambda w: Flow(steps(w, "a", "b", "c")), ("b",), [("a",), ("b",), ("c",)], None),
    "post of a node": (
        lambda w: Flow(chain(Step("a", w), Step("b", w, "post"), Step("c", w))),
        ("b",),
        [("a",), ("b",), ("c",)],
        None,
    ),
    "a flow within": (
        lambda w: Flow(chain(Step("a", w), Flow(steps(w, "b", "c"), name="in"), Step("d", w))),
        ("c",),
        [("a",), ("b",), ("c",), ("d",)],
        None,
    ),
    "an item": (lambda w: Flow(chain(Items(w), Step("z", w))), ("items", 2), [*IN_ITEMS, ("z",)], "items"),
    "an item, side by side": (
        lambda w: Flow(chain(Items(w, max_concurrency=2), Step("z", w))),
        ("items", 2),
        [*IN_ITEMS, ("z",)],
        "items",
    ),
    "a param set": (lambda w: Sets(steps(w, "a", "b"), name="sets"), ("b", 1), SETS, "sets"),
    "a param set, side by side": (
        lambda w: Sets(steps(w, "a", "b"), name="sets", max_concurrency=3),
        ("b", 1),
        SETS,
        "sets",
    ),
    "a param set of a param set": (
        lambda w: Sets(Sets(steps(w, "a"), name="in"), name="sets"),
        ("a", 1, 2),
        [("a", n, m) for n in range(3) for m in range(3)],
        "sets/in",
    ),
    "an item of a param set": (
        lambda w: Sets(Items(w), name="sets"),
        ("items", 1, 2),
        [("items", n, m) for n in range(3) for m in range(4)],
        "sets/items",
    ),
    "the exec of a batch flow": (expanding, ("sets", 1), [("sets", n) for n in range(3)] + SETS, "sets"),
    "an element of an exec": (listing, ("b", 1, 1), LISTED, "sets.exec"),
    "an element of an exec, side by side": (
        lambda w: listing(w, max_concurrency=2),
        ("b", 1, 1),
        LISTED,
        "sets.exec",
    ),
    "a param set with elements": (listing, ("b", 1, 1), LISTED, "sets"),
}


def failed(where):
    """Run a flow that fails there; return the world, then repaired, the record, and what a whole run calls."""
    build, failing, calls, path = WHERE[where]
    world = World(failing)
    flow = build(world)
    with pytest.raises(ValueError, match="no"):
        flow.run({})
    world.failing = None
    return world, flow.last_run, Counter(calls) + Counter([failing]), path


@pytest.mark.parametrize("where", WHERE)
def test_resume(where):
    """The call that failed is made again, what had returned is not, and the rest follows."""
    world, run, expected, _ = failed(where)
    run.resume()
    assert Counter(world.calls) == expected
    assert (run.status, len(run.errors)) == ("ok", 0)


@pytest.mark.parametrize("where", [where for where, row in WHERE.items() if row[3] is not None])
def test_retry_and_resume(where):
    """What a retry has called is not called again when the run is resumed."""
    world, run, expected, path = failed(where)
    undisturbed = WHERE[where][0](World(None))
    undisturbed.run({})
    run.batch(path).retry()
    assert run.batch(path).counts.keys() == {"ok"}
    run.resume()
    assert Counter(world.calls) == expected
    assert run.batch(path).results == undisturbed.last_run.batch(path).results
    assert run.status == "ok"


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("path", ["sets", "sets.exec"])
def test_retry_that_fails_further_on(path, width):
    """The run is then resumed where the retry failed, and not where the run did."""
    world = World(("a", 2, 2))
    flow = listing(world, max_concurrency=width)
    with pytest.raises(ValueError, match="no"):
        flow.run({})
    world.failing = ("b", 2, 2)
    flow.last_run.batch(path).retry()
    world.failing = None
    flow.last_run.resume()
    assert Counter(world.calls) == Counter([*LISTED, ("a", 2, 2), ("b", 2, 2)])


def test_retry_of_sets_whose_exec_returned():
    """An ``exec`` that returned while the one of another param set failed is not called again."""
    meeting = threading.Barrier(3)

    class Meeting(World):
        def call(self, *key):
            if key[0] == "sets" and self.failing:
                meeting.wait(PATIENCE)
            return super().call(*key)

    world = Meeting(("sets", 0))
    flow = listing(world, max_concurrency=3)
    with pytest.raises(ValueError, match="no"):
        flow.run({})
    world.failing = None
    flow.last_run.resume()
    assert Counter(world.calls) == Counter([*LISTED, ("sets", 0)])


@pytest.mark.parametrize("where", [where for where, row in WHERE.items() if row[3] is not None])
def test_debug(where):
    """A stepper at the row that failed makes the call that failed, and leaves the record and the run as they were."""
    world, run, expected, path = failed(where)
    result = run.batch(path)
    before, rows, made = list(world.calls), [repr(item) for item in result], len(world.calls)
    (row,) = [n for n, item in enumerate(result) if item.status == "failed"]
    stepper = result.debug(row)
    while not stepper.place.is_end:
        stepper.run()
    assert WHERE[where][1] in world.calls[made:]
    assert not set(world.calls[made:]) & (set(before) - {WHERE[where][1]})
    assert [repr(item) for item in result] == rows
    del world.calls[made:]
    run.resume()
    assert Counter(world.calls) == expected


class Flaky(World):
    """Some of its calls fail, until they are repaired one after the other."""

    def call(self, *key):
        if key in self.failing:
            raise ValueError("no")
        self.calls.append(key)
        return key


@pytest.mark.parametrize("seed", range(30))
def test_any_order_of_retries_and_resumes(seed):
    """Whatever is retried, whenever the run is resumed: each call returns once, and all of them are made in the end."""
    rng = random.Random(seed)
    world = Flaky(set(rng.sample(LISTED, rng.choice([1, 2, 3, 6, 12]))))
    on_error = rng.choice(["raise", "keep"])
    flow = listing(world, max_concurrency=rng.choice([1, 1, 2, 3]), on_error=on_error)
    with suppress(ValueError, AllFailedError):
        flow.run({})
    run = flow.last_run
    for _ in range(12):
        world.failing.discard(rng.choice(LISTED))
        if rng.random() < 0.5 and run.status != "ok":
            with suppress(ValueError, AllFailedError):
                run.resume()
        else:
            result = rng.choice(run.batches)
            rows = [n for n, item in enumerate(result) if item.status != "ok"]
            result.retry(rng.sample(rows, rng.randint(0, len(rows))))
    world.failing.clear()
    while run.status != "ok":
        run.resume()
    for result in reversed(run.batches):
        result.retry()
    assert Counter(world.calls) == Counter(LISTED)
