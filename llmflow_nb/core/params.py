"""The params of a visit: a dict that cannot be changed."""

from typing import Any, NoReturn


class Params(dict[str, Any]):
    """The params that a node sees as ``self.params``: a dict for every reader, closed to writers.

    All nodes of one pass through a flow share it, so a write in one node would change the params of the others. Put
    what a later node needs in ``shared``, and what a later hook of the same visit needs in an attribute of ``self``.
    """

    __slots__ = ()

    def _closed(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("params are read-only during a run; put the value in shared, or in an attribute of self")

    __setitem__ = __delitem__ = __ior__ = _closed
    clear = pop = popitem = setdefault = update = _closed

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy as the same read-only mapping."""
        return type(self), (dict(self),)
