"""The smallest executor that sends the code of a notebook to another process. A process pool stands for a cluster."""

from concurrent.futures import Executor, Future
from typing import Any

import cloudpickle

from llmflow_nb.core.node import BaseNode
from llmflow_nb.engine.pickling import explain_unsent, pickle_error, portable
from llmflow_nb.engine.remote import RemoteCall, Reply, perform


class Minimal:
    sends_async = False  # an `async def exec` runs in the notebook

    def __init__(self, pool: Executor) -> None:
        self.pool = pool

    def check(self, node: BaseNode) -> None:
        """Raise an error if a node cannot be sent, before anything is called."""
        error = pickle_error(portable(node), cloudpickle.dumps)
        if error is not None:
            raise explain_unsent(node, (), error, None, cloudpickle.dumps)

    def send_call(self, call: RemoteCall) -> Future[Reply]:
        """Send a call. The future raises only if the cluster has failed."""
        parts = portable(call.target), call.name, call.args, call.attempt, call.has_shared
        return self.pool.submit(make_call, cloudpickle.dumps(parts))


def make_call(pickled: bytes) -> Any:
    """On a worker: make the call. Its reply can always be sent back."""
    return perform(None, *cloudpickle.loads(pickled))
