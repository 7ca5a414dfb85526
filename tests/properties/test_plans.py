"""Laws of a plan: what it says of the calls of a run is what the run then does.

``LAWS=wide pytest tests/properties/test_plans.py`` looks further, as `test_laws` says.
"""

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from llmflow_nb import Journal
from tests.properties.flows import Boom, TooLong, World, build, flows
from tests.properties.test_journal import without_shared
from tests.properties.test_laws import Story, laws, telling
from tests.properties.test_stepping import tame

some = settings(laws, max_examples=max(25, laws.max_examples // 3))


class Outage(World):
    """Answers only the first calls, and fails from then on."""

    def __init__(self, calls=None):
        super().__init__(longest=400)
        self.left = calls

    def exec(self, step, visit, item):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Boom("outage")
        return super().exec(step, visit, item)


def calm(step):
    """The same flow, without failures of its own."""
    return replace(
        step,
        failures=(0,),
        fallback="",
        prep_fails=0,
        post_fails=0,
        source_fails=None,
        strict=False,
        max_retries=1,
        steps=tuple(map(calm, step.steps)),
    )


def run(step, file, width, calls=None):
    """Run a new flow with a new world."""
    story = Story(Outage(calls), {"marker": "shared"})
    node = build(step, story.world, width)
    try:
        with telling(story):
            node.run(story.shared, journal=file, progress=False)
    except TooLong:
        assume(False)
    return node.last_run


def planned(step, file, width):
    """Plan the run of a new flow, whose hooks may not call anything."""
    story = Story(Outage(), {"marker": "shared"})
    node = build(step, story.world, width)
    try:
        with telling(story):
            plan = node.plan(story.shared, journal=file)
    except TooLong:
        assume(False)
    assert story.world.calls() == 0
    assert story.shared == {"marker": "shared"}
    return plan


def check(step, width, calls):
    """Plan a run after one that failed at some call, and compare with the run itself."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "runs.db"
        run(step, file, width, calls)
        plan = planned(step, file, width)
        record = run(step, file, width)
        assume(record.status == "ok")  # else it has not come to all of its calls
        made = Journal(file).calls()
    done = Counter(zip(made["path"], made["replayed"], strict=True))
    event(f"complete: {plan.is_complete}, to call: {plan.to_call > 0}, answered: {plan.answered > 0}")
    for node in plan.nodes:
        found = done[node.path, True], done[node.path, False]
        if plan.is_complete:
            assert (node.answered, node.to_call) == found
        else:
            assert node.answered <= found[0]
            assert node.to_call <= found[1]
            assert node.unknown or sum(found) == node.answered + node.to_call
    assert {path for path, _ in done} <= {node.path for node in plan.nodes}


@some
@given(flows(), st.integers(0, 12))
def test_a_plan_tells_the_calls(step, calls):
    """One call at a time. Where nothing is unknown, the numbers are those of the run; else they are its least."""
    check(calm(without_shared(step)), 1, calls)


@some
@given(flows(), st.integers(0, 12))
def test_a_plan_tells_the_calls_side_by_side(step, calls):
    """The same of calls and param sets side by side."""
    check(calm(without_shared(step)), 3, calls)


@some
@given(flows())
def test_a_plan_of_a_run_that_is_kept(step):
    """After a complete run, a plan is complete too, and there is nothing to call. Calls may take shared."""
    step = tame(calm(step))  # shared is the same in both, if no walk writes to it beside another
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "runs.db"
        first = run(step, file, 1)
        plan = planned(step, file, 1)
        made = Journal(file).calls()
    assume(first.status == "ok" and (made["status"] == "ok").all())  # a generator, as a result, is not kept
    assert plan.is_complete
    assert (plan.answered, plan.to_call) == (len(made), 0)
