"""Laws of the engine: however a flow is run, it does what plain recursion over its description does.

``LAWS=wide pytest tests/properties`` looks further, with new examples each time; ``LAWS=rough`` shows the first failure
as it was found, without the minutes that it takes to make it small.
"""

import asyncio
import copy
import os
import threading
import warnings
from collections import Counter, defaultdict
from contextlib import contextmanager
from itertools import product

from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st

from llmflow_nb import BatchFlow, BatchNode, FlowError, Limiter, Node, Run
from llmflow_nb.engine.checkpoint import Checkpoint
from llmflow_nb.engine.drivers.sync import drive
from llmflow_nb.engine.position import AFTER_ITEM, ALL, BOUNDARY, Position
from llmflow_nb.engine.setup import Setup
from tests.properties.flows import Boom, Step, TooLong, World, build, flows, walk_of
from tests.properties.reference import Reference, Refused

slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("laws", derandomize=True, deadline=None, max_examples=75, suppress_health_check=slow)
settings.register_profile("wide", deadline=None, max_examples=2000, suppress_health_check=slow, print_blob=True)
settings.register_profile("rough", settings.get_profile("laws"), phases=[Phase.generate])
laws = settings(settings.get_profile(os.environ.get("LAWS", "laws")))


# ---- what happened, and what should have -----------------------------------------------------------------------------


class Story:
    """One run as it looked from outside."""

    def __init__(self, world, shared, record=None):
        self.world, self.shared, self.record = world, shared, record
        self.action = self.error = None
        self.warnings = []


@contextmanager
def telling(story):
    """Note the warnings, and the exception if there is one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except (Boom, FlowError, Refused) as exc:
            story.error = exc
    story.warnings = sorted(str(w.message) for w in caught)


def told_by_reference(step):
    """The story as it should be. Flows that make too many calls are left out."""
    story = Story(World(longest=400), {"marker": "shared"})
    story.reference = reference = Reference(story.world, story.shared)
    try:
        with telling(story):
            story.action = reference.visit(step, {}, step.name)[0]
    except TooLong:
        assume(False)
    story.warnings = sorted(reference.warnings)
    return story


def told_by_run(step, width):
    story = Story(World(most_at_once=2), {"marker": "shared"})
    node = build(step, story.world, width)
    with telling(story):
        story.action = node.run(story.shared)
    story.record = node.last_run
    return story


def told_by_run_async(step, width):
    story = Story(World(most_at_once=2), {"marker": "shared"})
    node = build(step, story.world, width)
    with telling(story):
        story.action = asyncio.run(node.run_async(story.shared))
    story.record = node.last_run
    return story


# ---- a driver that stops at every boundary ---------------------------------------------------------------------------


class Stepper:
    """Stops at every boundary, and may go on from another position than the one it stopped at."""

    def __init__(self, node, shared):
        self.record = Run(node)
        self.setup = Setup(self.record._recorder, concurrent=False)
        self.position = Position.at_start(node, shared, self.setup)

    def run(self, at_boundary=lambda: None):
        while drive(self.position, self.setup, ALL | AFTER_ITEM) == BOUNDARY:
            at_boundary()
        return self.position.action

    def go_to(self, checkpoint, shared):
        self.position = checkpoint.restore(self.setup, shared, copies=True)


def told_by_stepping(step, *, copying=False):
    story = Story(World(most_at_once=2), {"marker": "shared"})
    stepper = Stepper(build(step, story.world), story.shared)
    story.record = None if copying else stepper.record

    def go_on_from_a_copy():
        abandoned = stepper.position
        stepper.go_to(Checkpoint(abandoned), story.shared)
        abandoned.frames.clear()

    with telling(story):
        story.action = stepper.run(go_on_from_a_copy if copying else lambda: None)
    return story


# ---- comparing -------------------------------------------------------------------------------------------------------


def check_story(step, expected, told, *, in_order):
    """Trace, shared, result or error, and warnings are those of the reference.

    Where branches run side by side, each walk is compared by itself, its calls by item: their order hangs on the clock.
    """
    if in_order:
        assert told.world.trace == expected.world.trace
    assert by_walk(told.world.trace) == by_walk(expected.world.trace)
    assert told.shared == expected.shared
    if isinstance(expected.error, Refused):
        kind, text = expected.error.args
        assert (type(told.error).__name__, str(told.error)[: len(text)]) == (kind, text)
    else:
        assert (repr(told.error), told.action) == (repr(expected.error), expected.action)
    assert [t[: len(e)] for t, e in zip(told.warnings, expected.warnings, strict=True)] == expected.warnings


def by_walk(trace):
    walks = defaultdict(list)
    for entry in trace:
        walks["pulls" if entry[0] == "pull" else "hooks", entry[2]].append(entry)
    return {walk: in_item_order(entries) for walk, entries in walks.items()}


def in_item_order(entries):
    """Sort the calls between a prep and its post by item; attempts of one item stay in their order."""
    done, calls = [], []
    for entry in [*entries, None]:
        if entry is not None and entry[0] in ("exec", "fallback"):
            calls.append(entry)
        else:
            done += [*sorted(calls, key=lambda call: str(call[4])), entry]
            calls = []
    return done[:-1]


def check_record(step, expected, record, *, in_order):
    """Visits are in the order in which they ended; rows in input order, as many as items, with what became of each."""
    kinds = dict(kinds_by_path(step, step.name))
    visits = [
        (v.path, v.visit, v.params, v.action, v.status, v.attempts if "node" in kinds[v.path] else None)
        for v in record.visits
    ]
    wanted = expected.reference.visits
    if not in_order:
        visits, wanted = ({walk_of(v[2]): [w for w in vs if w[2] == v[2]] for v in vs} for vs in (visits, wanted))
    assert visits == wanted
    found = [
        (batch.path, item.params, (item.item, item.result, item.status, item.attempts, item.failed_at))
        for batch in record.batches
        for item in batch
    ]
    wanted = [(path, params, row) for path, params, rows in expected.reference.batches for row in rows]
    assert rows_by_walk(found, kinds) == rows_by_walk(wanted, kinds)
    assert {batch.path for batch in record.batches} == {path for path, _, _ in expected.reference.batches}


def rows_by_walk(rows, kinds):
    table = defaultdict(list)
    for path, params, (item, result, status, attempts, failed_at) in rows:
        last = attempts if "node" in kinds[path.removesuffix(".exec")] else failed_at
        table[path, walk_of(params)].append((item, result, status, last))
    return dict(table)


def kinds_by_path(step, path):
    yield path, step.kind
    for inner in step.steps:
        yield from kinds_by_path(inner, f"{path}/{inner.name}")


def check_ledger(step, told, width=None):
    """What holds even where it hangs on the clock what else is done after a failure."""
    steps = {inner.name: inner for inner in step.walk()}
    trace = told.world.trace
    calls = [entry for entry in trace if entry[0] == "exec" and "node" in steps[entry[1]].kind]
    made = Counter(call[1:5] for call in calls)
    answered = {entry[1:5] for entry in trace if entry[0] == "fallback"}
    for (name, *_), attempts in made.items():
        assert attempts <= steps[name].max_retries, "a call was made once too often"
    if isinstance(told.error, Boom):
        assert str(told.error) in told.world.raised
    for key, peak in told.world.peaks.items():
        if key == "limiter":
            assert peak <= told.world.limiter.max_concurrency
        elif steps[key[0]].kind.startswith("batch"):
            limit = steps[key[0]].limit if width is None else width
            assert limit is None or peak <= limit, f"{key} had {peak} calls in flight"
    if told.record is not None:
        assert told.record.calls == len(calls)
        rows = {}
        for batch in told.record.batches:
            name = batch.path.rpartition("/")[2].removesuffix(".exec")
            if steps[name].kind == "batch_node":
                rows |= {(name, walk_of(row.params), *row.item): row for row in batch if row.item is not None}
        for call, row in rows.items():
            assert row.attempts == made[call], f"{row} says {row.attempts} attempts, and {made[call]} were made"
        for name, walk, visit, place, result in told.world.results:
            if steps[name].kind == "batch_node":
                row = rows[name, walk, visit, place]
                status = "fallback" if (name, walk, visit, place) in answered else "ok"
                assert (row.status, row.result) == (status, result), "a result that was there is lost"
    check_no_gap(step, [entry for entry in trace if entry[0] in ("prep", "post")])
    here = {thread for thread, is_async in told.world.threads if not is_async}
    assert here <= {threading.get_ident()}, "a plain prep or post ran in another thread"


def check_no_gap(step, hooks):
    """Between the post of a node and the prep of the next on its walk no other prep or post runs."""
    around = dict(flows_around(step, ()))
    latest = {}
    for i, (hook, name, walk, *_) in enumerate(hooks):
        last, j = latest.get(walk, (("", "", ()), 0))
        latest[walk] = hooks[i], i
        if hook != "prep" or last[0] != "post" or around[last[1]] != around[name]:
            continue
        if not any(is_new_walk(entry, walk, around[name]) for entry in hooks[j + 1 : i]):
            assert i == j + 1, f"{hooks[j + 1 : i]} came between {last} and {hooks[i]}"


def flows_around(step, outer):
    yield step.name, outer
    for inner in step.steps:
        yield from flows_around(inner, (*outer, step))


def is_new_walk(entry, walk, around):
    """Whether a hook of a flow around ran, so that the same params stand for another walk."""
    unseen = any(not flow.has_prep and not flow.has_post for flow in around)
    return unseen or (entry[1] in {flow.name for flow in around} and {p for p in entry[2] if p[0] != "x"} <= set(walk))


# ---- the laws --------------------------------------------------------------------------------------------------------


@laws
@given(flows())
def test_running_agrees_with_the_reference(step):
    """Hooks, results, record, errors and warnings of a run are those of plain recursion, one by one or side by side."""
    expected = told_by_reference(step)
    for way, width in product((told_by_run, told_by_run_async), (1, 8, None)):
        note(f"{way.__name__}, max_concurrency {width}")
        told = way(step, width)
        one_by_one = (width or max(inner.limit or 8 for inner in step.walk())) == 1
        check_ledger(step, told, width)
        if one_by_one or not expected.reference.racy:
            check_story(step, expected, told, in_order=one_by_one)
            check_record(step, expected, told.record, in_order=one_by_one)


@laws
@given(flows(agen=False))
def test_stepping_agrees_with_the_reference(step):
    """Stopping at every boundary, also to go on from a copy, changes nothing in what is done, nor in the record."""
    expected = told_by_reference(step)
    for copying in (False, True):
        note(f"going on from a copy: {copying}")
        told = told_by_stepping(step, copying=copying)
        check_ledger(step, told)
        check_story(step, expected, told, in_order=True)
        if not copying:
            check_record(step, expected, told.record, in_order=True)


@laws
@given(flows(agen=False), st.integers(0, 60), st.integers(1, 2))
def test_going_back_and_on_again_does_the_same_again(step, which, times):
    """From a copy kept at any boundary, with the ``shared`` of that time, the rest happens again as it did."""
    # The outermost node serves its visit itself: what its hooks set on it stays. Hence one around it that has no hooks.
    step = Step(name="outer", kind="flow", has_prep=False, has_post=False, steps=(step,))
    expected = told_by_reference(step)
    told = Story(World(most_at_once=2), {"marker": "shared"})
    stepper = Stepper(build(step, told.world), told.shared)
    kept = []

    def keep():
        kept.append(
            (stepper.position.path, Checkpoint(stepper.position), copy.deepcopy(told.shared), told.world.snapshot())
        )

    with telling(told):
        told.action = stepper.run(keep)
    check_story(step, expected, told, in_order=True)
    place, checkpoint, shared, snapshot = kept[which % len(kept)]
    for _ in range(times):
        note(f"back to boundary {which % len(kept)} at {place}")
        told.shared = copy.deepcopy(shared)
        stepper.go_to(checkpoint, told.shared)
        told.world.restore(snapshot)
        told.error = told.action = None
        with telling(told):
            told.action = stepper.run()
        told.warnings = expected.warnings  # those from before the boundary are not given again
        expected.world.trace, told.world.trace = without_pulls(expected), without_pulls(told)
        check_story(step, expected, told, in_order=True)


def without_pulls(story):
    """The trace without what generators did: what was once read from one is kept, not asked for again."""
    return [entry for entry in story.world.trace if entry[0] != "pull"]


# ---- limits ----------------------------------------------------------------------------------------------------------


class Gate:
    """Lets calls through in waves: a call leaves once as many are in flight as may be, so that the bound is reached."""

    def __init__(self, total, limit):
        self.total, self.limit = total, limit or total
        self.entered = self.in_flight = self.peak = 0
        self.changed = threading.Condition()

    def enter(self):
        with self.changed:
            self.in_flight += 1
            self.peak = max(self.peak, self.in_flight)
            self.entered += 1
            wave = min(self.total, -(-self.entered // self.limit) * self.limit)
            self.changed.notify_all()
        return wave

    def call(self):
        wave = self.enter()
        with self.changed:
            assert self.changed.wait_for(lambda: self.entered >= wave, timeout=20), "fewer calls in flight than may be"
            self.in_flight -= 1

    async def call_async(self):
        wave = self.enter()
        while self.entered < wave:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        with self.changed:
            self.in_flight -= 1


def gated(base, gate, is_async, items):
    """A class whose exec goes through the gate."""

    class Gated(base):
        def prep(self, shared):
            return [{"set": i} for i in range(items)] if base is BatchFlow else range(items)

        if not is_async:

            def exec(self, item):
                gate.call()

        else:

            async def exec(self, item):
                await gate.call_async()

    return Gated


limits = settings(laws, max_examples=max(10, laws.max_examples // 3))


@limits
@given(st.integers(0, 12), st.sampled_from([1, 2, 3, 5, None]), st.booleans())
def test_max_concurrency_of_items_is_reached_and_never_passed(items, limit, is_async):
    """As many calls of a batch node are in flight as it allows, and not one more."""
    gate = Gate(items, limit)
    gated(BatchNode, gate, is_async, items)(max_concurrency=limit).run({})
    assert (gate.peak, gate.entered) == (min(items, gate.limit), items)


@limits
@given(st.integers(0, 12), st.sampled_from([1, 2, 3, 5, None]), st.booleans())
def test_max_concurrency_of_param_sets_is_reached_and_never_passed(sets, limit, is_async):
    """As many param sets are under way as their batch flow allows, and not one more."""
    gate = Gate(sets, limit)

    class Sets(BatchFlow):
        def prep(self, shared):
            return ({"set": i} for i in range(sets))

    Sets(start=gated(Node, gate, is_async, 1)(), max_concurrency=limit).run({})
    assert (gate.peak, gate.entered) == (min(sets, gate.limit), sets)


@limits
@given(st.integers(1, 4), st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.booleans()), min_size=1, max_size=4))
def test_a_shared_limiter_holds_over_nodes_threads_and_loops(limit, nodes):
    """Runs in several threads, blocking and async calls, together never pass the bound of the limiter they share."""
    limiter = Limiter(max_concurrency=limit)
    gate = Gate(10**6, 1)  # every call leaves at once
    failures = []

    def run(items, is_async, on_own_loop):
        try:
            node = gated(BatchNode, gate, is_async, items)(max_concurrency=None, limiter=limiter)
            asyncio.run(node.run_async({})) if on_own_loop else node.run({})
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=run, args=node) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)
    assert gate.peak <= limit
    assert gate.entered == sum(items for items, _, _ in nodes)
