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
* While one ``prep_async`` or ``post_async`` is awaited, no other one runs: code that touches ``shared`` needs no lock.
* When one of several parallel calls fails, the others are waited for a few seconds (``flow.grace``) and their results
  kept in ``flow.last_run``; there they go on in the background.
* ``exec`` of a `BatchFlow` is called, as the first documentation of PocketFlow said; there it is ignored.

* A plain ``exec_fallback`` of an async node is called; there the error is raised.
* An async flow is no `AsyncNode`, and no flow is a `Node`: ask for `Flow` or `AsyncFlow`.

An override of ``get_next_node``, or of the private ``_exec``, ``_run`` or ``_orch`` (and their async twins), is refused
when the class is created, since nothing would call it.
"""

from dataclasses import replace
from typing import Any

from .core import flow as _flow
from .core import node as _node
from .core.errors import SignatureError
from .core.hooks import Dialect

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

_PLAIN = Dialect(unclear_takes_shared=False, any_action=True, settings=frozenset({"max_retries", "wait", "item_key"}))
_ASYNC = replace(
    _PLAIN,
    prep=("prep_async", "prep"),
    exec=("exec_async", "exec"),
    fallback=("exec_fallback_async", "exec_fallback", "process_after_fail"),
    post=("post_async", "post"),
)
_NOT_HERE = ("_exec", "_run", "_orch", "_run_async", "_orch_async", "get_next_node")


class BaseNode(_node.BaseNode):
    """PocketFlow's base class: hooks, params and edges."""

    _library_class = True
    _dialect = _PLAIN

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse overrides of methods that this engine has not."""
        super().__init_subclass__(**kwargs)
        for name in _NOT_HERE:
            if name in cls.__dict__:
                raise SignatureError(
                    f"{cls.__qualname__}.{name} would never be called: llmflow_nb has no such method. Wrap a hook ("
                    "prep, exec, post; what post returns chooses the next node), or pass a subscriber to run()."
                )


class Node(BaseNode, _node.Node):
    """As `llmflow_nb.Node`, with PocketFlow's two settings."""

    _library_class = True

    def __init__(self, max_retries: int = 1, wait: float = 0) -> None:
        """Keep the settings."""
        _node.keep_settings(self, max_retries=max_retries, wait=wait)


class BatchNode(Node, _node.BatchNode):
    """``exec`` for each item, one after the other."""

    _library_class = True
    _kind = "batch_node"


class Flow(BaseNode, _flow.Flow):
    """As `llmflow_nb.Flow`, with no limit of steps."""

    _library_class = True
    _kind = "flow"
    max_steps = None

    def __init__(self, start: _node.BaseNode | None = None) -> None:
        """Keep the start node."""
        if start is not None:
            self.start(start)


class BatchFlow(Flow, _flow.BatchFlow):
    """The flow once for each param set, one after the other."""

    _library_class = True
    _kind = "batch_flow"


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


class AsyncBatchNode(AsyncNode, BatchNode):
    """``exec_async`` for each item, one after the other."""

    _library_class = True


class AsyncParallelBatchNode(AsyncNode, BatchNode):
    """``exec_async`` for all items at once."""

    _library_class = True
    max_concurrency = None


class AsyncFlow(Flow):
    """A flow with the hooks ``prep_async`` and ``post_async``."""

    _library_class = True
    _dialect = _ASYNC

    async def prep_async(self, shared: Any) -> Any:
        """Run before the walk. Default: None."""

    async def exec_async(self, *args: Any) -> Any:
        """Not called."""

    async def exec_fallback_async(self, *args: Any) -> Any:
        """Not called."""

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Run after the walk. Default: return its last action."""
        return exec_res


class AsyncBatchFlow(AsyncFlow, BatchFlow):
    """The flow once for each param set, one after the other."""

    _library_class = True

    async def prep_async(self, shared: Any) -> Any:
        """Return the param sets. Default: what an outer batch flow handed over, or nothing."""
        return self.items

    async def post_async(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Combine the walks' results and return an action. Default: None."""
        return None


class AsyncParallelBatchFlow(AsyncBatchFlow):
    """The flow for all param sets at once."""

    _library_class = True
    max_concurrency = None


BatchAsyncFlow = AsyncBatchFlow
