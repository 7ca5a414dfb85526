"""A cluster on this machine, whose two workers have two threads and pretend to have a GPU. And the parts of another."""

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest


def pytest_collection_modifyitems(config, items):
    """Skip the long tests, unless their mark is named."""
    if "kills" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("kills"):
                item.add_marker(pytest.mark.skip(reason="takes 20 s: -m kills runs it"))


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def client(cluster):
    from distributed import Client

    with Client(cluster) as found:
        yield found


@pytest.fixture(scope="session")
def on_cluster(client):
    from llmflow_nb.dask import on

    return on(client)


@contextmanager
def _running(folder, module, *options, **environment):
    command = [sys.executable, "-m", f"distributed.cli.{module}", "--scheduler-file", str(folder / "scheduler.json")]
    options = "--host", "127.0.0.1", "--no-dashboard", *options
    process = subprocess.Popen(
        [*command, *options], cwd=folder, stderr=subprocess.DEVNULL, env=os.environ | environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def scheduler(tmp_path):
    """The process of a scheduler without workers. ``tmp_path / "scheduler.json"`` says where it is."""
    with _running(tmp_path, "dask_scheduler", "--port", "0") as process:
        while not (tmp_path / "scheduler.json").exists():
            assert process.poll() is None
        yield process


@pytest.fixture
def start_worker(scheduler, tmp_path):
    """Returns a function that starts a worker of that scheduler, with some environment variables."""
    with ExitStack() as stack:
        yield lambda *options, **environment: stack.enter_context(
            _running(tmp_path, "dask_worker", "--no-nanny", "--nthreads", "2", *options, **environment)
        )
