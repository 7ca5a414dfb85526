"""Actions that sound like the end of a flow: they tell an outcome, and name no next step."""

import re
from collections.abc import Iterator

__all__ = ["is_an_ending"]

# fmt: off
_ENDINGS = frozenset((
    "abort", "accept", "approve", "break", "bye", "cancel", "close", "complete", "continue", "default",
    "deny", "done", "empty", "end", "error", "exceed", "exhaust", "exit", "fail", "false", "finish", "found",
    "give", "goodbye", "halt", "ignore", "invalid", "limit", "many", "max", "miss", "never", "next", "no",
    "none", "not", "ok", "okay", "over", "pass", "pause", "quit", "ready", "reject", "return", "safe", "skip",
    "stop", "success", "suspend", "terminate", "timeout", "too", "true", "unsafe", "up", "valid", "wait",
    "yes",
))
# fmt: on
_SUFFIXES = ("ed", "d", "s", "ing", "ped", "led", "ure", "ful")


def is_an_ending(action: str) -> bool:
    """Return whether an action tells an outcome or an end: "end", "no_results", "approved"."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", action).lower())
    return any(stem in _ENDINGS for word in words for stem in _stems(word))


def _stems(word: str) -> Iterator[str]:
    """Yield the words of which a word may be a form: "failed" and "failure" are forms of "fail"."""
    yield word
    for suffix in _SUFFIXES:
        if word.endswith(suffix):
            yield word.removesuffix(suffix)
            yield word.removesuffix(suffix) + "e"
    if word.endswith("ied"):
        yield word[:-3] + "y"
