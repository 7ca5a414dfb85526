"""A process that is killed, and the same program run again: nothing that was reported finished is called again."""

import subprocess
import sys
import time

import pytest

from llmflow_nb import Journal
from tests.engine.kernel import running_kernel
from tests.journal.helpers import PROGRAM, lines, run, start


def killed(*arguments):
    """Run ``benchmarks.kills``, which says in its last line what was called twice."""
    command = [sys.executable, "-m", "benchmarks.kills", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_kills_at_random():
    """Random flows that are killed anywhere, until they are done: each kill costs at most the calls in progress."""
    assert "; 0 faults" in killed("--kills", 15)


@pytest.mark.parametrize("limit", [1, 4])
def test_interrupts_at_any_line(limit):
    """What was reported finished is in the file, wherever the interrupt came."""
    assert "60 kills" in killed("--interrupts", 60, "--limit", limit)


def test_a_kill_inside_of_a_call(tmp_path):
    """The call that was in progress is known as unanswered: it may have been billed."""
    process = start(
        """
        class Dies(Label):
            def exec(self, x):
                if x == 5:
                    os._exit(9)
                return super().exec(x)
        Flow(start=Dies(), name="labels").run(shared, journal="runs.db", progress=False)
        """,
        tmp_path,
    )
    process.communicate()
    assert process.returncode == 9
    [row] = Journal(tmp_path / "runs.db").runs.itertuples()
    assert (row.status, row.called, row.unanswered, row.failed) == ("killed", 6, 1, 0)


def test_another_hash_seed_finds_everything(tmp_path):
    """A new process has another order of sets."""
    text = """
    class Sets(BatchNode):
        def prep(self, shared):
            return [{"a", "b", "c", str(n)} for n in range(20)]
        def exec(self, words):
            entry("ledger", len(words))
            return words | ({"x", "y"} if "a" in {"a", "b"} else set())
    Flow(start=Sets()).run({}, journal="runs.db", progress=False)
    """
    for seed in ("7", "0", "1", "random"):
        run(text, tmp_path, PYTHONHASHSEED=seed)
    assert len(lines(tmp_path / "ledger")) == 20


def test_a_kernel_that_is_killed(tmp_path):
    """The same cells in a new kernel call nothing again that was reported finished, and give the whole table."""
    cell = 'flow.run(shared, journal="runs.db", progress=False, subscribers=[Ends()])'
    with running_kernel(tmp_path, PROGRAM) as kernel:
        kernel.client.execute(cell)
        until = time.monotonic() + 60
        while len(lines(tmp_path / "finished")) < 200 and time.monotonic() < until:
            time.sleep(0.01)
    # It was ended by SIGKILL.
    finished, before = set(lines(tmp_path / "finished")), len(lines(tmp_path / "ledger"))
    assert 200 <= len(finished) < 400
    with running_kernel(tmp_path, PROGRAM) as kernel:
        kernel.run(cell)
        found = kernel.run("len(flow.last_run.batch('Label').ok), shared['labels'][399]['label']")
        assert found == "(400, 'label 399')"
    made = lines(tmp_path / "ledger")
    assert set(made[before:]) & finished == set()
    assert len(made) <= 408
