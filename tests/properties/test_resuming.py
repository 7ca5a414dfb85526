"""Laws of resuming: a run that stops anywhere, and is resumed there, does what it would have done."""

import os
import warnings
from dataclasses import replace

import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from llmflow_nb import FlowError, Run
from llmflow_nb.engine.checkpoint import Checkpoint
from llmflow_nb.engine.drivers.sync import drive
from llmflow_nb.engine.position import AFTER_ITEM, ALL, BOUNDARY, Position
from llmflow_nb.engine.setup import Setup
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


def undisturbed(run):
    """Run a flow in a world where nothing fails. Returns the world and what the run returned; few hooks are enough."""
    world = Tripping()
    try:
        result = run(world)
    except FlowError:
        assume(False)
    assume(0 < world.hooks <= 200)
    return world, result


kinds = st.sampled_from([Boom, KeyboardInterrupt])


@laws
@given(flows(agen=False).map(reliable), st.dictionaries(st.integers(0, 200), kinds, min_size=1, max_size=3))
def test_resuming_does_what_is_left_and_nothing_else(step, trips):
    """No hook runs twice, none is left out, and in the end all is as if nothing had happened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for width in (1, 8):
            note(f"width {width}")
            whole, (_, expected, action) = undisturbed(lambda world: run(step, world, width))  # noqa: B023
            # With threads, nothing is interrupted: only in the main thread a hook can raise KeyboardInterrupt.
            places = {1 + at % whole.hooks: kind if width == 1 else Boom for at, kind in trips.items()}
            world = Tripping(places)
            node, shared, came_to = run(step, world, width)
            record = node.last_run
            assert (came_to, shared, record.status) == (action, expected, "ok")
            if width == 1:
                assert world.trace == whole.trace
            assert calls_of(step, world) == calls_of(step, whole)
            check_counts(record, world)


def calls_of(step, world):
    """The hooks by walk. Beside others, a param set that was stopped as its ``exec`` was expanding it starts again."""
    flows_of_sets = {inner.name for inner in step.walk() if inner.kind == "batch_flow"}
    return by_walk([entry for entry in world.trace if entry[0] != "exec" or entry[1] not in flows_of_sets])


def check_counts(record, world):
    """However often a run was resumed, every attempt and second counts once, and the time between is no work."""
    assert len(record.errors) == 0
    assert all(set(batch.counts) <= {"ok"} for batch in record.batches)
    steps = record.steps
    assert record.calls == steps["attempts"].sum() == world.attempts_of_nodes
    batches = [batch for batch in record.batches if not batch.is_of_params]
    plain = steps[~steps["path"].isin([batch.path for batch in batches])]
    assert plain["attempts"].sum() + sum(row.attempts for batch in batches for row in batch) == record.calls
    assert steps.loc[steps["path"] == record.name, "seconds"].sum() <= record.seconds


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


@few_laws
@given(flows(agen=False).map(reliable), st.integers(0, 200))
def test_a_restored_checkpoint_does_the_rest_once(step, number):
    """From any boundary or failure, the rest gives what a whole run gives, and no hook that has ended runs again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, expected = undisturbed(lambda world: Positioned(step, world).finish())
        which = 1 + number % whole.hooks
        for at in ("boundary", "failure"):
            world = Tripping({} if at == "boundary" else {which: Boom})
            run = Positioned(step, world)
            if at == "boundary":
                assume(run.step(which))
                checkpoint = Checkpoint(run.position)
            else:
                with pytest.raises(Boom):
                    run.finish()
                checkpoint = run.position.failure
            note(f"restored after a {at} at {run.position.where()}")
            run.position.close_lane()
            run.position = checkpoint.restore(run.setup, run.shared, copies=True)
            assert run.finish() == expected
            # In any order: of items side by side, the one that failed is called last.
            assert sorted(world.trace, key=repr) == sorted(whole.trace, key=repr)
