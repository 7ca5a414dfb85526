"""What a flow is: a node whose work is to walk other nodes, once or once for every param set."""

from collections.abc import Iterable
from types import FunctionType
from typing import Any, TypeVar

from .errors import warn
from .hooks import is_library_class
from .node import BaseNode, check_node, keep_settings

__all__ = ["EXEC_OF_FLOW", "BatchFlow", "Flow", "uncalled_hooks"]

N = TypeVar("N", bound=BaseNode)

EXEC_OF_FLOW = "a flow runs its nodes, so do the work in one of them, or in prep or post of the flow."


class Flow(BaseNode):
    """Walks its nodes from ``start`` along the edges that their actions choose, until there is no edge to follow.

    A flow is a node: it can be a step of another flow. ``prep`` runs before the walk and ``post`` after it; ``post``
    gets the last action as its third argument and, by default, returns it, so that it picks the edge in the outer flow.

    Args:
        start: The first node or flow.
        name: What to show. Default: the class name.
        strict: True makes an action without an edge an error. Default: a warning, and the flow ends.
        max_steps: Node visits after which the flow is taken to be endless. None: no limit. Each param set of a
            `BatchFlow` counts for itself, and a nested flow counts for itself.

    Raises:
        WiringTypeError: ``start`` is no node.
        SettingError: ``max_steps=0`` and the like.
    """

    _library_class = True
    _kind = "flow"

    start_node: BaseNode | None = None
    strict: bool = False
    max_steps: int | None = 10_000

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Warn of an ``exec`` that nothing will call. Programs of PocketFlow hear of it from ``check()`` alone."""
        super().__init_subclass__(**kwargs)
        uncalled = uncalled_hooks(cls) if cls._kind == "flow" and not cls._dialect.any_action else []
        if uncalled and uncalled[0] in vars(cls):
            warn(f"Nothing calls {cls.__qualname__}.{uncalled[0]}: {EXEC_OF_FLOW}")

    def __init__(
        self,
        start: BaseNode | None = None,
        *,
        name: str | None = None,
        strict: bool = False,
        max_steps: int | None = 10_000,
    ) -> None:
        """Keep the settings, refusing nonsense at once."""
        keep_settings(self, name=name, strict=strict, max_steps=max_steps)
        if start is not None:
            self.start(start)

    def start(self, start: N) -> N:
        """Set the first node and return it, so that ``flow.start(a) >> b`` wires on.

        Raises:
            WiringTypeError: ``start`` is no node.
        """
        check_node(start, f"{type(self).__name__} needs a node or a flow to start with")
        self.start_node = start
        return start

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Return the action that picks the next edge in the outer flow. Default: the last action of the walk."""
        return exec_res


def uncalled_hooks(cls: type[BaseNode]) -> list[str]:
    """Return the hooks around ``exec`` that a class of plain flows defines, and that no other method of it calls."""
    own = [base for base in cls.__mro__ if hasattr(base, "_kind") and not is_library_class(base)]
    methods = {name: value for base in own for name, value in vars(base).items() if isinstance(value, FunctionType)}
    called = {name for method in methods.values() for name in method.__code__.co_names}
    return [name for name in cls._dialect.exec + cls._dialect.fallback if name in methods and name not in called]


class BatchFlow(Flow):
    """Walks its nodes once for every param set that ``prep`` returns.

    ``prep`` returns an iterable of dicts; each is merged into ``self.params`` of every node on the walk. ``post`` gets
    the list of the walks' results as its third argument: of each walk, the result of the last node's ``exec``.

    A nested batch: define ``exec(self, element)`` (or ``exec(self, shared, element)``) and it is called once for each
    element of ``prep``. What it returns decides how that element is walked:

    * None: walk once. A dict: merge it into the params, walk once.
    * Any other iterable: these are the elements of an inner batch. If ``start`` is a `BatchFlow`, they are handed to it
      as ``self.items``, which its default ``prep`` returns, at every visit of ``start`` on that walk. Else the walk
      from ``start`` is made once for each of them, and the result is the list of these walks' results.

    An element that is no dict (a file name, say) goes into the params under ``item_key``. Nested batch flows need a key
    each: one that is taken is refused rather than replaced.

    Args:
        start: As in `Flow`.
        name: As in `Flow`.
        strict: As in `Flow`.
        max_steps: As in `Flow`.
        max_concurrency: Param sets in progress at once. Above 1 their ``exec`` calls run in threads or as tasks, while
            ``prep`` and ``post`` still run one at a time in the caller's thread. None: no bound.
        on_error: "raise" the first error, or "keep" going: the result of a failed walk is None. If not one walk came
            through, that is an error all the same (`AllFailedError`).
        item_key: The param under which an element that is no dict is found. May also be set as a class attribute.
            Default: "item" for elements of or from an ``exec``; elsewhere such an element is refused.

    Raises:
        WiringTypeError: ``start`` is no node.
        SettingError: A value that makes no sense, such as ``max_concurrency=0``.
    """

    _library_class = True
    _kind = "batch_flow"

    max_concurrency: int | None = 1
    on_error: str = "raise"
    item_key: str | None = None
    items: Iterable[Any] | None = None
    """What the ``exec`` of the outer `BatchFlow` returned for this visit; None where there is none."""

    def __init__(
        self,
        start: BaseNode | None = None,
        *,
        name: str | None = None,
        strict: bool = False,
        max_steps: int | None = 10_000,
        max_concurrency: int | None = 1,
        on_error: str = "raise",
        item_key: str | None = None,
    ) -> None:
        """Keep the settings, refusing nonsense at once."""
        super().__init__(start, name=name, strict=strict, max_steps=max_steps)
        keep_settings(self, max_concurrency=max_concurrency, on_error=on_error)
        if item_key is not None:
            keep_settings(self, item_key=item_key)

    def prep(self, shared: Any) -> Any:
        """Return the param sets. Default: what an outer `BatchFlow` handed over, or nothing."""
        return self.items

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Combine the walks' results (a list, in order) and return an action. Default: None."""
        return None
