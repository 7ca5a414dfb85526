"""Walks through flows: how they start, how a `BatchFlow` walks its param sets, and what follows when they end."""

from asyncio import CancelledError
from collections.abc import Mapping
from time import perf_counter as clock
from typing import Any

from ..core.errors import HookReturnError, a_type
from ..core.node import kind_of
from ..core.params import Params
from ..core.text import class_name, quoted
from .awaitables import PLAIN, is_awaitable
from .batch import Batch, Outcome, open_batch, positions_of
from .branch import Workload
from .checkpoint import keep_place
from .events import Event
from .iteration import is_iterator
from .plan import Plan
from .position import ARRIVE, CALLS, CHECK_SETS_EVERY, EXECED, EXPAND, EXPANDED, Frame, Position, Walk
from .setup import Setup

__all__ = [
    "call_expansion",
    "elements_ended",
    "enter",
    "expand",
    "next_set",
    "position_of_set",
    "settle_set",
    "take_sets",
    "walk_ended",
]

_NO_MORE = object()


def enter(flow: Any, plan: Plan, params: Any = None) -> Frame:
    """Return the frame of a walk through the flow that is visited, with other params if they are given."""
    start, params = plan.require_start(flow), Params(params or flow.params)
    return Frame(start, params, Walk(plan, flow, params, start))


def position_of_set(work: Workload, shared: Any, index: int, element: Any) -> Position:
    """Return the position of one param set of the visited batch flow, to run concurrently with others."""
    inner = enter(work.target, work.plan)
    walk = inner.walk
    inner.params = walk.base_params = work.batch.params  # of elements that an exec returned, not the flow's own
    walk.implicit = work.batch.path != work.plan.path
    walk.part_of = work.batch, index
    _start_set(inner, element, clock())
    return Position(shared, [inner], inline=False)


def _start_set(frame: Frame, element: Any, now: float) -> None:
    walk = frame.walk
    walk.element = element
    walk.set_open = True
    walk.set_started = now
    walk.steps = 0
    frame.node = walk.start
    if walk.owner.facts.expands and not walk.implicit:
        walk.inner_items = None
        frame.params = walk.base_params
        frame.phase = EXPAND
    else:
        frame.params = _merge(walk, element)
        frame.phase = ARRIVE


def _merge(walk: Walk, element: Any) -> Params:
    """Merge an element into the params of its walk.

    Raises:
        HookReturnError: It is no dict and there is no key for it, or its key is taken.
    """
    __tracebackhide__ = True
    if isinstance(element, Mapping):
        return Params({**walk.base_params, **element})
    owner = walk.owner
    key = owner.settings.item_key
    if key is None:
        if not (owner.facts.expands or walk.flow.items is not None):
            raise HookReturnError(
                f"{owner.path}.prep returned a param set that is {a_type(element)}; a BatchFlow needs dicts. "
                'Return [{"filename": value}, ...], or set item_key="filename" to store plain values under that key.'
            )
        key = "item"
    if key in walk.base_params:
        raise HookReturnError(
            f"{owner.path}: params already contain {quoted(key)}, so the {class_name(element)} would replace it. "
            f'Give this BatchFlow its own key: item_key="..."'
        )
    return Params({**walk.base_params, key: element})


def expand(position: Position, setup: Setup, frame: Frame, given: Any) -> bool:
    """Continue with an element after the ``exec`` of its batch flow. Return whether the position has ended.

    Args:
        position: Where the run is.
        setup: The options of the run.
        frame: The frame on top.
        given: What ``exec`` returned: None, params, or the elements of an inner batch.
    """
    __tracebackhide__ = True
    walk = frame.walk
    frame.phase = ARRIVE
    if given is None or isinstance(given, Mapping):
        frame.params = Params({**_merge(walk, walk.element), **(given or {})})
        return False
    if isinstance(given, str | bytes | bytearray) or not hasattr(type(given), "__iter__"):
        raise HookReturnError(
            f"{walk.owner.path}.exec returned {a_type(given)}; the exec of a BatchFlow returns None, a dict "
            "of params, or an iterable of elements for the inner batch ([value] for one)."
        )
    elements = list(given) if is_iterator(given) else given
    if kind_of(walk.start) == "batch_flow":
        frame.params = _merge(walk, walk.element)
        walk.inner_items = elements
        return False
    # The elements replace the element that they were made of: only one of the two can be under item_key.
    if isinstance(walk.element, Mapping):
        frame.params = _merge(walk, walk.element)
    path = f"{walk.owner.path}.exec"
    sets = open_batch(walk.owner, frame.params, elements, path, keep=True)
    sets.outcomes.actions = []
    sets.path, sets.visit = path, walk.flow
    sets.parent_set = position.param_set()
    setup.recorder.add_batch(sets)
    inner = Walk(walk.owner, walk.flow, frame.params, walk.start)
    inner.implicit, inner.sets = True, sets
    position.frames.append(Frame(walk.start, frame.params, inner))
    return next_set(position, setup, clock())


def call_expansion(position: Position, frame: Frame) -> str:
    """Call the exec of a batch flow for its element, directly or by the driver.

    Return "" if it was called directly and the result was not awaitable: the call has then ended.
    """
    walk = frame.walk
    owner, element = walk.owner, walk.element
    start = clock()
    started: tuple[Any, Any, BaseException | None, float] | None = None
    if owner.facts.inline and position.inline:
        exec_ = getattr(walk.flow, owner.facts.hooks.exec)
        try:
            frame.exec_res = exec_(position.shared, element) if owner.facts.exec_takes_shared else exec_(element)
        except (Exception, CancelledError) as exc:
            started = element, None, exc, start
        else:
            if type(frame.exec_res) in PLAIN or not is_awaitable(frame.exec_res):
                return ""
            started = element, frame.exec_res, None, start
    frame.work = Batch.single(owner, walk.base_params, element)
    frame.work.started = started
    frame.phase = EXPANDED
    return CALLS


def next_set(position: Position, setup: Setup, now: float) -> bool:
    """Start the next param set of the top frame; if there is none, continue with the flow around it.

    Return whether the position has ended.
    """
    frame = position.frames[-1]
    walk = frame.walk
    sets = walk.sets
    assert sets is not None
    items = sets.items
    try:
        element = next(items.source, _NO_MORE)
    except BaseException:  # also an interrupt, which may have lost an element
        items.read_failed = True
        raise
    if element is _NO_MORE:  # not by StopIteration: what follows must not run while an exception is handled
        items.exhausted = True
        return _walks_ended(position, setup)
    index = items.read
    if not items.is_materialised:
        items.values.append(element)  # type: ignore[union-attr]
    items.read = index + 1
    if not index % CHECK_SETS_EVERY:
        setup.recorder.drop_old()
    if setup.subscribers:
        around = positions_of(sets.parent_set)
        path, params = walk.owner.path, walk.base_params
        setup.notify(Event("param_set_started", path, params, index, value=element, param_sets=around))
    if element.__class__ is not dict or walk.owner.facts.expands:
        _start_set(frame, element, now)
    else:  # the same without its call, see `walk_ended`
        walk.element = element
        walk.set_open = True
        walk.set_started = now
        walk.steps = 0
        frame.node = walk.start
        base = walk.base_params
        frame.params = Params({**base, **element} if base else element)
        frame.phase = ARRIVE
    return False


def settle_set(
    setup: Setup, walk: Walk, status: str, value: Any, action: Any, error: Any = None, failed_at: str | None = None
) -> None:
    """Enter the outcome of the open param set."""
    sets = walk.sets
    assert sets is not None
    index, outcomes = sets.items.read - 1, sets.outcomes
    before = outcomes.exceptional.get(index)  # of a param set that is walked again
    walk.set_open = False  # first, or an interrupt in between would enter the set twice
    if before is not None or status != "ok":
        outcomes.exceptional[index] = Outcome(status, before.attempts if before else 1, error, failed_at)
    outcomes.results.append(value)
    outcomes.seconds.append(clock() - walk.set_started)
    outcomes.actions.append(action)  # type: ignore[union-attr]
    if setup.subscribers:
        around = positions_of(sets.parent_set)
        path, params = walk.owner.path, walk.base_params
        setup.notify(Event("param_set_finished", path, params, index, 0, status, value, error, (), around))


def walk_ended(position: Position, setup: Setup, value: Any, action: Any, now: float) -> bool:
    """Give the outcome of a walk to the frame below. Return whether the position has ended.

    One clock reading ends the visit, ends its param set and starts the next.
    """
    frames = position.frames
    frame = frames[-1]
    walk = frame.walk
    if walk is not None and walk.sets is not None:
        if setup.subscribers:
            settle_set(setup, walk, "ok", value, action)
        else:  # the same without its call: a flow of cheap nodes over many params spends its time here
            walk.set_open = False
            outcomes = walk.sets.outcomes
            outcomes.results.append(value)
            outcomes.seconds.append(now - walk.set_started)
            outcomes.actions.append(action)  # type: ignore[union-attr]
        return next_set(position, setup, now)
    if len(frames) == 1:
        position.result, position.action = value, action
        return True
    frames.pop()
    below = frames[-1]
    below.exec_res, below.result, below.phase = action, value, EXECED
    # A step with edges has warned, unless the edge leads to None; a flow without edges, if a step in it has.
    edges = frame.node.successors
    below.has_warned = (action or "default") not in edges if edges else frame.has_warned and frame.plan.facts.hands_on
    return False


def _walks_ended(position: Position, setup: Setup) -> bool:
    """Continue with the flow whose param sets are all done. Return whether the position has ended."""
    __tracebackhide__ = True
    frames = position.frames
    walk = frames[-1].walk
    sets = walk.sets
    assert sets is not None
    sets.require_results("param sets")  # while the frame is there, since the flow may keep this failure too
    frames.pop()
    if walk.implicit:
        return elements_ended(position, setup, sets)
    if sets.outcomes.exceptional:
        keep_place(position, sets)
    take_sets(frames[-1], sets)
    frames[-1].phase = EXECED
    return False


def elements_ended(position: Position, setup: Setup, elements: Batch) -> bool:
    """Continue with the param set whose elements are all done. Return whether the position has ended."""
    position.frames[-1].work = None
    return walk_ended(position, setup, elements.outcomes.results[:], None, clock())


def take_sets(frame: Frame, sets: Batch) -> None:
    """Give the visit of a batch flow the outcomes of its param sets, as copies, since the columns are the record."""
    frame.exec_res = frame.result = sets.outcomes.results[:]
    frame.prep_res = sets.items.for_post(frame.prep_res, sets.plan.path)
