"""What tokens cost: the sums of tokens and dollars that tables and displays show.

The prices are those of ``genai-prices``, the extra ``prices``. A price that is not known is missing, never 0.
"""

from collections.abc import Iterable
from functools import cache, lru_cache
from threading import Thread
from typing import Any, NamedTuple

from .text import quoted
from .usage import Usage

__all__ = ["UsageSum", "are_loaded", "cost_of", "dollars", "load_prices", "sum_of"]


class UsageSum(NamedTuple):
    """What calls of models have used together.

    Attributes:
        tokens_in: Tokens of the prompts, cached ones included.
        tokens_out: Tokens of the answers.
        cost: In US dollars; None if the price of a model is not known.
        unpriced: The models whose price is not known.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = 0.0
    unpriced: tuple[str, ...] = ()

    @classmethod
    def total(cls, sums: "Iterable[UsageSum]") -> "UsageSum":
        """Return the sum of sums. If the cost of one of them is unknown, the total cost is unknown."""
        sums = list(sums)
        unpriced = tuple(dict.fromkeys(model for each in sums for model in each.unpriced))
        cost = None if unpriced else sum(each.cost or 0.0 for each in sums)
        return cls(sum(each.tokens_in for each in sums), sum(each.tokens_out for each in sums), cost, unpriced)

    def times(self, factor: float) -> "UsageSum":
        """Return a multiple, in whole tokens."""
        cost = None if self.cost is None else self.cost * factor
        return self._replace(
            tokens_in=round(self.tokens_in * factor), tokens_out=round(self.tokens_out * factor), cost=cost
        )

    def __str__(self) -> str:
        """Return the sums in a line, such as "1,204 tokens in, 310 out, $0.0021"."""
        return f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out, {self.price}"

    def __repr__(self) -> str:
        """Return the sums, for people."""
        return f"<{self}>"

    @property
    def short(self) -> str:
        """The cost, such as "$0.0021", or if it is not known the tokens, such as "1,514 tokens"."""
        return f"{self.tokens_in + self.tokens_out:,} tokens" if self.cost is None else dollars(self.cost)

    @property
    def price(self) -> str:
        """The cost as a text, such as "$0.0021"."""
        if self.cost is None:
            models = ", ".join(quoted(model, 60) for model in self.unpriced[:3])
            more = f" and {len(self.unpriced) - 3} more" if len(self.unpriced) > 3 else ""
            return f"cost unknown ({_reason()} {models}{more})"
        return dollars(self.cost)


def dollars(cost: float) -> str:
    """Return an amount with two digits that count, or more: "$0.00021", "$1.25", "$1,204.00"."""
    digits = 2
    while cost > 0 and round(cost, digits + 1) < 10 ** (1 - digits) and digits < 8:
        digits += 1
    return f"${cost:,.{digits}f}"


def _reason() -> str:
    return "no price of" if _calculator() else 'pip install "llmflow_nb[prices]" for the price of'


def sum_of(usages: Iterable[Usage], *, replayed: bool = False) -> UsageSum:
    """Return what was used. ``replayed``: also what an earlier run has paid for."""
    tokens_in = tokens_out = 0
    cost: float = 0.0
    unpriced: dict[str, None] = {}
    for usage in usages:
        if usage.replayed and not replayed:
            continue
        tokens_in += usage.input
        tokens_out += usage.output
        price = cost_of(usage)
        if price is None:
            unpriced[usage.model] = None
        else:
            cost += price
    return UsageSum(tokens_in, tokens_out, None if unpriced else cost, tuple(unpriced))


def cost_of(usage: Usage) -> float | None:
    """Return the cost in US dollars: the reported one, or one by the prices of the model; None if it is not known."""
    if usage.cost is not None:
        return usage.cost
    if not usage.model or not usage.input + usage.output:
        return None
    tokens = usage.input, usage.output, usage.cached, usage.cache_written
    return _calculated(usage.model, usage.provider, *tokens)


def load_prices() -> None:
    """Import the list of prices now, which takes 0.6 s, and not in the middle of a run."""
    _calculator()


def are_loaded() -> bool:
    """Return whether the list of prices is there. If not, a thread begins to load it."""
    if not _calculator.cache_info().currsize and not _loading:
        _loading.append(Thread(target=_calculator, name="llmflow_nb-prices", daemon=True))
        _loading[0].start()
    return bool(_calculator.cache_info().currsize)


_loading: list[Thread] = []


@lru_cache(maxsize=4096)
def _calculated(
    model: str, provider: str | None, tokens_in: int, tokens_out: int, cached: int, cache_written: int
) -> float | None:
    calculate = _calculator()
    if calculate is None:
        return None
    calc_price, tokens = calculate
    by_address = provider is not None and "://" in provider
    try:
        used = tokens(
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            cache_read_tokens=cached,
            cache_write_tokens=cache_written or None,
        )
        where = {"provider_api_url": provider} if by_address else {"provider_id": provider}
        return float(calc_price(used, model, **where).total_price)
    except (LookupError, ValueError):  # no such model; a model that has no price for such tokens
        return None


@cache
def _calculator() -> tuple[Any, Any] | None:
    """Return the function and the class of ``genai-prices``; None if it is not installed."""
    try:
        from genai_prices import Usage as Tokens
        from genai_prices import calc_price
    except ImportError:
        return None
    return calc_price, Tokens
