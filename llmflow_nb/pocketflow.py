"""PocketFlow's names, on the engine of llmflow_nb: change one import line and an existing program runs here.

    from llmflow_nb.pocketflow import AsyncFlow, AsyncNode, Flow, Node

The behaviour is that of PocketFlow 0.0.3, with these differences, each of them a trap there:

* ``cur_retry`` is there in async nodes too; there only in the others.
* ``run()`` works for async classes too, from any cell; there it raises or silently does nothing.
* ``max_retries=0`` and a flow without a start node are errors; there they silently do nothing.
* ``prep`` that returns None is an empty batch in every batch class; a numpy array works; a ``str`` or a ``dict`` is
  refused, since nobody means its characters or its keys.
* ``post`` of a batch flow gets the list of the walks' results as its third argument; there None.
* ``params`` are read-only in a flow; there a write in one node leaks into the others.
* When one of several parallel calls fails, the others are waited for a few seconds (``flow.grace``) and their results
  kept in ``flow.last_run``; there they go on in the background.
* In ``run`` and ``submit`` one ``prep_async`` or ``post_async`` is awaited at a time. In ``run_async`` those of
  parallel walks overlap, as there.
* ``exec`` of a `BatchFlow` is called, as the first documentation of PocketFlow said; there it is ignored.
* A plain ``exec_fallback`` of an async node is called; there the error is raised.
* ``a - "stop" >> None`` ends the flow without a warning; there it ends with one.

``_run``, ``_exec``, ``_orch``, their async twins and ``get_next_node`` can be called, and overridden in a class body, a
mixin, a patched class or on an object, as programs do to throttle, trace or save. An override is one step for the
stepper, and what it runs at once is its own affair: ``grace`` and a stop do not reach into it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from .core import flow as _flow
from .core import node as _node
from .core.errors import warn
from .core.hooks import BASE_METHODS, EXEC, ITEM, RUN, Dialect, Layer, is_batch_base
from .engine.actions import lost_text
from .engine.override import called_in, finish, finish_async
from .engine.plan import Driven

__all__ = [
    "AsyncBatchFlow",
    "AsyncBatchNode",
    "AsyncFlow",
    "AsyncNode",
    "AsyncParallelBatchFlow",
    "AsyncParallelBatchNode",
    "BaseNode",
    "BatchAsyncFlow",
    "BatchFlow",
    "BatchNode",
    "Flow",
    "Node",
]

_N = TypeVar("_N", bound=_node.BaseNode | None)
_F = TypeVar("_F", bound=Callable[..., Any])

_RUN = Layer(RUN, "_run", "_call_run")
_EACH, _ALL = Layer(ITEM, "_exec", "_call_item"), Layer(EXEC, "_exec", "_call_exec")
_WALK, _WALK_SET = Layer(EXEC, "_orch", "_call_orch"), Layer(EXEC, "_orch", "_call_orch_set")
_PLAIN = Dialect(
    unclear_takes_shared=False,
    any_action=True,
    hooks_overlap=True,
    settings=frozenset({"max_retries", "wait", "item_key"}),
    layers={
        "node": (_RUN, _ALL),
        "batch_node": (_RUN, _ALL, _EACH),
        "flow": (_RUN, _WALK),
        "batch_flow": (_RUN, _WALK_SET),
    },
    router="get_next_node",
)
_RUN_ASYNC = Layer(RUN, "_run_async", "_call_run_async", is_async=True)
_WALK_ASYNC = Layer(EXEC, "_orch_async", "_call_orch_async", is_async=True)
_ASYNC = replace(
    _PLAIN,
    prep=("prep_async", "prep"),
    exec=("exec_async", "exec"),
    fallback=("exec_fallback_async", "exec_fallback", "process_after_fail"),
    post=("post_async", "post"),
    layers={
        "node": (_RUN_ASYNC, _ALL._replace(is_async=True)),
        "batch_node": (_RUN_ASYNC, _ALL._replace(is_async=True), _EACH._replace(is_async=True)),
        "flow": (_RUN_ASYNC, _WALK_ASYNC),
        "batch_flow": (_RUN_ASYNC, _WALK_ASYNC._replace(called_by="_call_orch_set_async")),
    },
)


def _base(method: _F) -> _F:
    """Mark a method around the hooks that a program may override."""
    BASE_METHODS.add(method)
    return method


class BaseNode(_node.BaseNode):
    """PocketFlow's base class: hooks, params, edges, and the methods around the hooks.

    ``_run`` is a whole visit, ``_exec`` its calls of ``exec`` with retries and fallback. An override that wraps
    ``super()`` is called in every run, wherever it comes from; both can be called directly too.
    """

    _library_class = True
    _dialect = _PLAIN

    def __sub__(self, action: str) -> "_ConditionalTransition":
        """``a - "retry" >> b``: follow this edge on the action "retry". ``a - "stop" >> None``: end there."""
        super().__sub__(action)
        return _ConditionalTransition(self, action)

    @_base
    def _run(self, shared: Any) -> Any:
        """Make one visit: ``prep``, ``exec``, ``post``. Return the action."""
        __tracebackhide__ = True
        return finish(self, RUN, shared)

    @_base
    def _exec(self, prep_res: Any) -> Any:
        """Call ``exec``, with retries and fallback, and return its result."""
        __tracebackhide__ = True
        return finish(self, EXEC, prep_res=prep_res)

    def _call_run(self, driven: Driven, prep_res: Any) -> Any:
        with called_in(driven):
            return self._run(driven.shared)

    def _call_exec(self, driven: Driven, prep_res: Any) -> Any:
        with called_in(driven):
            return self._exec(prep_res)

    def _hand_back(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return exec_res


class _ConditionalTransition(_node.Edge):
    """The left half of ``a - "action" >> b``, under PocketFlow's name for it."""

    __slots__ = ()

    @property
    def src(self) -> _node.BaseNode:
        return self.source


class Node(BaseNode, _node.Node):
    """As `llmflow_nb.Node`, with PocketFlow's two settings."""

    _library_class = True

    def __init__(self, max_retries: int = 1, wait: float | None = 0) -> None:
        """Keep the settings. ``wait=None`` waits no time."""
        _node.keep_settings(self, max_retries=max_retries, wait=wait or 0)

    @_base
    def _exec(self, prep_res: Any) -> Any:
        """Call ``exec`` once, with retries and fallback; of a batch node, for one item."""
        __tracebackhide__ = True
        return finish(self, ITEM if self._kind == "batch_node" else EXEC, prep_res=prep_res)


class BatchNode(Node, _node.BatchNode):
    """``exec`` for each item, one after the other."""

    _library_class = True
    _kind = "batch_node"

    @_base
    def _exec(self, prep_res: Any) -> Any:
        """Call ``exec`` for each item, each with retries and fallback, and return the list of results."""
        __tracebackhide__ = True
        return finish(self, EXEC, prep_res=prep_res)

    def _call_item(self, driven: Driven, item: Any) -> Any:
        with called_in(driven):
            return _behind_batch_class(self)._exec(item)


class Flow(BaseNode, _flow.Flow):
    """As `llmflow_nb.Flow`, with no limit of steps."""

    _library_class = True
    _kind = "flow"
    max_steps = None

    def __init__(self, start: _node.BaseNode | None = None) -> None:
        """Keep the start node."""
        if start is not None:
            self.start(start)

    @_base
    def get_next_node(self, curr: Any, action: Any) -> Any:
        """Return the node to which the edge for an action leads; None where there is none, with a warning."""
        edges = curr.successors
        target = edges.get(action or "default")
        if target is None and edges and (action or "default") not in edges:
            warn(lost_text(_node.label(curr), type(curr)._dialect.post[0], action, list(edges)))
        return target

    @_base
    def _orch(self, shared: Any, params: Any = None) -> Any:
        """Walk the nodes once, from the start, and return the last action."""
        __tracebackhide__ = True
        return finish(self, EXEC, shared, params=params)

    def _call_orch(self, driven: Driven, prep_res: Any) -> Any:
        with called_in(driven):
            return self._orch(driven.shared)


class BatchFlow(Flow, _flow.BatchFlow):
    """The flow once for each param set, one after the other."""

    _library_class = True
    _kind = "batch_flow"

    def _call_orch_set(self, driven: Driven, param_set: Any) -> Any:
        with called_in(driven):
            return self._orch(driven.shared, {**self.params, **param_set})


class AsyncNode(Node):
    """A node with the hooks ``prep_async``, ``exec_async``, ``exec_fallback_async`` and ``post_async``.

    Of each hook and its plain namesake, the one defined nearest in the class tree counts; so nodes in the style of
    PocketFlow's first version, with a plain ``exec`` beside ``post_async``, work as well.
    """

    _library_class = True
    _dialect = _ASYNC

    async def prep_async(self, shared: Any) -> Any:
        """Read what ``exec_async`` needs. Default: None."""

    async def exec_async(self, *args: Any) -> Any:
        """Do the work. Default: None."""

    async def exec_fallback_async(self, *args: Any) -> Any:
        """Answer in place of an ``exec_async`` that failed its last attempt. Default: raise that error."""
        raise args[-1]

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Write to ``shared`` and return the action. Default: None."""

    @_base
    async def _run_async(self, shared: Any) -> Any:
        """Make one visit: ``prep_async``, ``exec_async``, ``post_async``. Return the action."""
        __tracebackhide__ = True
        return await finish_async(self, RUN, shared)

    @_base
    async def _exec(self, prep_res: Any) -> Any:
        """Call ``exec_async`` once, with retries and fallback; of a batch node, for one item."""
        __tracebackhide__ = True
        return await finish_async(self, ITEM if self._kind == "batch_node" else EXEC, prep_res=prep_res)

    @_base
    def _run(self, shared: Any) -> Any:
        """Refuse, as PocketFlow does: ``run`` works here, and ``_run_async`` is the method of an async node."""
        raise RuntimeError("Use run_async.")

    async def _call_run_async(self, driven: Driven, prep_res: Any) -> Any:
        with called_in(driven):
            return await self._run_async(driven.shared)

    async def _call_exec(self, driven: Driven, prep_res: Any) -> Any:
        with called_in(driven):
            return await self._exec(prep_res)


async def _call_item(self: Any, driven: Driven, item: Any) -> Any:
    with called_in(driven):
        return await _behind_batch_class(self)._exec(item)


class AsyncBatchNode(AsyncNode, BatchNode):
    """``exec_async`` for each item, one after the other."""

    _library_class = True
    _call_item = _call_item

    @_base
    async def _exec(self, prep_res: Any) -> Any:
        """Call ``exec_async`` for each item, each with retries and fallback, and return the list of results."""
        __tracebackhide__ = True
        return await finish_async(self, EXEC, prep_res=prep_res)


class AsyncParallelBatchNode(AsyncNode, BatchNode):
    """``exec_async`` for all items at once."""

    _library_class = True
    max_concurrency = None
    _call_item = _call_item

    @_base
    async def _exec(self, prep_res: Any) -> Any:
        """Call ``exec_async`` for all items at once, each with retries and fallback; return the list of results."""
        __tracebackhide__ = True
        return await finish_async(self, EXEC, prep_res=prep_res)


def _behind_batch_class(node: Any) -> Any:
    """Return what ``super()`` is in the batch class of the library, whose ``_exec`` is for one item."""
    return super(next(cls for cls in type(node).__mro__ if is_batch_base(cls)), node)


class AsyncFlow(Flow, AsyncNode):
    """A flow with the hooks ``prep_async`` and ``post_async``."""

    _library_class = True
    _dialect = _ASYNC

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Run after the walk. Default: return its last action."""
        return exec_res

    @_base
    async def _orch_async(self, shared: Any, params: Any = None) -> Any:
        """Walk the nodes once, from the start, and return the last action."""
        __tracebackhide__ = True
        return await finish_async(self, EXEC, shared, params=params)

    async def _call_orch_async(self, driven: Driven, prep_res: Any) -> Any:
        with called_in(driven):
            return await self._orch_async(driven.shared)


class AsyncBatchFlow(AsyncFlow, BatchFlow):
    """The flow once for each param set, one after the other."""

    _library_class = True

    async def prep_async(self, shared: Any) -> Any:
        """Return the param sets. Default: what an outer batch flow handed over, or nothing."""
        return self.items

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Combine the walks' results and return an action. Default: None."""
        return None

    async def _call_orch_set_async(self, driven: Driven, param_set: Any) -> Any:
        with called_in(driven):
            return await self._orch_async(driven.shared, {**self.params, **param_set})


class AsyncParallelBatchFlow(AsyncFlow, BatchFlow):
    """The flow for all param sets at once."""

    _library_class = True
    max_concurrency = None
    prep_async, post_async = AsyncBatchFlow.prep_async, AsyncBatchFlow.post_async
    _call_orch_set_async = AsyncBatchFlow._call_orch_set_async


BatchAsyncFlow = AsyncBatchFlow
