"""What one call of a model has used, and sums of it."""

from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = ["Usage", "merged"]


class Usage(NamedTuple):
    """What one call of a model has used.

    Attributes:
        model: The model's name, as its provider spells it; "" if unknown.
        input: Tokens of the prompt, cached ones included.
        output: Tokens of the answer.
        cached: Tokens of the prompt that the provider had in its cache.
        cache_written: Tokens of the prompt that the provider has written to its cache, if it charges for that.
        cost: In US dollars; None: by the prices of the model, see `llmflow_nb.core.prices`.
        provider: Such as "openai", or the address of its API; None: the one that the model's name suggests.
        replayed: Whether an earlier run has paid for it.
    """

    model: str = ""
    input: int = 0
    output: int = 0
    cached: int = 0
    cost: float | None = None
    provider: str | None = None
    replayed: bool = False
    cache_written: int = 0


def merged(usages: Iterable[Usage]) -> list[Usage]:
    """Return the sums of usages, one for each model and provider, of those with a cost and of those without one."""
    sums: dict[Any, Usage] = {}
    for usage in usages:
        key = usage.model, usage.provider, usage.cost is None, usage.replayed
        known = sums.get(key)
        sums[key] = (
            usage
            if known is None
            else known._replace(
                input=known.input + usage.input,
                output=known.output + usage.output,
                cached=known.cached + usage.cached,
                cache_written=known.cache_written + usage.cache_written,
                cost=None if known.cost is None or usage.cost is None else known.cost + usage.cost,
            )
        )
    return list(sums.values())
