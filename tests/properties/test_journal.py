"""Laws of a journal: a second run has the outcome of the first, and makes no call again that had a result.

``LAWS=wide pytest tests/properties/test_journal.py`` looks further, as `test_laws` says.
"""

import tempfile
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmflow_nb import AllFailedError, FlowError, Journal
from tests.properties.flows import Boom, TooLong, build, flows
from tests.properties.test_laws import Story, laws, telling
from tests.properties.test_resuming import Tripping, reliable
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


def shown(run):
    """What the tables of a run say, without times."""
    visits = [(visit.path, visit.visit, visit.action, visit.status, visit.attempts) for visit in run.visits]
    rows = {
        batch.path: [(row.status, row.attempts, row.result, row.action, row.failed_at, str(row.error)) for row in batch]
        for batch in run.batches
    }
    failures = [(path, position, str(error)) for path, position, error in run.failures]
    return run.status, run.action, visits, rows, failures, run.calls, run.problems, run.notes


def keeping(step):
    """The same flow, with failures kept."""
    return replace(step, on_error="keep", steps=tuple(map(keeping, step.steps)))


def continued(node, shared, file, from_start):
    """Run a flow that trips, retry what failed, and resume it until it ends. Yield after each of these."""
    has_ended = False
    for turn in range(8):
        with suppress(Boom, KeyboardInterrupt, AllFailedError):
            node.last_run.resume() if turn else node.run(shared, journal=file)
            has_ended = True
        yield
        with suppress(Boom, KeyboardInterrupt):
            node.last_run.retry_failed(from_start=from_start, progress=False)
        yield
        if has_ended:
            return


@some
@given(
    flows(agen=False).map(reliable).flatmap(lambda step: st.sampled_from([step, keeping(step)])),
    st.dictionaries(st.integers(1, 60), st.sampled_from([Boom, KeyboardInterrupt]), min_size=1, max_size=3),
    st.sampled_from([None, True, False]),
)
def test_a_stored_run_shows_what_the_record_shows(step, trips, from_start):
    """Also while it is not finished: after each failure, interrupt, retry and resume."""
    world = Tripping(trips)
    node = build(step, world, 1)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        file = Path(folder) / "runs.db"
        try:
            for _ in continued(node, {"marker": "shared"}, file, from_start):
                assume(world.hooks <= 150)
                assert shown(Journal(file)[-1]) == shown(node.last_run)
        except FlowError:
            assume(False)
