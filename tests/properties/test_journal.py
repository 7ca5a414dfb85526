"""Laws of a journal: a second run has the outcome of the first, and makes no call again that had a result.

``LAWS=wide pytest tests/properties/test_journal.py`` looks further, as `test_laws` says.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import assume, given, settings

from tests.properties.flows import TooLong, build, flows
from tests.properties.test_laws import Story, laws, telling
from tests.properties.test_stepping import Counting, tame

some = settings(laws, max_examples=max(25, laws.max_examples // 3))


def without_shared(step):
    """The same flow, without an exec that takes shared: what shared holds depends on the order of other walks."""
    roles = tuple(role for role in step.with_shared if role != "exec")
    return replace(step, with_shared=roles, steps=tuple(map(without_shared, step.steps)))


def outcome(step, width, **options):
    """Run a new flow with a new world, and return its story."""
    story = Story(Counting(longest=400), {"marker": "shared"})
    node = build(step, story.world, width)
    try:
        with telling(story):
            story.action = node.run(story.shared, progress=False, **options)
    except TooLong:
        assume(False)
    story.record = node.last_run
    return story


def results_of(story):
    """The calls that exec has answered itself."""
    return {which[:4] for which in story.world.results if which[4][0] != "instead of"}


def assert_made_once(step, width):
    """Compare two runs with one journal, and one without."""
    alone = outcome(step, width)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "runs.db"
        first = outcome(step, width, journal=file)
        second = outcome(step, width, journal=file)
    assert first.shared == alone.shared
    assert second.shared == alone.shared
    assert (second.action, second.record.status) == (alone.action, alone.record.status)
    again = {which for which in results_of(first) if second.world.attempts[which]}
    assert again == set()


@some
@given(flows())
def test_no_call_is_made_again(step):
    """One call at a time; exec may take shared."""
    assert_made_once(step, 1)


def may_fail(step):
    """Whether anything in a flow fails, so that the clock decides what else is done beside it."""
    return any(
        any(inner.failures) or inner.prep_fails or inner.post_fails or inner.source_fails is not None or inner.strict
        for inner in step.walk()
    )


@some
@given(flows())
def test_no_call_is_made_again_side_by_side(step):
    """Calls side by side, in any order; param sets too, where nothing fails."""
    step = tame(without_shared(step))
    assert_made_once(step, None if may_fail(step) else 3)
