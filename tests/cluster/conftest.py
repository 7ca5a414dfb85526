"""A cluster on this machine: two workers with two threads each."""

import pytest


@pytest.fixture(scope="session")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=2,
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
