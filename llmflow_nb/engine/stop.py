"""Stop a run from another thread."""

from collections.abc import Callable

__all__ = ["Stop", "Stopped"]


class Stopped(BaseException):
    """Ends a run as an interrupt does: no batch keeps it as a failure, and no ``except Exception`` catches it."""


class Stop:
    """A request to stop, which a run checks before it starts anything."""

    __slots__ = ("requested", "wake")

    def __init__(self) -> None:
        self.requested = False
        self.wake: Callable[[], None] | None = None  # wakes the driver, once it waits for something

    def request(self) -> None:
        """Ask the run to stop."""
        self.requested = True
        wake = self.wake
        if wake is not None:
            wake()

    def check(self) -> None:
        """Raise `Stopped` if the run has to stop."""
        if self.requested:
            raise Stopped
