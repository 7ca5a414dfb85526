"""An interrupt while the driver of a run waits for its event loop."""

import asyncio
import gc
import itertools
import sys
from contextlib import suppress
from queue import SimpleQueue

import pytest

from llmflow_nb import BatchNode


class Asking(BatchNode):
    """Answers every item that it has started, also one that is cancelled; the last one only then."""

    def prep(self, shared):
        self.answers = shared["answers"]
        return shared["items"]

    async def exec(self, item):
        with suppress(asyncio.CancelledError):
            await (asyncio.sleep(0) if item != "last" else asyncio.Event().wait())
        self.answers.append(item)
        return item


def interrupted(node, shared, is_now):
    """Run a node; raise ``KeyboardInterrupt`` once a builtin called by the engine returns and this is true of it."""

    def profile(frame, event, function):
        if event == "c_return" and frame.f_globals["__name__"].startswith("llmflow_nb.engine.") and is_now(function):
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        node.run(shared, progress=False)
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def kept(node):
    return [row.result for batch in node.last_run.batches for row in batch if row.status == "ok"]


def test_an_interrupt_as_the_driver_wakes():
    """A task that is then cancelled and answers all the same has its answer in the table."""
    node, shared = Asking(max_concurrency=2), {"items": ["first", "last"], "answers": []}
    assert interrupted(node, shared, lambda function: isinstance(getattr(function, "__self__", None), SimpleQueue))
    assert shared["answers"] == kept(node) == ["first", "last"]


@pytest.mark.filterwarnings("ignore:coroutine 'Asking.exec' was never awaited:RuntimeWarning")  # nor was it begun
def test_an_interrupt_between_any_two_steps():
    """Wherever in the driver's thread an interrupt comes, what the tasks answer is in the table."""
    for n in itertools.count(1):
        node, shared = Asking(max_concurrency=2), {"items": list(range(3)), "answers": []}
        steps = itertools.count(1)
        if not interrupted(node, shared, lambda function, steps=steps, n=n: next(steps) == n):
            break
        if node.last_run is not None:
            assert kept(node) == sorted(shared["answers"]), f"after step {n}"
    assert n > 50
    gc.collect()  # coroutines that were made and not begun, while their warning is expected
    assert kept(node) == list(range(3))
