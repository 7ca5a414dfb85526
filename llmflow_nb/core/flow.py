"""What a flow is: a node that runs other nodes, once or once for each param set."""

from collections.abc import Iterable
from types import FunctionType
from typing import Any, TypeVar

from .errors import warn
from .hooks import is_library_class
from .node import BaseNode, check_node
from .settings import keep_settings

N = TypeVar("N", bound=BaseNode)

EXEC_OF_FLOW = "a flow runs its nodes, so do the work in one of them, or in prep or post of the flow."


class Flow(BaseNode):
    """A graph of nodes: it runs them from ``start`` along the edges that their actions pick, until there is no edge.

    A flow is a node, so another flow can contain it. ``prep`` runs before the nodes, and ``post`` after them.
    ``post`` gets the last action as its third argument. By default it returns that action, which then picks the edge in
    the outer flow.

    Args:
        start: The first node or flow.
        name: The name to show. Default: the class name.
        strict: Whether an action without an edge is an error. False: a warning, and the flow ends.
        max_steps: The maximum number of node visits, which stops an endless loop. None: no limit. Each nested flow and
            each param set of a `BatchFlow` has its own count.

    Raises:
        WiringTypeError: ``start`` is not a node.
        SettingError: A value is not valid, such as ``max_steps=0``.
    """

    _library_class = True
    _kind = "flow"

    start_node: BaseNode | None = None
    strict: bool = False
    max_steps: int | None = 10_000

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Warn of an ``exec`` that nothing calls. In PocketFlow programs only ``check()`` reports it."""
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
        """Check and store the settings."""
        keep_settings(self, name=name, strict=strict, max_steps=max_steps)
        if start is not None:
            self.start(start)

    def start(self, start: N) -> N:
        """Set the first node and return it, so that you can write ``flow.start(a) >> b``.

        Raises:
            WiringTypeError: ``start`` is not a node.
        """
        check_node(start, f"{type(self).__name__} needs a node or a flow to start with")
        self.start_node = start
        return start

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Return the action that picks the next edge in the outer flow. Default: the last action of this flow."""
        return exec_res


def uncalled_hooks(cls: type[BaseNode]) -> list[str]:
    """Return the ``exec`` and fallback that a class of plain flows defines and that none of its methods calls."""
    own = [base for base in cls.__mro__ if hasattr(base, "_kind") and not is_library_class(base)]
    methods = {name: value for base in own for name, value in vars(base).items() if isinstance(value, FunctionType)}
    called = {name for method in methods.values() for name in method.__code__.co_names}
    return [name for name in cls._dialect.exec + cls._dialect.fallback if name in methods and name not in called]


class BatchFlow(Flow):
    """A flow that runs its nodes once for each param set that ``prep`` returns.

    ``prep`` returns an iterable of dicts. Each is merged into ``self.params`` of all nodes for one walk through them.
    ``post`` gets the list of the walks' results as its third argument. The result of a walk is that of its last
    ``exec``.

    A nested batch: if you define ``exec(self, value)`` (or ``exec(self, shared, value)``), ``exec`` is called once for
    each value that ``prep`` returns. Its result decides how the nodes run for that value:

    * None: they run once. A dict: they run once, with the dict merged into the params.
    * Another iterable: the values in it form an inner batch. If ``start`` is a `BatchFlow`, it gets these values as
      ``self.items``, which its default ``prep`` returns. Otherwise the nodes run once for each of them; the outer
      value's result is the list of their results.

    A value that is not a dict, such as a file name, becomes the param named by ``item_key``. Each level of nested
    batch flows needs its own key: a key that is in use is refused.

    Args:
        start: As in `Flow`.
        name: As in `Flow`.
        strict: As in `Flow`.
        max_steps: As in `Flow`.
        max_concurrency: The maximum number of param sets in progress. None: no limit. Above 1, their ``exec`` calls
            run in threads or as tasks, while ``prep`` and ``post`` still run one at a time in the caller's thread.
        on_error: "raise" stops at the first error. "keep" continues: the result of a failed walk is None. If all walks
            fail, `AllFailedError` is raised.
        item_key: The name of the param for values that are not dicts. You can also set it as a class attribute.
            Default: "item" for the values of a nested batch; otherwise only dicts are accepted.

    Raises:
        WiringTypeError: ``start`` is not a node.
        SettingError: A value is not valid, such as ``max_concurrency=0``.
    """

    _library_class = True
    _kind = "batch_flow"

    max_concurrency: int | None = 1
    on_error: str = "raise"
    item_key: str | None = None
    items: Iterable[Any] | None = None
    """The result of the ``exec`` of the outer `BatchFlow` for this visit. None: there is none."""

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
        """Check and store the settings."""
        super().__init__(start, name=name, strict=strict, max_steps=max_steps)
        keep_settings(self, max_concurrency=max_concurrency, on_error=on_error, item_key=item_key)

    def prep(self, shared: Any) -> Any:
        """Return the param sets. Default: the elements from an outer `BatchFlow`, if any."""
        return self.items

    def post(self, shared: Any, prep_res: Any, exec_res: Any) -> Any:
        """Combine the results of the walks (a list, in order) and return an action. Default: None."""
        return None
