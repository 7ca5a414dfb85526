"""``executor=on(client)``: a Dask cluster with its workers in other processes, on this machine."""

import asyncio
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from types import ModuleType

import cloudpickle
import dask.config
import pytest
from distributed import Client, LocalCluster

from llmflow_nb import BatchFlow, ExecutorError, Flow, Journal, Node, SettingError
from llmflow_nb.dask import on
from llmflow_nb.notebook.display import mimebundle
from tests.cluster.nodes import AsyncWork, Dies, Sleeps, Spans, Work, entered


def run(node, executor, items, **options):
    node.run({"items": items}, executor=executor, progress=False, **options)
    return node.last_run.batch(node)


# ---- modules of the user ---------------------------------------------------------------------------------------------


def test_a_module_beside_the_notebook(on_cluster, tmp_path, monkeypatch):
    """Its code is sent as it is now: workers need not have it, and an edit needs no restart."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a module edited within a second would not be read again
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "helper.py").write_text("def shape(item):\n    return f'{item}!'\n")
    helper = importlib.import_module("helper")

    class Shape(Work):
        def exec(self, item):
            return helper.shape(item)

    assert run(Shape(), on_cluster, [1]).results == ["1!"]
    (tmp_path / "helper.py").write_text("def shape(item):\n    return f'{item}?'\n")
    importlib.reload(helper)
    assert run(Shape(), on_cluster, [1]).results == ["1?"]
    assert cloudpickle.list_registry_pickle_by_value() == set()
    del sys.modules["helper"]
    monkeypatch.setitem(sys.modules, "other", ModuleType("other"))  # the number of modules is the same as before
    assert run(Sleeps(), on_cluster, [0]).results == [0]


# ---- a cluster that is gone ------------------------------------------------------------------------------------------


def run_until_gone(node, executor, leave):
    """Run 40 items, make the cluster disappear after 8, and return the run when it has ended."""
    job = node.submit({"items": range(40)}, executor=executor, progress=False)
    while len(entered(node.folder)) < 8:
        assert not job.done
    leave()
    job.wait(30)
    return job.run


def check_that_it_resumes(run, folder, match):
    """The run has failed, has kept what was finished, and continues in this process."""
    assert run.status == "failed"
    assert isinstance(run.error, ExecutorError)
    assert re.search(match, str(run.error))
    finished = run.batch("Work").df["item"][run.batch("Work").df["status"] == "ok"]
    assert 4 <= len(finished) < 40
    run.resume(progress=False)
    assert [item for item, _ in run.batch("Work").results] == list(range(40))
    assert all(entered(folder).count(str(item)) == 1 for item in finished)


def work_in(tmp_path):
    node = Work(max_concurrency=4)
    node.folder, node.seconds = str(tmp_path / "ledger"), 0.05
    (tmp_path / "ledger").mkdir()
    return node


def test_a_scheduler_that_was_killed(scheduler, start_worker, few_seconds, tmp_path):
    """The run ends with an error, keeps what was finished, and resumes without the cluster."""
    start_worker()
    node = work_in(tmp_path)
    with Client(scheduler_file=str(tmp_path / "scheduler.json"), set_as_default=False) as client:
        client.wait_for_workers(1, timeout=30)
        run = run_until_gone(node, on(client, batch=1), scheduler.kill)
        check_that_it_resumes(run, node.folder, "connection to the scheduler lost|has not answered|lost the call")


def test_a_client_that_was_closed(cluster, tmp_path):
    """The same."""
    node = work_in(tmp_path)
    client = Client(cluster, set_as_default=False)
    run = run_until_gone(node, on(client, batch=1), client.close)
    check_that_it_resumes(run, node.folder, "was the client closed|its client was closed")


def test_a_cluster_without_a_worker(scheduler, few_seconds, tmp_path):
    """The run fails after some time, and says how to wait."""
    text = r"no worker for 3 s; client.wait_for_workers\(1\) waits for one"
    file = str(tmp_path / "scheduler.json")
    with Client(scheduler_file=file, set_as_default=False) as client, pytest.raises(ExecutorError, match=text):
        run(Work(), on(client), range(2))


# ---- workers that die ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fragile_client():
    """A cluster of its own. It waits for a worker that was killed, also on a busy machine."""
    with (
        dask.config.set(
            {"distributed.scheduler.allowed-failures": 1, "distributed.deploy.lost-worker-timeout": "100s"}
        ),
        LocalCluster(
            n_workers=4, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_killed_workers(fragile_client, tmp_path):
    """Items that a killed worker had are called again and counted; those reported finished are not."""
    node = Dies(max_concurrency=4)
    node.folder, node.kills = str(tmp_path / "ledger"), (10, 40)
    (tmp_path / "ledger").mkdir()
    finished = []

    class Watch:
        def handle(self, event):
            if event.kind == "call_finished":
                finished.append((event.value, entered(node.folder).count(str(event.value))))

    result = run(node, on(fragile_client, batch=1), range(60), subscribers=[Watch()])
    assert result.results == list(range(60))
    starts = entered(node.folder)
    assert all(starts.count(str(item)) == n for item, n in finished)
    assert node.last_run.reexecuted == len(starts) - 60 >= 2
    assert "made again after a worker had died" in mimebundle(node.last_run)["text/plain"]


@pytest.mark.kills
def test_ten_killed_workers(fragile_client, tmp_path):
    """Of 300 items none is lost, none that was reported finished is called again, and all that are made again count."""
    node = Dies(max_concurrency=8)
    node.folder, node.kills = str(tmp_path), tuple(range(20, 300, 28))
    finished = []

    class Watch:
        def handle(self, event):
            if event.kind == "call_finished":
                finished.append((event.value, entered(node.folder).count(str(event.value))))

    assert len(node.kills) == 10
    assert run(node, on(fragile_client, batch=1), range(300), subscribers=[Watch()]).results == list(range(300))
    starts = Counter(entered(node.folder))
    assert [item for item, n in finished if starts[str(item)] != n] == []
    assert node.last_run.reexecuted == starts.total() - 300 >= 10


def test_an_item_that_kills_every_worker(fragile_client, tmp_path):
    """Its row fails with the reason, and the others have results, also those that travelled with it."""
    fragile_client.wait_for_workers(4)
    node = Dies(max_concurrency=8, on_error="keep")
    node.folder = str(tmp_path)
    result = run(node, on(fragile_client, batch=4), [*range(6), -1])
    assert result.counts == {"ok": 6, "failed": 1}
    starts = entered(tmp_path)
    deaths = starts.count("-1")
    assert f"the worker process died each of the {deaths} times" in str(result.exceptions[6])
    missing = len(starts) - 7 - node.last_run.reexecuted  # calls of a group that started just before their worker died
    assert 0 <= missing <= deaths


# ---- in tables, batch flows, journals --------------------------------------------------------------------------------


def test_the_column_worker(on_cluster, tmp_path):
    """It names the worker of each call; without a cluster there is none."""
    node = Work(max_concurrency=8)
    node.folder, node.seconds = str(tmp_path), 0.05
    df = run(node, on_cluster, range(16)).df
    assert list(df.columns) == [
        "visit", "position", "item", "result", "status", "attempts", "seconds", "worker", "error_type", "error",
    ]  # fmt: skip
    assert df["worker"].nunique() == 2
    assert "worker" not in run(node, None, range(2)).df


def test_resources(client):
    """Calls that need a GPU run only as many at a time as the cluster has."""
    spans = run(Spans(max_concurrency=8), on(client, resources={"GPU": 1}), range(8)).results
    assert max(sum(start <= moment < end for start, end in spans) for moment, _ in spans) <= 2


def test_the_executor_of_dask(client, on_cluster):
    """It runs async hooks in this process, and so does not replace ours."""
    pids = [
        {pid for _, pid in run(AsyncWork(max_concurrency=2), executor, range(2)).results}
        for executor in (client.get_executor(), on_cluster)
    ]
    assert [os.getpid() in each for each in pids] == [True, False]


def test_param_sets_side_by_side(on_cluster, tmp_path):
    """Those of a batch flow run at the same time on the cluster."""

    class Count(Node):
        def prep(self, shared):
            return self.params["n"]

        def exec(self, n):
            import os

            return n, os.getpid()

        def post(self, shared, n, exec_res):
            shared[n] = exec_res

    class Many(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(6)]

    shared = {}
    Many(start=Count(), max_concurrency=6).run(shared, executor=on_cluster, progress=False)
    assert [shared[n][0] for n in range(6)] == list(range(6))


def test_a_journal(on_cluster, tmp_path):
    """What a worker has finished is kept here."""
    (tmp_path / "ledger").mkdir()
    first = []
    for _ in range(2):
        node = Work(max_concurrency=4)
        node.folder = str(tmp_path / "ledger")
        flow = Flow(node)
        flow.run({"items": range(8)}, executor=on_cluster, journal=tmp_path / "runs.db", progress=False)
        first = first or flow.last_run.batch(node).df["worker"].tolist()
    assert len(entered(tmp_path / "ledger")) == 8
    journal = Journal(tmp_path / "runs.db")
    assert list(journal.runs["replayed"]) == [8, 0]
    assert journal[1].batch("Work").df["worker"].tolist() == first
    assert "worker" not in journal[2].batch("Work").df


PROGRAM = """
import sys
from distributed import Client, LocalCluster
from llmflow_nb import Flow
from llmflow_nb.dask import on
from tests.cluster.nodes import Work

class Report:
    def handle(self, event):
        if event.kind == "call_finished":
            print(event.value[0], flush=True)

if __name__ == "__main__":
    folder, journal = sys.argv[1:]
    work = Work(max_concurrency=8)
    work.folder, work.seconds = folder, 0.1
    address = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1", "silence_logs": 50}
    with LocalCluster(n_workers=2, threads_per_worker=2, **address) as cluster, Client(cluster) as client:
        options = {"executor": on(client), "subscribers": [Report()], "progress": False}
        Flow(work).run({"items": range(40)}, journal=journal, **options)
"""


def test_a_kernel_and_a_cluster_that_are_killed(on_cluster, tmp_path):
    """The journal has all that was reported: neither another process nor another cluster calls it again."""
    node = Work(max_concurrency=8)
    node.folder, node.seconds = str(tmp_path / "ledger"), 0.1
    (tmp_path / "ledger").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), node.folder, str(tmp_path / "first" / "runs.db")]
    (tmp_path / "first").mkdir()
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        reported = [process.stdout.readline() for _ in range(20)]
        os.killpg(process.pid, signal.SIGKILL)
        reported += process.stdout.readlines()
    finished = [line.strip() for line in reported]
    assert len(finished) < 40
    shutil.copytree(tmp_path / "first", tmp_path / "second")
    for folder, executor in (("first", None), ("second", on_cluster)):
        flow = Flow(node)
        flow.run({"items": range(40)}, executor=executor, journal=tmp_path / folder / "runs.db", progress=False)
        assert [item for item, _ in flow.last_run.batch("Work").results] == list(range(40))
        assert [entered(node.folder).count(item) for item in finished] == [1] * len(finished)


# ---- bad input -------------------------------------------------------------------------------------------------------


def test_on_needs_a_client(cluster, client):
    """And a sensible number of calls that travel together."""
    with pytest.raises(SettingError, match=r"it must be a distributed\.Client"):
        on("tcp://127.0.0.1:8786")

    async def connect():
        async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
            on(client)

    with pytest.raises(SettingError, match="not an asynchronous one"):
        asyncio.run(connect())
    for batch in (0, -1, 1.5, "all", True):
        with pytest.raises(SettingError, match=r"on\(batch="):
            on(client, batch=batch)


def test_workers_have_to_be_processes():
    """Unpickling a class where it was pickled would cut it off from edited globals."""
    with (
        Client(processes=False, n_workers=1, dashboard_address="127.0.0.1:0", set_as_default=False) as client,
        pytest.raises(SettingError, match="the workers are threads of this process"),
    ):
        on(client)


def test_the_client_has_to_be_connected(cluster):
    """An error at once, also if it was closed since."""
    client = Client(cluster, set_as_default=False)
    executor = on(client)
    client.close()
    with pytest.raises(ExecutorError, match="the cluster cannot be used"):
        on(client)
    with pytest.raises(ExecutorError, match="its client was closed"):
        run(Work(), executor, range(2))


def test_versions_that_differ(start_worker, tmp_path):
    """An error before anything is sent, which names the packages and where they are."""
    older = tmp_path / "older"
    for name in ("cloudpickle", "llmflow_nb"):
        (older / f"{name}-0.1.dist-info").mkdir(parents=True)
        (older / f"{name}-0.1.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n"
        )
    (tmp_path / "preload.py").write_text(
        "import distributed.versions as module\n"
        "def found(packages, true=module.get_package_info):\n"
        "    return true(packages) | {'python': '3.9.1.final.0'}\n"
        "module.get_package_info = found\n"
    )
    start_worker()
    start_worker("--preload", "preload.py", PYTHONPATH=os.pathsep.join([str(older), os.getcwd()]))
    with Client(scheduler_file=str(tmp_path / "scheduler.json"), set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        with pytest.raises(ExecutorError) as found:
            on(client)
    text = re.sub(r"\(here [^)]*\)", "(here)", re.sub(r"tcp:\S+", "tcp", str(found.value)))
    assert text == (
        "the cluster cannot be used: the worker tcp has Python 3.9 (here), llmflow_nb 0.1 (here), "
        "cloudpickle 0.1 (here); install the same versions everywhere."
    )


def test_without_dask():
    """The error says what to install."""
    code = "import sys; sys.modules['distributed'] = None\nfrom llmflow_nb.dask import on"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        'ImportError: Calls on a cluster need Dask: pip install "llmflow_nb[dask]".'
    )
