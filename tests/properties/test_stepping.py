"""Laws of the stepper: stepping through a flow, in any order of commands, has the same outcome as a run.

``LAWS=wide pytest tests/properties/test_stepping.py`` looks further, as `test_laws` says.
"""

import contextlib
import copy
import os
import warnings
from dataclasses import replace

from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pandas.testing import assert_frame_equal

from llmflow_nb import RunStateError
from llmflow_nb.core.traversal import within
from tests.properties.flows import Step, TooLong, World, build, flows, label_of, walk_of
from tests.properties.test_laws import Story, by_walk, laws, telling

WAYS = ["into", "over", "out", "run"]
TIMES = {"seconds", "prep_s", "exec_s", "post_s"}
few = settings(laws, max_examples=max(30, laws.max_examples // 3))


# ---- the outcome of a run, and what a stepper does -------------------------------------------------------------------


class Counting(World):
    """Counts calls, each attempt by itself. Whether one fails depends on its input only, not on earlier calls."""

    def __init__(self, **options):
        super().__init__(most_at_once=2, **options)
        self.made = 0

    def exec(self, step, visit, item):
        attempt = visit.cur_retry if "node" in step.kind else 0
        self.made += 1
        expands = step.kind == "batch_flow"
        which = (visit.memo if hasattr(visit, "memo") else None, label_of(item)) if expands else item
        self.attempts[step.name, walk_of(visit.params), *which] = attempt
        return super().exec(step, visit, item)


def told_by_run(step):
    """The story as it should be. Flows that make too many calls are left out."""
    story = Story(Counting(longest=250), {"marker": "shared"})
    node = build(step, story.world, 1)
    try:
        with telling(story):
            story.action = node.run(story.shared)
    except TooLong:
        assume(False)
    story.record = node.last_run
    return story


def tame(step):
    """The same flow, without concurrent calls where the clock would decide what is done after a failure."""
    fails = any(step.failures) and step.on_error == "raise" and step.fallback != "answers"
    limit = 1 if fails or step.source_fails is not None or step.kind == "batch_flow" else step.limit
    return replace(step, limit=limit, steps=tuple(map(tame, step.steps)))


class Walker:
    """A stepper and its world."""

    def __init__(self, step):
        self.world, self.shared = Counting(), {"marker": "shared"}
        self.warnings = []
        with silently():
            self.stepper = build(step, self.world).stepper(self.shared)

    def do(self, command, *args):
        with warnings.catch_warnings(record=True) as caught, silently():
            warnings.simplefilter("always")
            place = getattr(self.stepper, command)(*args)
        self.warnings += [str(w.message) for w in caught]
        return place

    def places(self):
        return len(self.stepper.tree.splitlines())

    def is_done(self):
        return self.stepper.place.is_end or self.stepper.error is not None

    def to_the_end(self, ways):
        for n in range(2000):
            if self.is_done():
                return
            self.do(ways[n % len(ways)])
        raise AssertionError(f"no end after 2000 commands: {self.stepper}")


@contextlib.contextmanager
def silently():
    """Without the tracebacks that a stepper shows."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


def check_end(expected, walker, *, is_back=False):
    """All is as after a run. Of a failure: the error; where it was stepped to, ``shared`` is as before the step."""
    stepper = walker.stepper
    if expected.error is not None:
        assert (type(stepper.error), str(stepper.error)) == (type(expected.error), str(expected.error))
        assert not stepper.place.is_end
    else:
        assert stepper.error is None, stepper.place
        assert stepper.place.action == expected.action
        assert stepper.shared is walker.shared
        assert (walker.shared, list(walker.shared)) == (expected.shared, list(expected.shared))
        check_records(stepper.record, expected.record)
    if not is_back:
        assert by_walk(walker.world.trace) == by_walk(expected.world.trace)
        assert sorted(walker.warnings) == expected.warnings
        assert (walker.world.made, stepper.replayed) == (expected.world.made, 0)
    assert stepper.called == walker.world.made


def check_records(ours, theirs):
    assert (ours.status, ours.action, ours.calls) == (theirs.status, theirs.action, theirs.calls)
    assert ours.problems == theirs.problems
    check_tables(ours.steps, theirs.steps)
    assert [batch.path for batch in ours.batches] == [batch.path for batch in theirs.batches]
    for our, their in zip(ours.batches, theirs.batches, strict=True):
        check_tables(our.df, their.df)


def check_tables(ours, theirs):
    shown = [name for name in theirs.columns if name not in TIMES]
    assert [name for name in ours.columns if name not in TIMES] == shown
    assert_frame_equal(ours[shown], theirs[shown])


# ---- forwards --------------------------------------------------------------------------------------------------------

mixtures = st.lists(st.sampled_from(WAYS), min_size=1, max_size=6)


@few
@given(flows(agen=False), st.one_of(st.sampled_from([[way] for way in WAYS]), mixtures))
def test_stepping_to_the_end_is_running(step, ways):
    """By any commands, the same hooks run in the same order, and leave what a run leaves, in ``shared`` and record."""
    expected = told_by_run(step)
    walker = Walker(tame(step))
    walker.to_the_end(ways)
    check_end(expected, walker)


def read_from_async_generators(step):
    source = "agen" if step.source == "generator" else step.source
    return replace(step, source=source, steps=tuple(map(read_from_async_generators, step.steps)))


@settings(few, max_examples=few.max_examples // 2)
@given(flows(depth=1).map(read_from_async_generators), st.sampled_from(WAYS))
def test_stepping_through_async_generators_is_running(step, way):
    """The same where a ``prep`` is an async generator."""
    expected = told_by_run(step)
    walker = Walker(tame(step))
    walker.to_the_end([way])
    check_end(expected, walker)


# ---- backwards -------------------------------------------------------------------------------------------------------


@few
@given(flows(agen=False), mixtures, mixtures, st.integers(0, 60), st.lists(st.booleans(), min_size=1, max_size=3))
def test_going_back_and_on_again_is_running(step, ways, others, which, edits):
    """From any place that was gone back to, by any commands, the end is that of a run, and nothing is called twice."""
    # The outermost node serves its visit itself: what its hooks set on it stays. Hence one around it that has no hooks.
    step = Step(name="outer", kind="flow", has_prep=False, has_post=False, steps=(step,))
    expected = told_by_run(step)
    walker = Walker(tame(step))
    walker.to_the_end(ways)
    check_end(expected, walker)
    for edits_there in edits:
        number = which % walker.places()
        note(f"back to {number}: {walker.stepper.tree.splitlines()}")
        walker.do("goto", number)
        if edits_there:  # then the hooks run again; else what is known is gone along
            walker.do("set", "edited", walker.places())
        walker.to_the_end(others)
        walker.shared.pop("edited", None)
        check_end(expected, walker, is_back=True)
    calls_again = any(any(inner.failures) or "exec" in inner.with_shared for inner in step.walk())
    if expected.error is None and not calls_again:
        assert walker.world.made == expected.world.made


# ---- anything, in any order ------------------------------------------------------------------------------------------


class Commands(RuleBasedStateMachine):
    """A stepper against a plain model: what ``shared`` held and what the place said, by the number of the place."""

    @initialize(step=flows(depth=1, agen=False))
    def begin(self, step):
        step = tame(Step(name="outer", kind="flow", has_prep=False, has_post=False, steps=(step,)))
        told_by_run(step)
        self.walker = Walker(step)
        self.stepper, self.world = self.walker.stepper, self.walker.world
        self.walker.shared["notes"] = [[1], {"a": 1}]
        self.stepper.set("edits", 0)
        self.seen = {}
        self.breakpoints = []
        self.editions = 0

    def teardown(self):
        if hasattr(self, "stepper"):
            self.stepper.stop()

    def do(self, command, *args, **options):
        with silently(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(self.stepper, command)(*args, **options)

    def lines(self):
        return [line.partition(":")[0] for line in self.stepper.tree.splitlines()]

    def number(self):
        [line] = [line for line in self.lines() if line.startswith("->")]
        return int(line.removeprefix("->"))

    def looks(self):
        return str(replace(self.stepper.place, called=0, replayed=0, note="")), repr(self.walker.shared)

    # ---- what may be done ----

    @rule(command=st.sampled_from(WAYS))
    def go_on(self, command):
        self.do(command)

    @rule(command=st.sampled_from(WAYS))
    def go_on_and_back_and_on(self, command):
        start = self.number()
        self.do(command)
        if self.stepper.error is None:
            there, made, looks = self.number(), self.world.made, self.looks()
            self.do("goto", start)
            self.do(command)
            assert (self.number(), self.world.made, self.looks()) == (there, made, looks)

    @rule(places=st.integers(1, 4))
    def back(self, places):
        before = self.number()
        made = self.world.made
        self.do("back", places)
        assert self.number() <= before
        assert self.world.made == made

    @rule(which=st.integers(0, 1000))
    def goto(self, which):
        number = which % len(self.lines())
        made = self.world.made
        self.do("goto", number)
        assert (self.number(), self.world.made) == (number, made)

    @rule(key=st.sampled_from(["edits", "more"]), value=st.sampled_from([0, False, 0.0, [0], None]))
    def set(self, key, value):
        self.do("set", key, copy.deepcopy(value))
        assert repr(self.walker.shared[key]) == repr(value)

    @rule(key=st.sampled_from(["edits", "more"]))
    def delete(self, key):
        if key in self.walker.shared:
            self.do("delete", key)
        assert key not in self.walker.shared

    @rule(n=st.integers(0, 3), then=st.sampled_from(["into", "run", "back", "goto"]))
    def edit_in_place(self, n, then):
        if "notes" in self.walker.shared:
            before = len(self.lines())
            self.walker.shared["notes"][0].append(n)
            self.walker.shared["notes"][1]["a"] = n
            self.do(then, *([self.number()] if then == "goto" else []))
            assert len(self.lines()) > before, "the edit was not noticed"

    @precondition(lambda self: not self.stepper.place.is_end)
    @rule(action=st.sampled_from([None, "a", "b", "lost"]))
    def force(self, action):
        place = self.do("force", action)
        if self.stepper.error is None and not self.breakpoints:
            assert (place.phase, place.action) == ("after post", action)

    @rule(result=st.sampled_from(["mocked", ("mocked", 1)]), many=st.integers(0, 4))
    def mock(self, result, many):
        looks = self.looks()
        is_batch = self.stepper.place.item is None and "batchnode" in self.stepper.place.path.rpartition("/")[2]
        try:
            self.do("mock", [result] * many if is_batch else result)
        except RunStateError:  # of a batch once its items are known, which prep has to run for
            assert is_batch or self.looks() == looks

    @rule(again=st.booleans())
    def rerun(self, again):
        self.do("rerun", call_again=again)

    @rule(which=st.integers(0, 20))
    def edit_a_class(self, which):
        """As if its cell was run again, with something else in it."""
        nodes = within(self.stepper.record.node)
        node = nodes[which % len(nodes)]
        self.editions += 1
        node.__class__ = type(type(node).__name__, (type(node),), {"edition": self.editions})

    @rule(when=st.sampled_from(["before", "after"]), visit=st.integers(1, 2), which=st.integers(0, 10))
    def add_breakpoint(self, when, visit, which):
        path = self.stepper.place.path
        self.breakpoints.append(self.stepper.breakpoints.add(path, when=when, visit=visit))

    @precondition(lambda self: self.breakpoints)
    @rule()
    def remove_breakpoint(self):
        self.stepper.breakpoints.remove(self.breakpoints.pop())

    # ---- what holds at any time ----

    @invariant()
    def every_place_is_as_it_was(self):
        if hasattr(self, "stepper"):
            number, looks = self.number(), self.looks()
            assert self.seen.setdefault(number, looks) == looks, f"place {number} is another one"

    @invariant()
    def the_tree_is_one(self):
        if hasattr(self, "stepper"):
            lines = self.lines()
            numbers = sorted(int(line.removeprefix("->")) for line in lines)
            assert numbers == list(range(len(lines)))
            assert sum(line.startswith("->") for line in lines) == 1
            places = list(self.stepper.history["place"])
            assert places == sorted(set(places)), "a place comes before the one it was made from"
            here = self.number()
            assert all(place <= here for place in places)

    @invariant()
    def the_counters_count_the_calls_that_were_made(self):
        if hasattr(self, "stepper"):
            assert self.stepper.called == self.world.made

    @invariant()
    def the_record_is_of_this_line(self):
        if hasattr(self, "stepper"):
            status = "ok" if self.stepper.place.is_end else "running"
            assert self.stepper.record.status == status


TestCommands = Commands.TestCase
TestCommands.settings = settings(laws, max_examples=max(20, laws.max_examples // 5), stateful_step_count=25)
