"""Laws of the engine: however a flow is run, it does what plain recursion over its description does.

``LAWS=wide pytest tests/properties`` looks further, with new examples each time.
"""

import asyncio
import copy
import os
import threading
import warnings
from collections import Counter, defaultdict
from contextlib import contextmanager
from queue import SimpleQueue

import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

from llmflow_nb import BatchFlow, BatchNode, FlowError, Limiter, Node, Run
from llmflow_nb.engine.advance import ALL, AWAIT, BOUNDARY, CALLS, END, advance
from llmflow_nb.engine.plan import Setup
from llmflow_nb.engine.position import Position
from llmflow_nb.engine.scheduler import Scheduler
from tests.properties.flows import Boom, TooLong, World, build, flows, walk_of
from tests.properties.reference import Reference, Refused

slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("laws", derandomize=True, deadline=None, max_examples=60, suppress_health_check=slow)
settings.register_profile("wide", deadline=None, max_examples=2000, suppress_health_check=slow, print_blob=True)
laws = settings(settings.get_profile(os.environ.get("LAWS", "laws")))


# ---- what happened, and what should have ------------------------------------------------------------------------------


class Story:
    """One run as it looked from outside."""

    def __init__(self, world, shared, record=None):
        self.world, self.shared, self.record = world, shared, record
        self.action = self.error = None
        self.warnings = []

    @property
    def outcome(self):
        if self.error is None:
            return "returned", self.action
        return "raised", type(self.error).__name__, str(self.error)


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


# ---- a driver that stops at every boundary ----------------------------------------------------------------------------


class CallsOnly(Scheduler):
    """Makes the calls that a position asks for, and leaves it there."""

    def _advance(self, strand):
        self.ended = True


class Backend:
    """What a scheduler needs: a task is simply run to its end."""

    def __init__(self, runner):
        self.runner = runner
        self.inbox = SimpleQueue()
        self.post = self.inbox.put

    def spawn(self, flight, coroutine, context):
        flight.landed(*outcome(self.runner, coroutine, context))

    def cancel(self, flights):
        raise AssertionError("nothing is left to cancel where one thing is done at a time")


def outcome(runner, coroutine, context=None):
    try:
        return runner.run(coroutine, context=context), None
    except (Exception, StopAsyncIteration) as exc:
        return None, exc


class Stepper:
    """Stops at every boundary, and may go on from another position than the one it stopped at."""

    def __init__(self, node, shared):
        self.record = Run(node)
        self.setup = Setup(self.record, concurrent=False)
        self.position = Position.at_start(node, shared, self.setup)

    def run(self, at_boundary=lambda: None):
        with asyncio.Runner() as runner:
            while (need := advance(self.position, self.setup, ALL)) != END:
                if need == BOUNDARY:
                    at_boundary()
                elif need == AWAIT:
                    value, error = outcome(runner, self.position.awaiting)
                    self.position.resume(value) if error is None else self.position.throw(error)
                else:
                    assert need == CALLS
                    self.make_calls(runner)
        return self.position.action

    def make_calls(self, runner):
        backend = Backend(runner)
        scheduler = CallsOnly(self.position, self.setup, backend)
        scheduler.begin(CALLS)
        while True:
            coroutine = scheduler.turn()
            if coroutine is not None:
                scheduler.answer(*outcome(runner, coroutine))
            elif scheduler.ended:
                return scheduler.close()
            else:
                scheduler.arrived.append(backend.inbox.get(timeout=10))


def told_by_stepping(step, *, copying=False):
    story = Story(World(most_at_once=2), {"marker": "shared"})
    stepper = Stepper(build(step, story.world), story.shared)
    story.record = None if copying else stepper.record

    def go_on_from_a_copy():
        abandoned, stepper.position = stepper.position, stepper.position.copy()
        abandoned.frames.clear()

    with telling(story):
        story.action = stepper.run(go_on_from_a_copy if copying else lambda: None)
    return story


# ---- comparing --------------------------------------------------------------------------------------------------------


def by_walk(trace):
    """The entries of each walk in their order, those of a batch by item: what must not hang on the clock."""
    walks = defaultdict(list)
    for entry in trace:
        walks["pulls", entry[2]].append(entry) if entry[0] == "pull" else walks[entry[2]].append(entry)
    return {walk: sorted_within(entries) for walk, entries in walks.items()}


def sorted_within(entries):
    """Sort each run of calls by item."""
    done, calls = [], []
    for entry in [*entries, None]:
        if entry is not None and entry[0] in ("exec", "fallback"):
            calls.append(entry)
        else:
            done += sorted(calls, key=lambda e: str(e[4]))
            calls = []
            done += [entry] if entry is not None else []
    return done


def check_same_story(expected, told, *, in_order):
    """Trace, result, shared, error and warnings are those of the reference."""
    if in_order:
        assert told.world.trace == expected.world.trace
    assert by_walk(told.world.trace) == by_walk(expected.world.trace)
    assert told.shared == expected.shared
    if isinstance(expected.error, Refused):
        kind, text = type_name(expected), str(expected.error)
        assert told.outcome[:2] == ("raised", kind)
        assert told.outcome[2].startswith(text)
    else:
        assert told.outcome == expected.outcome
    assert len(told.warnings) == len(expected.warnings)
    assert [t[: len(e)] for t, e in zip(told.warnings, expected.warnings, strict=True)] == expected.warnings


def type_name(story):
    return story.error.kind


def check_record(expected, record, *, in_order):
    """Visits and rows are those of the reference."""
    visits = [(v.path, v.visit, v.params, v.action, v.status, v.attempts) for v in record.visits]
    wanted = expected.reference.visits
    visits = [(*v[:5], None) if w_is_flow(expected, v[0]) else v for v in visits]
    rows = [(path, params, row) for path, params, rows in expected.reference.batches for row in rows]
    found = [
        (batch.path, item.params, (item.item, item.result, item.status, item.attempts, item.failed_at))
        for batch in record.batches
        for item in batch
    ]
    key = (lambda e: ()) if in_order else (lambda e: (e[0] if False else "", str(walk_of(e[2]))))
    assert sorted(visits, key=key) == sorted(wanted, key=key)
    assert rows_by_batch(found, expected) == rows_by_batch(rows, expected)


def check_weakly(step, told):
    """What holds whatever was cut short: no call is made twice, and what is raised was raised by a hook."""


LIBRARY_ERRORS = ("HookReturnError", "LostActionError", "MaxStepsError", "AllFailedError")
