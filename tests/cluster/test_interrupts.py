"""The stop button in a real kernel, while calls are on a cluster that the kernel has started."""

import textwrap

import pytest

from tests.cluster.nodes import entered
from tests.engine.kernel import running_kernel

SETUP = """
import os, threading, time
from pathlib import Path
from distributed import Client, LocalCluster
from llmflow_nb import BatchNode
from llmflow_nb.dask import on

cluster = LocalCluster(
    n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs=50
)
client = Client(cluster)
executor = on(client)

class Slow(BatchNode):
    def prep(self, shared):
        return range(20)

    def exec(self, item):
        Path("ledger", str(item)).touch()
        time.sleep(0 if item < 4 else 60)
        return item

def say():
    while len(os.listdir("ledger")) < 8:
        time.sleep(0.01)
    print("under way")

os.mkdir("ledger")
"""


@pytest.fixture
def kernel(tmp_path):
    with running_kernel(tmp_path, textwrap.dedent(SETUP)) as kernel:
        yield kernel


def test_an_interrupt(kernel, tmp_path):
    """The cell ends at once and keeps what came in. Calls that run on a worker go on, and no other one is started."""
    cell = """
        threading.Thread(target=say).start()
        slow = Slow(max_concurrency=10)
        slow.run({}, executor=executor, progress=False)
    """
    assert kernel.interrupt(cell) == "KeyboardInterrupt"
    assert kernel.run("print(slow.last_run.status, slow.last_run.batch(slow).counts, slow.last_run.abandoned)") == (
        "interrupted {'ok': 4, 'cancelled': 10, 'pending': 6} 10"
    )
    kernel.run("""
        while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
            time.sleep(0.01)
    """)
    assert len(entered(tmp_path / "ledger")) == 8
    assert kernel.run("print(len(client.nthreads()))") == "2"
