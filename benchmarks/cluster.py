"""Calls on a Dask cluster beside plain ``client.map``, and calls on a cluster whose workers die.

``python -m benchmarks.cluster``: 1,000 items of 20 ms, on two workers with four threads each, in turns.
``python -m benchmarks.cluster --kills 10``: 300 items, of which so many kill their worker once.
"""

import argparse
import tempfile
import time
from statistics import median

from distributed import Client, LocalCluster

from llmflow_nb.dask import DaskExecutor, on
from tests.cluster.nodes import Dies, Work, entered

ITEMS, SECONDS = 1_000, 0.02
ROUNDS = 3


def _sleep(item: int) -> int:
    time.sleep(SECONDS)
    return item


def measure(client: Client, executor: DaskExecutor) -> None:
    """Print the seconds of both, and their ratio."""
    node = Work(max_concurrency=64)
    node.folder, node.seconds = tempfile.mkdtemp(), SECONDS
    figures = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        client.gather(client.map(_sleep, range(ITEMS), pure=False))
        middle = time.perf_counter()
        node.run({"items": range(ITEMS)}, executor=executor, progress=False)
        figures.append((middle - began, time.perf_counter() - middle))
    theirs, ours = (median(values) for values in zip(*figures, strict=True))
    print(f"{ITEMS:,} items of 20 ms: client.map {theirs:.2f} s, on(client) {ours:.2f} s, ratio {ours / theirs:.2f}")


def kill(executor: DaskExecutor, count: int) -> None:
    """Print what was called again after workers had died."""
    node = Dies(max_concurrency=4)
    node.folder = tempfile.mkdtemp()
    node.kills = tuple(range(20, 300, 280 // count))[:count]
    reported = []

    class Watch:
        def handle(self, event) -> None:
            if event.kind == "call_finished":
                reported.append((event.value, entered(node.folder).count(str(event.value))))

    node.run({"items": range(300)}, executor=executor, progress=False, subscribers=[Watch()])
    starts = entered(node.folder)
    results = node.last_run.batch(node).results
    twice = sum(starts.count(str(item)) > count for item, count in reported)
    print(
        f"300 items, {count} kills: {sum(a != b for a, b in zip(results, range(300), strict=True))} lost, "
        f"{twice} called again after they were reported, {len(starts) - 300} made again, "
        f"{node.last_run.reexecuted} of these counted"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="how many workers die (default: none)")
    options = parser.parse_args()
    address = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", "silence_logs": 50}
    with LocalCluster(n_workers=2, threads_per_worker=4, **address) as cluster, Client(cluster) as client:
        if options.kills:
            kill(on(client), options.kills)
        else:
            measure(client, on(client))


if __name__ == "__main__":
    main()
