"""Laws of resuming: a run that stops anywhere, and is resumed there, does what it would have done."""

import os
import warnings
from dataclasses import replace

import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from llmflow_nb import FlowError, Run
from llmflow_nb.engine.advance import AFTER_ITEM, ALL, BOUNDARY
from llmflow_nb.engine.checkpoint import Checkpoint
from llmflow_nb.engine.drivers.sync import drive
from llmflow_nb.engine.plan import Setup
from llmflow_nb.engine.position import Position
from tests.properties.flows import Boom, World, build, flows
from tests.properties.test_laws import by_walk

laws = settings(settings.get_profile(os.environ.get("LAWS", "laws")))
few_laws = laws if "LAWS" in os.environ else settings(laws, max_examples=25)


class Tripping(World):
    """A world in which some hooks fail before they have done anything, once each.

    Attributes:
        hooks: How many hooks have begun; trips: before which of them, with what.
        attempts_of_nodes: How many times ``exec`` of a node or a batch node was called.
    """

    def __init__(self, trips=()):
        super().__init__()
        self.hooks = self.attempts_of_nodes = 0
        self.trips = dict(trips)

    def trip(self, role, step):
        with self.lock:
            self.hooks += 1
            kind = self.trips.pop(self.hooks, None)
        if kind is not None:
            raise (Boom if role in step.is_async else kind)(f"{role} of {step.name}")

    def prep(self, step, visit, shared):
        self.trip("prep", step)
        return super().prep(step, visit, shared)

    def exec(self, step, visit, item):
        with self.lock:
            self.attempts_of_nodes += step.kind in ("node", "batch_node")
        self.trip("exec", step)
        return super().exec(step, visit, item)

    def post(self, step, visit, shared, prep_res, exec_res):
        self.trip("post", step)
        return super().post(step, visit, shared, prep_res, exec_res)


def reliable(step):
    """The same flow with nothing in it that fails, and with items that can be read again."""
    return replace(
        step,
        prep_fails=0,
        post_fails=0,
        failures=(0,),
        max_retries=1,
        fallback="",
        source=step.source if step.source in ("list", "tuple", "none") else "list",
        source_fails=None,
        plain_elements=False,
        on_error="raise",
        limited=False,
        strict=False,
        steps=tuple(map(reliable, step.steps)),
    )


def run(step, world, width):
    """Run a flow, and go on with it each time that it trips. Returns the node, what it ran on, and the action."""
    node, shared = build(step, world, width), {"marker": "shared"}
    statuses = []
    while True:
        try:
            action = node.last_run.resume() if statuses else node.run(shared)
        except (Boom, KeyboardInterrupt) as exc:
            note(f"{exc!r} after {world.hooks} hooks")
            statuses.append((node.last_run.status, "failed" if isinstance(exc, Boom) else "interrupted"))
        else:
            assert all(status == expected for status, expected in statuses)
            return node, shared, action


kinds = st.sampled_from([Boom, KeyboardInterrupt])


@pytest.mark.parametrize("width", [1, 8])
@laws
@given(flows(agen=False).map(reliable), st.dictionaries(st.integers(1, 40), kinds, min_size=1, max_size=3))
def test_going_on_does_what_is_left_and_nothing_else(width, step, trips):
    """No hook runs twice, none is left out, and in the end all is as if nothing had happened."""
    if width > 1:  # elsewhere than in the main thread, nothing is interrupted
        trips = dict.fromkeys(trips, Boom)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = Tripping()
        try:
            _, expected, action = run(step, whole, width)
        except FlowError:
            assume(False)
        assume(min(trips) <= whole.hooks <= 200)
        world = Tripping(trips)
        node, shared, came_to = run(step, world, width)
    record = node.last_run
    assert (came_to, shared, record.status) == (action, expected, "ok")
    if width == 1:
        assert world.trace == whole.trace
    # Beside others, a param set that was stopped as its ``exec`` was expanding it begins anew.
    flows_of_sets = {inner.name for inner in step.walk() if inner.kind == "batch_flow"}
    calls, expected_calls = (
        by_walk([entry for entry in trace if entry[0] != "exec" or entry[1] not in flows_of_sets])
        for trace in (world.trace, whole.trace)
    )
    assert calls == expected_calls
    assert len(record.errors) == 0
    assert all(set(batch.counts) <= {"ok"} for batch in record.batches)
    # However often it went on, every attempt and every second is counted once, and the time between is no work.
    steps = record.steps
    assert record.calls == steps["attempts"].sum() == world.attempts_of_nodes
    batches = [batch for batch in record.batches if not batch.is_of_params]
    plain = steps[~steps["path"].isin([batch.path for batch in batches])]
    assert plain["attempts"].sum() + sum(row.attempts for batch in batches for row in batch) == record.calls
    assert steps.loc[steps["path"] == node.last_run.name, "seconds"].sum() <= record.seconds


# ---- checkpoints -----------------------------------------------------------------------------------------------------


class Positioned:
    """A position of a flow that is being run, with its record."""

    def __init__(self, step, world):
        self.node, self.shared = build(step, world), {"marker": "shared"}
        self.setup = Setup(Run(self.node)._recorder, concurrent=False)
        self.setup.from_start = False
        self.position = Position.at_start(self.node, self.shared, self.setup)

    def step(self, times):
        """Go on by so many boundaries. False: that was the end before."""
        return all(drive(self.position, self.setup, ALL | AFTER_ITEM) == BOUNDARY for _ in range(times))

    def finish(self):
        """Run to the end, and return the action, the result and what ``shared`` holds."""
        drive(self.position, self.setup)
        return self.position.action, self.position.result, self.shared


@pytest.mark.parametrize("at", ["boundary", "failure"])
@few_laws
@given(flows(agen=False).map(reliable), st.integers(1, 60))
def test_a_restored_checkpoint_does_the_rest_once(at, step, which):
    """Whenever it is taken: the rest gives what an undisturbed run gives, and no hook that has ended runs again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = Tripping()
        try:
            expected = Positioned(step, whole).finish()
        except FlowError:
            assume(False)
        assume(which <= whole.hooks <= 200)
        world = Tripping({} if at == "boundary" else {which: Boom})
        run = Positioned(step, world)
        if at == "boundary":
            assume(run.step(which))
            checkpoint = Checkpoint(run.position)
        else:
            with pytest.raises(Boom):
                run.finish()
            checkpoint = run.position.failure
        note(f"restored at {run.position.where()}")
        run.position.close_lane()
        run.position = checkpoint.restore(run.setup, run.shared, copies=True)
        assert run.finish() == expected
    # In any order: of items side by side, the one that failed is called last.
    assert sorted(world.trace, key=repr) == sorted(whole.trace, key=repr)
