"""Calls on a Dask cluster beside plain ``client.map``, and calls on a cluster whose workers die.

``python -m benchmarks.cluster``: 1,000 items of 20 ms, on two workers with four threads each, in turns.
``python -m benchmarks.cluster --kills 10``: 300 items, of which so many kill their worker once.

Dask is imported when it is needed: the garbage collector would have more to do in the other rows of ``make bench``.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

from tests.cluster.nodes import Dies, Work, entered

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["ITEMS", "map_and_run", "times_map"]

ITEMS, SECONDS = 1_000, 0.02
ROUNDS = 3

Both = Callable[[], tuple[float, float]]


@cache
def connected() -> "Client":
    """Start a cluster, which ends with this process."""
    import dask.config
    from distributed import Client, LocalCluster

    dask.config.set({"distributed.deploy.lost-worker-timeout": "100s"})  # a killed worker may be slow to come back
    return Client(
        LocalCluster(
            n_workers=2, threads_per_worker=4, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs=50
        )
    )


def _sleep(item: int) -> int:
    time.sleep(SECONDS)
    return item


def map_and_run() -> Both:
    """Return a function that makes the calls by ``client.map`` and by a node, and returns the seconds of each."""
    from llmflow_nb.dask import on

    client = connected()
    node = Work(max_concurrency=64)
    node.folder, node.seconds = tempfile.mkdtemp(), SECONDS
    executor = on(client)

    def work() -> tuple[float, float]:
        started = time.perf_counter()
        client.gather(client.map(_sleep, range(ITEMS), pure=False))
        middle = time.perf_counter()
        node.run({"items": range(ITEMS)}, executor=executor, progress=False)
        return middle - started, time.perf_counter() - middle

    return work


def times_map(work: Both) -> float:
    theirs, ours = work()
    return ours / theirs


def measure() -> None:
    """Print the seconds of both, and their ratio."""
    work = map_and_run()
    theirs, ours = (median(values) for values in zip(*[work() for _ in range(ROUNDS)], strict=True))
    print(f"{ITEMS:,} items of 20 ms: client.map {theirs:.2f} s, on(client) {ours:.2f} s, ratio {ours / theirs:.2f}")


def kill(count: int) -> None:
    """Print what was called again after workers had died."""
    from llmflow_nb.dask import on

    node = Dies(max_concurrency=4)
    node.folder = tempfile.mkdtemp()
    node.kills = tuple(range(20, 300, 280 // count))[:count]
    reported = []

    class Watch:
        def handle(self, event) -> None:
            if event.kind == "call_finished":
                reported.append((event.value, entered(node.folder).count(str(event.value))))

    node.run({"items": range(300)}, executor=on(connected()), progress=False, subscribers=[Watch()])
    starts = entered(node.folder)
    results = node.last_run.batch(node).results
    twice = sum(starts.count(str(item)) > count for item, count in reported)
    print(
        f"300 items, {count} kills: {sum(a != b for a, b in zip(results, range(300), strict=True))} lost, "
        f"{twice} called again after they were reported, {len(starts) - 300} made again; "
        f"reexecuted is {node.last_run.reexecuted}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="how many workers die (default: none)")
    options = parser.parse_args()
    if options.kills:
        kill(options.kills)
    else:
        measure()
    connected().cluster.close()


if __name__ == "__main__":
    main()
