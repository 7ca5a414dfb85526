"""Run calls of ``exec`` on a Dask cluster: ``flow.run(shared, executor=on(client))``.

The cluster is Dask's own (``pip install "llmflow_nb[dask]"``). Retries, limits, timeouts and the record stay in the
notebook: a worker gets a node and some items, and replies with their results.

* A node is pickled by value for each visit, so a class of a notebook, an edited global and a module beside the notebook
  arrive as they are now.
* Short calls travel together, see `on`. Each keeps its own row, attempts and error.
* A result is taken as soon as it is there, and then the cluster is told to forget it. Otherwise Dask would make the
  call again if the worker that holds the result died.
* A worker reports that a call starts before it makes it, so a call that Dask makes twice is counted.
"""

try:
    from .executor import DaskExecutor, on
except ModuleNotFoundError as exc:
    raise ImportError('Calls on a cluster need Dask: pip install "llmflow_nb[dask]".') from exc

__all__ = ["DaskExecutor", "on"]
