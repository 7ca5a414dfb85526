"""`spend`: report what a model call has used, from inside ``exec``.

The engine sets `METER` to the object that collects the reports. For a concurrent attempt, this is a meter of that call.
Otherwise it is one list for the whole run, which the engine empties after each call and each visit.
"""

from contextvars import ContextVar
from math import isfinite
from numbers import Integral, Real
from threading import current_thread, main_thread
from typing import Any, Protocol

from .errors import a_type, warn
from .reported_usage import reported_usage
from .text import quoted
from .usage import Usage

__all__ = ["METER", "Meter", "spend"]


class Meter(Protocol):
    """Collect what is used."""

    def append(self, usage: Usage, /) -> None:
        """Add a report. Called from any thread."""


METER: ContextVar[Meter | None] = ContextVar("llmflow_nb_meter", default=None)
"""What `spend` reports to; None outside of a run."""


NOTHING = Usage()


def spend(
    answer: Any = None,
    /,
    *,
    model: str = "",
    input: int = 0,
    output: int = 0,
    cached: int = 0,
    cache_written: int = 0,
    cost: float | None = None,
    provider: str | None = None,
) -> None:
    """Report what a call of a model has used. Write it in ``exec``, after each call of a model.

    Tables get the columns ``tokens_in``, ``tokens_out`` and ``cost``; `Run.usage` has the sums. Also report streamed
    answers, and answers that you then reject: the cost of a failed attempt counts. `call_llm` reports its usage itself.

    The report belongs to the call that runs in the current context. ``asyncio`` tasks and ``asyncio.to_thread`` keep
    the context. In a thread of your own, run the function with ``contextvars.copy_context().run``. Outside of a run,
    `spend` has no effect.

    Args:
        answer: The answer of a model, as the SDKs of OpenAI, Anthropic, Google and LangChain return it, or as JSON. Its
            figures are reported. The other arguments replace or complete them. If it has no figures, a `FlowWarning`
            says so. A stream of OpenAI has figures only with ``stream_options={"include_usage": True}``.
        model: The model's name, as its provider spells it. The cost is calculated from it.
        input: Tokens of the prompt, including cached tokens. (Anthropic's ``input_tokens`` does not include them: add
            them.)
        output: Tokens of the answer, including reasoning tokens.
        cached: Tokens of the prompt that were read from the provider's cache.
        cache_written: Tokens of the prompt that were written to it, if the provider charges for that.
        cost: In US dollars. None: calculated from the model's prices, if the extra ``prices`` is installed and knows
            the model; otherwise it is missing.
        provider: The provider, such as "openai" or "openrouter", or the address of its API, such as
            "https://openrouter.ai/api/v1". None: the one that the model's name suggests.

    Raises:
        TypeError: A number of tokens is not an integer, the cost not a number, or a name not a str.
        ValueError: One of them is negative or not finite, or more tokens are cached than there are.
    """
    usage = Usage(
        _name("model", model),
        _tokens("input", input),
        _tokens("output", output),
        _tokens("cached", cached),
        cache_written=_tokens("cache_written", cache_written),
    )
    if answer is not None:
        usage = _completed(usage, answer)
    _check_cached(usage)
    if cost is not None:
        usage = usage._replace(cost=_dollars(cost))
    if provider is not None:
        usage = usage._replace(provider=_name("provider", provider))
    _report(usage)


def _report(usage: Usage) -> None:
    """Add a report to the call that runs in the current context, if there is one."""
    meter = METER.get()
    if meter is None and current_thread() is not main_thread():
        warn(
            "spend has no effect in this thread, which does not know its call; start the thread's function with "
            "contextvars.copy_context().run, or use asyncio.to_thread."
        )
    elif meter is not None and usage != NOTHING:
        meter.append(usage)


def _completed(usage: Usage, answer: Any) -> Usage:
    """Return what an answer reports, with what the caller has given in its place."""
    reported = reported_usage(answer)
    if reported is None:
        if not usage.input + usage.output:
            warn(
                f"spend: {a_type(answer)} that reports no tokens; give input= and output=, or let the model report "
                "them: for a stream of OpenAI, stream_options={'include_usage': True}."
            )
        return usage
    given = {name: value for name, value in usage._asdict().items() if value}
    return reported._replace(**given)


def _check_cached(usage: Usage) -> None:
    in_cache = usage.cached + usage.cache_written
    if in_cache > usage.input:
        raise ValueError(
            f"spend(input={usage.input}): input has to include the tokens that are read from the cache or written to "
            f"it, here {in_cache}; write input={usage.input + in_cache}."
        )


def _name(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"spend({name}={quoted(value)}): a name is a str, not {type(value).__name__}.")
    return value


def _tokens(name: str, value: Any) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(
            f"spend({name}={quoted(value)}): tokens are an integer, not {type(value).__name__}; "
            "if the answer does not have them, leave them out."
        )
    if value < 0:
        raise ValueError(f"spend({name}={value}): tokens are not negative.")
    return int(value)


def _dollars(value: Any) -> float:
    try:
        dollars = float(value) if isinstance(value, Real) or hasattr(type(value), "as_tuple") else None
    except (OverflowError, ValueError):
        dollars = None
    if dollars is None or isinstance(value, bool):
        raise TypeError(f"spend(cost={quoted(value)}): the cost is a number of US dollars.")
    if not (isfinite(dollars) and dollars >= 0):
        raise ValueError(f"spend(cost={value}): the cost is 0 or more, and finite.")
    return dollars
