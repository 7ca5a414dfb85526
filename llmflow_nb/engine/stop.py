"""A request, from another thread, that a run end."""

from collections.abc import Callable

__all__ = ["Stop", "Stopped"]


class Stopped(BaseException):
    """Ends a run as an interrupt would: no batch keeps it as a failure, and no hook can catch it by mistake."""


class Stop:
    """What a run looks at before it starts anything.

    Attributes:
        requested: Whether it is to end.
        wake: Set by whoever waits for something in the run: called once the request is there.
    """

    __slots__ = ("requested", "wake")

    def __init__(self) -> None:
        self.requested = False
        self.wake: Callable[[], None] | None = None

    def request(self) -> None:
        """Ask the run to end. Twice does no harm."""
        self.requested = True
        wake = self.wake
        if wake is not None:
            wake()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            Stopped: The run is to end.
        """
        if self.requested:
            raise Stopped
