"""`Budget`: a limit on the calls of runs, or on their cost."""

from math import inf
from numbers import Real
from threading import Lock
from typing import Any

from ..core.errors import BudgetError, SettingError
from ..core.prices import cost_of, dollars, load_prices
from ..core.settings import is_whole
from ..core.text import quoted
from ..core.usage import Usage

__all__ = ["Budget"]

_ROUNDING = 1 + 1e-9  # sums of dollars are not exact


class _Attempt:
    """An attempt in progress: its expected cost, and its cost so far."""

    __slots__ = ("cost", "expected", "path")

    def __init__(self, path: str, expected: float) -> None:
        self.path, self.expected = path, expected
        self.cost = 0.0


class Budget:
    """Limit the number of calls, or their cost, in all runs that share this object.

    A call that would exceed the limit is not made. The run waits for the calls in progress, keeps their results, and
    raises `BudgetError`. Raise the limit, such as ``budget.cost = 10``, and call ``run.resume()`` to continue.

    Each attempt of ``exec`` counts; results that a journal replays do not. The cost of a call is not known before it
    ends. The budget assumes the cost of the node's most expensive attempt so far. So a more expensive call can exceed
    the limit, and so can concurrent calls that start before the first of them has ended.

    Attributes:
        calls: The maximum number of attempts of ``exec``. None: no limit.
        cost: The maximum cost in US dollars, as reported with `spend`. None: no limit.
        called: The number of attempts so far.
        spent: US dollars so far; 0 without a limit on the cost.
    """

    def __init__(self, *, calls: int | None = None, cost: float | None = None) -> None:
        """Check the bounds.

        Raises:
            SettingError: A bound is not above 0, or both are None.
        """
        if calls is None and cost is None:
            raise SettingError("Budget() limits nothing; give calls=, or cost= in US dollars, or both.")
        if calls is not None and (not is_whole(calls) or calls < 1):
            raise SettingError(f"Budget(calls={quoted(calls)}): calls must be 1 or more, or None for no limit.")
        if cost is not None and not (isinstance(cost, Real) and not isinstance(cost, bool) and 0 < cost < inf):
            raise SettingError(f"Budget(cost={quoted(cost)}): cost must be US dollars, above 0, or None for no limit.")
        self.calls, self.cost = calls, cost
        self.called, self.spent = 0, 0.0
        if cost is not None:
            load_prices()
        self._lock = Lock()
        self._attempts: dict[Any, _Attempt] = {}  # in progress, by call
        self._dearest: dict[str, float] = {}  # what an attempt has cost at most, by path
        self._unpriced: str | None = None  # a model whose price is not known

    def __repr__(self) -> str:
        """Say how much is used."""
        parts = [] if self.calls is None else [f"{self.called:,} of {self.calls:,} calls"]
        parts += [] if self.cost is None else [f"{dollars(self.spent)} of {dollars(self.cost)}"]
        return f"<Budget: {', '.join(parts)}>"

    def start(self, call: Any, path: str) -> None:
        """Count an attempt that is about to be made.

        Raises:
            BudgetError: It would exceed the bound, or the price of an earlier call is not known.
        """
        with self._lock:
            expected = self._dearest.get(path, 0.0)
            if self.calls is not None and self.called >= self.calls:
                raise BudgetError(f"the budget of {self.calls:,} calls is used; {_ADVICE.format(name='calls')}")
            if self.cost is not None:
                self._require_money(expected)
            self.called += 1
            self._attempts[call] = _Attempt(path, expected)

    def _require_money(self, expected: float) -> None:
        assert self.cost is not None
        if self._unpriced is not None:
            raise BudgetError(
                f"the price of the model {quoted(self._unpriced, 60)} is not known, so the budget of "
                f"{dollars(self.cost)} cannot be kept; report the cost with spend(cost=...), or limit the number of "
                "calls: Budget(calls=...)."
            )
        reserved = sum(max(0.0, attempt.expected - attempt.cost) for attempt in self._attempts.values())
        if self.spent >= self.cost or self.spent + reserved + expected > self.cost * _ROUNDING:
            next_call = f", and the next call may cost {dollars(expected)}" if expected else ""
            used = f"of the budget of {dollars(self.cost)}, {dollars(self.spent + reserved)} is used{next_call}"
            raise BudgetError(f"{used}; {_ADVICE.format(name='cost')}")

    def spend(self, usage: Usage, call: Any = None) -> None:
        """Count what was reported. Called from any thread. ``call``: what has reported it, if it was a call."""
        if self.cost is None:
            return
        cost = cost_of(usage)
        with self._lock:
            if cost is None:
                self._unpriced = usage.model
                return
            self.spent += cost
            attempt = self._attempts.get(call)
            if attempt is not None:
                attempt.cost += cost

    def undo(self, call: Any) -> None:
        """Forget an attempt that was cancelled before it began."""
        with self._lock:
            if self._attempts.pop(call, None) is not None:
                self.called -= 1

    def end(self, call: Any) -> None:
        """Note that the attempt of a call has ended, or is not waited for any more."""
        with self._lock:
            attempt = self._attempts.pop(call, None)
            if attempt is not None:
                self._dearest[attempt.path] = max(attempt.cost, self._dearest.get(attempt.path, 0.0))


_ADVICE = (
    "raise it, such as budget.{name} = ..., then call .last_run.resume(), or run the cell of the comparison again."
)
