"""A cluster on this machine, whose two workers have two threads and pretend to have a GPU. And the parts of another."""

from contextlib import ExitStack, contextmanager

import pytest

from tests.cluster.commands import run_command


def pytest_collection_modifyitems(config, items):
    """Skip the long tests, unless their mark is named."""
    if "kills" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("kills"):
                item.add_marker(pytest.mark.skip(reason="takes 10 s: -m kills runs it"))


@pytest.fixture(scope="package", autouse=True)
def _fork_workers():
    """Each worker is a fork of a process that has imported Dask, which takes 2 s. So it is in programs of the tests."""
    import dask.config

    method = {"distributed.worker.multiprocessing-method": "forkserver"}
    with pytest.MonkeyPatch.context() as patch, dask.config.set(method):
        patch.setenv("DASK_DISTRIBUTED__WORKER__MULTIPROCESSING_METHOD", "forkserver")
        yield


@pytest.fixture(scope="package")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=2,
        resources={"GPU": 1},
        processes=True,
        dashboard_address="127.0.0.1:0",
        host="127.0.0.1",
        silence_logs=50,
    ) as found:
        yield found


@pytest.fixture(scope="package")
def client(cluster):
    from distributed import Client

    with Client(cluster) as found:
        yield found


@pytest.fixture(scope="package")
def on_cluster(client):
    from llmflow_nb.dask import on

    return on(client)


@contextmanager
def _running(folder, module, *options, **environment):
    from distributed.utils import get_mp_context

    arguments = ["--scheduler-file", str(folder / "scheduler.json"), "--host", "127.0.0.1", "--no-dashboard", *options]
    process = get_mp_context().Process(target=run_command, args=(module, arguments, folder, environment))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


@pytest.fixture
def scheduler(tmp_path):
    """The process of a scheduler without workers. ``tmp_path / "scheduler.json"`` says where it is."""
    with _running(tmp_path, "dask_scheduler", "--port", "0") as process:
        while not (tmp_path / "scheduler.json").exists():
            assert process.is_alive()
        yield process


@pytest.fixture
def start_worker(scheduler, tmp_path):
    """Returns a function that starts a worker of that scheduler, with some environment variables."""
    with ExitStack() as stack:
        yield lambda *options, **environment: stack.enter_context(
            _running(tmp_path, "dask_worker", "--no-nanny", "--nthreads", "2", *options, **environment)
        )


@pytest.fixture
def few_seconds(monkeypatch):
    """A cluster that does not answer, or has no worker, is given up after 3 seconds."""
    from llmflow_nb.dask import tasks

    monkeypatch.setattr(tasks, "SILENT_SECONDS", 3.0)
    monkeypatch.setattr(tasks, "ALONE_SECONDS", 3.0)
