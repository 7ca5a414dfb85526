"""Read the token usage from the answer of a model, in the forms of the common SDKs and their JSON."""

from collections.abc import Mapping
from math import inf
from typing import Any

from .usage import Usage

__all__ = ["reported_usage"]

# By source: chat completions of OpenAI and endpoints like it; its responses; Anthropic; Google; messages of LangChain.
_USAGE = ("usage", "usage_metadata", "usageMetadata")
_INPUT = ("prompt_tokens", "input_tokens", "prompt_token_count", "promptTokenCount")
_OUTPUT = ("completion_tokens", "output_tokens", "candidates_token_count", "candidatesTokenCount")
_REASONING = ("thoughts_token_count", "thoughtsTokenCount")  # not part of the output
_CACHED = (
    "prompt_tokens_details.cached_tokens",
    "input_tokens_details.cached_tokens",
    "cached_content_token_count",
    "cachedContentTokenCount",
    "input_token_details.cache_read",
)
_READ, _WRITTEN = "cache_read_input_tokens", "cache_creation_input_tokens"  # not part of the input
_MODEL = ("model", "model_version", "modelVersion", "response_metadata.model_name")


def reported_usage(answer: Any) -> Usage | None:
    """Return the usage that an answer reports, of an SDK's object or of a dict; None if it reports none."""
    usage = next((found for name in _USAGE if (found := _at(answer, name)) is not None), None)
    tokens_in, tokens_out = _tokens(usage, _INPUT), _tokens(usage, _OUTPUT) + _tokens(usage, _REASONING)
    read = _tokens(usage, (_READ,))
    written = _tokens(usage, (_WRITTEN,))
    tokens_in += read + written
    cost = _at(usage, "cost")  # of OpenRouter, in dollars
    cost = float(cost) if type(cost) in (int, float) and 0 <= cost < inf else None
    if not tokens_in + tokens_out and cost is None:
        return None
    cached = read or _tokens(usage, _CACHED)
    model = next((found for name in _MODEL if isinstance(found := _at(answer, name), str)), "")
    return Usage(model, max(tokens_in, cached + written), tokens_out, cached, cost, cache_written=written)


def _tokens(usage: Any, names: tuple[str, ...]) -> int:
    found = (_at(usage, name) for name in names)
    return next((n for n in found if type(n) is int and n >= 0), 0)


def _at(value: Any, path: str) -> Any:
    """Return the value at a path of keys or attributes; None if there is none."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    return value
