"""Closes async generators that a run has not read to their end."""

import asyncio

from ..core.errors import warn
from ..core.text import quoted
from .batch import Batch
from .flight import CANCEL_SECONDS

__all__ = ["close_sources"]


async def close_sources(batches: list[Batch]) -> None:
    """Let the async generators of some batches clean up, all at a time, each for `CANCEL_SECONDS` seconds at most.

    They are removed from the list first, so that none is closed twice.
    """
    taken = batches[:]
    batches.clear()
    await asyncio.gather(*map(_close, taken))


async def _close(batch: Batch) -> None:
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            await batch.items.source.aclose()
    except TimeoutError:
        warn(f"{batch.path}: the async item generator did not end within {CANCEL_SECONDS:g} s when it was closed")
    except Exception as exc:
        warn(f"{batch.path}: the async item generator raised {quoted(exc, 200)} when it was closed")
