"""Random flows: a plain description (`Step`), what its hooks do (`World`), and the nodes that do it (`build`).

Both the engine and the reference interpreter run the hooks of a `World`, which notes every call. What a hook does hangs
only on the step, the params and a counter in ``shared`` that belongs to this walk; so branches may run in any order.
"""

import asyncio
import copy
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields
from typing import Any, NoReturn

from hypothesis import strategies as st

from llmflow_nb import BatchFlow, BatchNode, Flow, Limiter, Node


class Boom(Exception):
    """What the hooks fail with."""


class TooLong(BaseException):
    """The flow makes more calls than a test has time for."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Step:
    """One node, as plain data. Numbers of visits count from 1, 0 means never.

    Attributes:
        is_async: The hooks that are ``async def``; with_shared: those that take ``shared`` first.
        has_prep, has_post: Whether a flow has a hook of its own.
        actions: What ``post`` returns, by visit; the last one from then on.
        failures: How many attempts fail, by item (of a plain node: by visit), cyclically.
        fallback: "" for none, else "answers" or "fails".
        size: How many items or param sets there are; source: what ``prep`` returns them in.
        expand: What ``exec`` of a batch flow returns, by element, cyclically: None, "dict" or a number of elements.
        edges: From which step, on which action, to which step.
    """

    name: str
    kind: str = "node"
    is_async: tuple[str, ...] = ()
    with_shared: tuple[str, ...] = ()
    has_prep: bool = True
    has_post: bool = True
    prep_fails: int = 0
    post_fails: int = 0
    actions: tuple[Any, ...] = (None,)
    max_retries: int = 1
    failures: tuple[int, ...] = (0,)
    fallback: str = ""
    size: int = 0
    source: str = "list"
    source_fails: int | None = None
    plain_elements: bool = False
    item_key: str | None = None
    expand: tuple[Any, ...] = ()
    limit: int | None = 1
    on_error: str = "raise"
    limited: bool = False
    steps: tuple["Step", ...] = ()
    edges: tuple[tuple[int, str, int], ...] = ()
    max_steps: int | None = 10
    strict: bool = False

    def __repr__(self) -> str:
        """Show what is not the default, so that a failing flow can be read."""
        shown = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if self._differs(f)]
        return f"Step({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def _differs(self, field: Any) -> bool:
        return field.default is MISSING or getattr(self, field.name) != field.default

    def walk(self) -> Iterable["Step"]:
        """This step and all those within."""
        yield self
        for step in self.steps:
            yield from step.walk()


def walk_of(params: Any) -> tuple[Any, ...]:
    """What tells the walks through a flow apart: their params."""
    return tuple(sorted(params.items()))


def label_of(element: Any) -> str:
    """A text for an element of a batch flow. It ends in the element's number."""
    return str(next(iter(element.values()))) if isinstance(element, dict) else str(element)


class World:
    """The hooks of all steps of one flow, and the ledger in which they note their calls."""

    def __init__(self, longest: int | None = None, most_at_once: int | None = None) -> None:
        self.longest = longest
        self.limiter = Limiter(most_at_once) if most_at_once else None
        self.lock = threading.Lock()
        self.trace: list[tuple[Any, ...]] = []
        self.threads: set[tuple[int, bool]] = set()
        self.attempts: Counter[Any] = Counter()
        self.results: list[Any] = []
        self.raised: set[str] = set()
        self.in_flight: Counter[Any] = Counter()
        self.peaks: defaultdict[Any, int] = defaultdict(int)

    def __fingerprint__(self) -> str:
        """Stand for all of this: to read it takes the stepper longer than any flow of these tests."""
        return "world"

    def snapshot(self) -> Any:
        return self.trace[:], self.attempts.copy()

    def restore(self, snapshot: Any) -> None:
        self.trace, self.attempts = snapshot[0][:], snapshot[1].copy()

    def calls(self) -> int:
        """Attempts of ``exec`` so far."""
        return self.attempts.total()

    def read(self, items: Any) -> Iterable[Any]:
        """Go through what a ``prep`` returned, also if that is an async generator."""
        if not hasattr(items, "__aiter__"):
            yield from items or ()
            return
        with asyncio.Runner() as runner:
            while True:
                try:
                    yield runner.run(anext(items))
                except StopAsyncIteration:
                    return

    def note(self, *entry: Any) -> None:
        self.trace.append(entry)
        if self.longest is not None and len(self.trace) > self.longest:
            raise TooLong

    def fail(self, text: str) -> NoReturn:
        self.raised.add(text)
        raise Boom(text)

    # ---- the hooks ---------------------------------------------------------------------------------------------------

    def prep(self, step: Step, visit: Any, shared: Any) -> Any:
        walk = walk_of(visit.params)
        self.threads.add((threading.get_ident(), "prep" in step.is_async))
        count = shared[step.name, walk] = shared.get((step.name, walk), 0) + 1
        self.note("prep", step.name, walk, count, getattr(visit, "memo", None))
        visit.memo = count
        if count == step.prep_fails:
            self.fail(f"prep of {step.name} {walk} visit {count}")
        if step.kind == "batch_node":
            return self._source(step, walk, count, [(count, i) for i in range(step.size)])
        if step.kind == "batch_flow":
            names = [f"{step.name}:{i}" for i in range(step.size)]
            elements = names if step.plain_elements else [{step.name: name, "x": name} for name in names]
            return self._source(step, walk, count, elements)
        return (count, 0) if step.kind == "node" else None

    def _source(self, step: Step, walk: Any, count: int, items: list[Any]) -> Any:
        def pulls() -> Any:
            for i, item in enumerate(items):
                self.note("pull", step.name, walk, count, i)
                if i == step.source_fails:
                    self.fail(f"source of {step.name} {walk} visit {count} at {i}")
                yield item

        async def pulls_async() -> Any:
            for item in pulls():
                await asyncio.sleep(0)
                yield item

        makers = {"generator": pulls, "agen": pulls_async, "none": lambda: None, "tuple": lambda: tuple(items)}
        return makers.get(step.source, lambda: items)()

    def exec(self, step: Step, visit: Any, item: Any) -> Any:
        expands = step.kind == "batch_flow"
        walk = walk_of(visit.params)
        count, place = (getattr(visit, "memo", None), label_of(item)) if expands else item
        which = step.name, walk, count, place
        with self.lock:
            self.attempts[which] += 1
            attempt = self.attempts[which]
        self.note("exec", *which, attempt, None if expands else visit.cur_retry)
        number = int(place[-1]) if expands else place if step.kind == "batch_node" else count - 1
        if attempt <= step.failures[number % len(step.failures)]:
            self.fail(f"exec of {step.name} {walk} visit {count} item {place} attempt {attempt}")
        if not expands:
            self.results.append((*which, result := (step.name, *item)))
            return result
        outcome = step.expand[number % len(step.expand)]
        if outcome is None:
            return None
        if outcome == "dict":
            return {f"{step.name}_more": place}
        names = [f"{place}.{i}" for i in range(outcome)]
        if step.plain_elements:
            return (name for name in names)
        return [{f"{step.name}_part": name} for name in names]

    def fallback(self, step: Step, visit: Any, item: Any, exc: Exception) -> Any:
        place = label_of(item) if step.kind == "batch_flow" else item[1]
        walk = walk_of(visit.params)
        retry = None if step.kind == "batch_flow" else visit.cur_retry
        count = getattr(visit, "memo", None)
        self.note("fallback", step.name, walk, count, place, str(exc), retry)
        if step.fallback == "fails":
            self.fail(f"fallback of {step.name} {walk} visit {count} item {place}")
        if step.kind == "batch_flow":
            return {f"{step.name}_instead": place}
        self.results.append((step.name, walk, count, place, result := ("instead of", step.name, *item)))
        return result

    def post(self, step: Step, visit: Any, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        walk, count = walk_of(visit.params), getattr(visit, "memo", 0)
        self.threads.add((threading.get_ident(), "post" in step.is_async))
        seen = list(prep_res) if step.kind.startswith("batch") and hasattr(prep_res, "__iter__") else prep_res
        self.note("post", step.name, walk, count, seen, copy.copy(exec_res))
        shared["result", step.name, walk, count] = exec_res
        if count and count == step.post_fails:
            self.fail(f"post of {step.name} {walk} visit {count}")
        return step.actions[min(count, len(step.actions)) - 1]

    # ---- calls in flight ---------------------------------------------------------------------------------------------

    def enter(self, keys: list[Any]) -> None:
        with self.lock:
            for key in keys:
                self.in_flight[key] += 1
                self.peaks[key] = max(self.peaks[key], self.in_flight[key])

    def leave(self, keys: list[Any]) -> None:
        with self.lock:
            self.in_flight.subtract(keys)


# ---- from a description to nodes -------------------------------------------------------------------------------------


def hooks_of(step: Step, world: World) -> dict[str, Any]:
    """The methods of the class of one step."""

    def counters(self: Any, body: Any) -> list[Any]:
        limited = step.limited and body == world.exec  # a limiter bounds attempts of exec, not fallbacks
        return [(step.name, walk_of(self.params)), *(["limiter"] if limited else [])]

    def timed(self: Any, body: Any, *args: Any) -> Any:
        counted = counters(self, body)
        world.enter(counted)
        try:
            return body(step, self, *args)
        finally:
            world.leave(counted)

    async def timed_async(self: Any, body: Any, *args: Any) -> Any:
        counted = counters(self, body)
        world.enter(counted)
        try:
            await asyncio.sleep(0)
            return body(step, self, *args)
        finally:
            await asyncio.sleep(0)
            world.leave(counted)

    def checked(shared: Any) -> None:
        assert shared["marker"] == "shared"

    class Plain:
        def prep(self, shared):
            return world.prep(step, self, shared)

        def exec(self, item):
            return timed(self, world.exec, item)

        def exec_fallback(self, item, exc):
            return timed(self, world.fallback, item, exc)

        def post(self, shared, prep_res, exec_res):
            return world.post(step, self, shared, prep_res, exec_res)

    class Async:
        async def prep(self, shared):
            await asyncio.sleep(0)
            return world.prep(step, self, shared)

        async def exec(self, item):
            return await timed_async(self, world.exec, item)

        async def exec_fallback(self, item, exc):
            return await timed_async(self, world.fallback, item, exc)

        async def post(self, shared, prep_res, exec_res):
            await asyncio.sleep(0)
            return world.post(step, self, shared, prep_res, exec_res)

    class PlainShared:
        def exec(self, shared, item):
            checked(shared)
            return timed(self, world.exec, item)

        def exec_fallback(self, shared, item, exc):
            checked(shared)
            return timed(self, world.fallback, item, exc)

    class AsyncShared:
        async def exec(self, shared, item):
            checked(shared)
            return await timed_async(self, world.exec, item)

        async def exec_fallback(self, shared, item, exc):
            checked(shared)
            return await timed_async(self, world.fallback, item, exc)

    def hook(role: str) -> Any:
        shared_first = role in step.with_shared
        source = (AsyncShared if shared_first else Async) if role in step.is_async else PlainShared
        return vars(source if shared_first or role in step.is_async else Plain)[role]

    has = {
        "prep": step.has_prep,
        "exec": step.kind in ("node", "batch_node") or bool(step.expand),
        "exec_fallback": bool(step.fallback),
        "post": step.has_post,
    }
    return {role: hook(role) for role in has if has[role]}


def build(step: Step, world: World, width: int | None = None) -> Any:
    """Make the node of a step. ``width`` replaces every ``max_concurrency``."""
    base = {"node": Node, "batch_node": BatchNode, "flow": Flow, "batch_flow": BatchFlow}[step.kind]
    cls = type(step.name, (base,), hooks_of(step, world))
    settings: dict[str, Any] = {}
    if step.kind.startswith("batch"):
        settings.update(max_concurrency=step.limit if width is None else width, on_error=step.on_error)
    if step.kind.endswith("node"):
        settings.update(max_retries=step.max_retries, limiter=world.limiter if step.limited else None)
        return cls(**settings)
    if step.kind == "batch_flow":
        settings.update(item_key=step.item_key)
    steps = [build(inner, world, width) for inner in step.steps]
    for i, action, j in step.edges:
        _ = steps[i] - action >> steps[j]
    return cls(steps[0], strict=step.strict, max_steps=step.max_steps, **settings)


# ---- strategies ------------------------------------------------------------------------------------------------------

ROLES = ("prep", "exec", "exec_fallback", "post")
ACTIONS = (None, "", "default", "a", "b", "lost")


def some(draw: Any, values: Iterable[Any]) -> tuple[Any, ...]:
    """Draw a part of the values, mostly none of them or a few."""
    return tuple(value for value in values if draw(st.integers(0, 3)) == 3)


def rarely(draw: Any, value: Any, otherwise: Any) -> Any:
    """Draw the value one time in twelve; an example is made smaller without it."""
    return draw(st.sampled_from((otherwise,) * 11 + (value,)))


@st.composite
def flows(draw: Any, depth: int = 2, agen: bool = True) -> Step:
    """Draw a flow or batch flow with up to three steps, some of them flows again, ``depth`` levels deep."""
    numbers = iter(range(1000))

    def hooks(kind: str) -> dict[str, Any]:
        return {
            "name": f"{kind.replace('_', '')}{next(numbers)}",
            "kind": kind,
            "is_async": some(draw, ROLES),
            "with_shared": some(draw, ("exec", "exec_fallback")),
            "prep_fails": rarely(draw, draw(st.integers(1, 2)), 0),
            "post_fails": rarely(draw, draw(st.integers(1, 2)), 0),
            "actions": tuple(draw(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3))),
        }

    def calls() -> dict[str, Any]:
        return {
            "max_retries": draw(st.integers(1, 3)),
            "failures": tuple(draw(st.lists(st.sampled_from((0, 0, 0, 1, 2, 9)), min_size=1, max_size=3))),
            "fallback": draw(st.sampled_from(("", "answers", "answers", "fails"))),
            "limited": rarely(draw, True, False),
        }

    def batch() -> dict[str, Any]:
        sources = ("list", "list", "tuple", "generator", "generator", "none", *(("agen",) if agen else ()))
        source = draw(st.sampled_from(sources))
        return {
            "size": 0 if source == "none" else draw(st.integers(0, 4)),
            "source": source,
            "source_fails": draw(st.sampled_from((None, None, 0, 1, 2))) if source in ("generator", "agen") else None,
            "limit": draw(st.sampled_from((1, 1, 2, 3, None))),
            "on_error": draw(st.sampled_from(("raise", "keep", "keep"))),
        }

    def step(depth: int, kinds: tuple[str, ...]) -> Step:
        kind = draw(st.sampled_from(kinds))
        settings = hooks(kind)
        if kind.endswith("node"):
            settings |= calls()
            if rarely(draw, True, False):
                settings["actions"] = (3,)
        if kind.startswith("batch"):
            settings |= batch()
        if kind.endswith("node"):
            return Step(**settings)
        inner = ("node", "batch_node") if depth == 0 else ("node", "batch_node", "flow", "batch_flow", "batch_flow")
        steps = tuple(step(depth - 1, inner) for _ in range(draw(st.integers(1, 3))))
        ways = [(i, action) for i in range(len(steps)) for action in ("default", "a", "b")]
        settings |= {
            "steps": steps,
            "edges": tuple((*way, draw(st.integers(0, len(steps) - 1))) for way in ways if draw(st.booleans())),
            "has_prep": draw(st.integers(0, 3)) < 3,
            "has_post": draw(st.booleans()),
            "max_steps": draw(st.sampled_from((None, 5, 5, 3))),
            "strict": rarely(draw, True, False),
        }
        if settings["max_steps"] is None:  # then only forward edges, so that it ends
            settings["edges"] = tuple(edge for edge in settings["edges"] if edge[0] < edge[2])
        if kind == "batch_flow":
            expands = draw(st.integers(0, 2)) == 2
            settings |= {
                "plain_elements": draw(st.booleans()) if expands else rarely(draw, True, False),
                "item_key": draw(st.sampled_from((None, "key", f"key of {settings['name']}"))),
            }
            if expands:
                outcomes = st.sampled_from((None, "dict", 0, 1, 2))
                settings |= {
                    "expand": tuple(draw(st.lists(outcomes, min_size=1, max_size=3))),
                    "failures": (0,) if draw(st.booleans()) else calls()["failures"],
                    "fallback": draw(st.sampled_from(("", "", "answers", "fails"))),
                }
        return Step(**settings)

    return step(depth, ("flow", "batch_flow"))
