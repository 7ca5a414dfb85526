"""PocketFlow's names on the engine of llmflow_nb: change one import line, and an existing program runs here.

    from llmflow_nb.pocketflow import AsyncFlow, AsyncNode, Flow, Node

Programs behave as with PocketFlow 0.0.3, except for some traps:

* ``cur_retry`` exists in async nodes too; in PocketFlow only in sync nodes.
* ``run()`` works for async classes too, in any cell; in PocketFlow it raises or silently does nothing.
* ``max_retries=0`` and a flow without a start node are errors; in PocketFlow they silently do nothing.
* A ``prep`` that returns None is an empty batch in all batch classes. A numpy array is accepted. A ``str`` or a
  ``dict`` is an error, since a batch of its characters or keys is probably not intended.
* ``post`` of a batch flow gets the list of the walks' results as its third argument; in PocketFlow None.
* ``params`` are read-only in a flow; in PocketFlow a write in one node is visible in the others.
* If one of several parallel calls fails, the run waits a few seconds for the others (``flow.grace``) and keeps their
  results in ``flow.last_run``; in PocketFlow they continue in the background.
* In ``run`` and ``submit`` one ``prep_async`` or ``post_async`` is awaited at a time. In ``run_async`` those of
  parallel walks overlap, as in PocketFlow.
* ``exec`` of a `BatchFlow` is called, as the first documentation of PocketFlow said; PocketFlow ignores it.
* A plain ``exec_fallback`` of an async node is called; in PocketFlow the error is raised.
* ``a - "stop" >> None`` ends the flow without a warning; PocketFlow warns.

Programs may call or override ``_run``, ``_exec``, ``_orch``, their async twins and ``get_next_node``, for instance to
throttle, trace or save: in a class body, a mixin, a patched class or on an object. An override is one step for the
stepper. The calls that it runs concurrently are not covered by ``grace`` and by a stop.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from .core import flow as _flow
from .core import node as _node
from .core.errors import warn
from .core.hooks import Dialect
from .core.layers import BASE_METHODS, EXEC, ITEM, RUN, Layer, is_batch_base
from .core.settings import keep_settings
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
_Call = Callable[[Any, Driven, Any], Any]

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


def _called_by_engine(call: _Call) -> _Call:
    """Return the method by which the engine makes a call. The library's methods then find the visit that it is in."""

    def method(self: Any, driven: Driven, given: Any) -> Any:
        with called_in(driven):
            return call(self, driven, given)

    return method


def _awaited_by_engine(call: _Call) -> _Call:
    """Do the same as `_called_by_engine` for a call that is awaited."""

    async def method(self: Any, driven: Driven, given: Any) -> Any:
        with called_in(driven):
            return await call(self, driven, given)

    return method


def _exec_of_item(self: Any, driven: Driven, item: Any) -> Any:
    """Call the ``_exec`` for one item, which is ``super()._exec`` in the batch class of the library."""
    base: Any = next(cls for cls in type(self).__mro__ if is_batch_base(cls))
    return super(base, self)._exec(item)


class BaseNode(_node.BaseNode):
    """PocketFlow's base class: hooks, params, edges, and the methods around the hooks.

    ``_run`` makes a complete visit, ``_exec`` its calls of ``exec`` with retries and fallback. Both can be called
    directly, and every run calls an override of them.
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
        """Call ``exec`` with retries and fallback, and return its result. In a batch node: for each item."""
        __tracebackhide__ = True
        return finish(self, EXEC, prep_res=prep_res)

    _call_run = _called_by_engine(lambda self, driven, _: self._run(driven.shared))
    _call_exec = _called_by_engine(lambda self, driven, prep_res: self._exec(prep_res))

    def _hand_back(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        return exec_res


class _ConditionalTransition(_node.Edge):
    """The left half of ``a - "action" >> b`` under PocketFlow's name."""

    __slots__ = ()

    @property
    def src(self) -> _node.BaseNode:
        return self.source


class Node(BaseNode, _node.Node):
    """A `llmflow_nb.Node` with PocketFlow's two settings."""

    _library_class = True

    def __init__(self, max_retries: int = 1, wait: float | None = 0) -> None:
        """Check and store the settings. ``wait=None`` means no wait."""
        keep_settings(self, max_retries=max_retries, wait=wait or 0)

    @_base
    def _exec(self, prep_res: Any) -> Any:
        """Call ``exec`` once, with retries and fallback, and return its result. In a batch node: for one item."""
        __tracebackhide__ = True
        return finish(self, ITEM if self._kind == "batch_node" else EXEC, prep_res=prep_res)


class BatchNode(Node, _node.BatchNode):
    """Call ``exec`` for each item, one after the other."""

    _library_class = True
    _kind = "batch_node"
    _call_item = _called_by_engine(_exec_of_item)
    _exec = BaseNode._exec  # for all items; ``super()._exec`` is for one


class Flow(BaseNode, _flow.Flow):
    """A `llmflow_nb.Flow` without a limit of steps."""

    _library_class = True
    _kind = "flow"
    max_steps = None
    _call_orch = _called_by_engine(lambda self, driven, _: self._orch(driven.shared))

    def __init__(self, start: _node.BaseNode | None = None) -> None:
        """Set the start node."""
        if start is not None:
            self.start(start)

    @_base
    def get_next_node(self, curr: Any, action: Any) -> Any:
        """Return the target of the edge for an action. If there is no such edge, warn and return None."""
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


class BatchFlow(Flow, _flow.BatchFlow):
    """Run the flow once for each param set, one after the other."""

    _library_class = True
    _kind = "batch_flow"
    _call_orch_set = _called_by_engine(
        lambda self, driven, param_set: self._orch(driven.shared, {**self.params, **param_set})
    )


class AsyncNode(Node):
    """A node with the hooks ``prep_async``, ``exec_async``, ``exec_fallback_async`` and ``post_async``.

    A plain hook such as ``exec`` works too. If a class has both, the one defined last in the class hierarchy is called.
    """

    _library_class = True
    _dialect = _ASYNC
    _call_run_async = _awaited_by_engine(lambda self, driven, _: self._run_async(driven.shared))
    _call_exec = _awaited_by_engine(lambda self, driven, prep_res: self._exec(prep_res))

    async def prep_async(self, shared: Any) -> Any:
        """Read from ``shared`` what ``exec_async`` needs, and return it. Default: None."""

    async def exec_async(self, *args: Any) -> Any:
        """Do the work and return its result. Default: None."""

    async def exec_fallback_async(self, *args: Any) -> Any:
        """Return a result after the last attempt of ``exec_async`` has failed. Default: raise its error."""
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
        """Call ``exec_async`` once, with retries and fallback, and return its result. In a batch node: for one item."""
        __tracebackhide__ = True
        return await finish_async(self, ITEM if self._kind == "batch_node" else EXEC, prep_res=prep_res)

    @_base
    def _run(self, shared: Any) -> Any:
        """Raise an error, as PocketFlow does. ``run`` works; ``_run_async`` is the method of an async node."""
        raise RuntimeError("Use run_async.")


class AsyncBatchNode(AsyncNode, BatchNode):
    """Call ``exec_async`` for each item, one after the other."""

    _library_class = True
    _call_item = _awaited_by_engine(_exec_of_item)

    @_base
    async def _exec(self, prep_res: Any) -> Any:
        """Call ``exec_async`` for all items, each with retries and fallback, and return the list of results."""
        __tracebackhide__ = True
        return await finish_async(self, EXEC, prep_res=prep_res)


class AsyncParallelBatchNode(AsyncNode, BatchNode):
    """Call ``exec_async`` for all items at once."""

    _library_class = True
    max_concurrency = None
    _call_item, _exec = AsyncBatchNode._call_item, AsyncBatchNode._exec


class AsyncFlow(Flow, AsyncNode):
    """A flow with the hooks ``prep_async`` and ``post_async``."""

    _library_class = True
    _dialect = _ASYNC
    _call_orch_async = _awaited_by_engine(lambda self, driven, _: self._orch_async(driven.shared))

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Return the action of the flow. Default: the last action of the walk."""
        return exec_res

    @_base
    async def _orch_async(self, shared: Any, params: Any = None) -> Any:
        """Walk the nodes once, from the start, and return the last action."""
        __tracebackhide__ = True
        return await finish_async(self, EXEC, shared, params=params)


class AsyncBatchFlow(AsyncFlow, BatchFlow):
    """Run the flow once for each param set, one after the other."""

    _library_class = True
    _call_orch_set_async = _awaited_by_engine(
        lambda self, driven, param_set: self._orch_async(driven.shared, {**self.params, **param_set})
    )

    async def prep_async(self, shared: Any) -> Any:
        """Return the param sets. Default: the elements from an outer batch flow, if any."""
        return self.items

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Combine the results of the walks and return an action. Default: None."""
        return None


class AsyncParallelBatchFlow(AsyncFlow, BatchFlow):
    """Run the flow for all param sets at once."""

    _library_class = True
    max_concurrency = None
    prep_async, post_async = AsyncBatchFlow.prep_async, AsyncBatchFlow.post_async
    _call_orch_set_async = AsyncBatchFlow._call_orch_set_async


BatchAsyncFlow = AsyncBatchFlow
