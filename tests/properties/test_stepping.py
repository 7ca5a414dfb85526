"""Laws of the stepper: however a flow is stepped through, back and forth, it comes to what a run comes to.

``LAWS=wide pytest tests/properties/test_stepping.py`` looks further, as `test_laws` says.
"""

import contextlib
import copy
import os
import warnings
from dataclasses import replace

from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from tests.properties.flows import Boom, Step, TooLong, World, build, flows, label_of, walk_of
from tests.properties.test_laws import Story, by_walk, laws, telling

WAYS = ["into", "over", "out", "run"]
TIMES = {"seconds", "prep_s", "exec_s", "post_s"}
few = settings(laws, max_examples=max(30, laws.max_examples // 3))


# ---- what a run comes to, and what a stepper does --------------------------------------------------------------------


class Counting(World):
    """Counts calls, not attempts. Whether one fails hangs on its input only, as if nobody remembered earlier ones."""

    def __init__(self, **options):
        super().__init__(most_at_once=2, **options)
        self.made = 0

    def exec(self, step, visit, item):
        attempt = visit.cur_retry if "node" in step.kind else 0
        self.made += attempt == 0
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
    """The same flow, with no calls beside each other where it hangs on the clock what is done after a failure."""
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
