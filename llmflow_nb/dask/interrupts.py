"""Keep the workers of a `LocalCluster` when the cell is interrupted.

Jupyter's stop button signals all processes that the kernel has started. The workers would end, and the cluster would
not start others.
"""

import multiprocessing
import signal
import threading
from typing import Any

from distributed import Client, LocalCluster, WorkerPlugin

__all__ = ["keep_workers"]


def keep_workers(client: Client) -> None:
    """Have all workers ignore interrupts, present and future ones, if this process has started the cluster."""
    if isinstance(client.cluster, LocalCluster):
        client.register_plugin(_IgnoresInterrupts())


class _IgnoresInterrupts(WorkerPlugin):
    name = "llmflow_nb-interrupts"

    def setup(self, worker: Any) -> None:
        is_own_process = multiprocessing.parent_process() is not None
        if is_own_process and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
