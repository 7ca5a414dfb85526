"""Displays of a run in a real kernel: what is drawn again in cells that have ended."""

import pytest

from tests.engine.kernel import running_kernel

SETUP = """
from llmflow_nb import BatchNode

class Ask(BatchNode):
    answers = False

    def prep(self, shared):
        return range(4)

    def exec(self, item):
        if item == 2 and not Ask.answers:
            raise ValueError("busy")
        return item
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with running_kernel(tmp_path_factory.mktemp("kernel"), SETUP) as kernel:
        yield kernel


@pytest.mark.parametrize("shown_by", ["node.run({}, progress=True)", "job = node.submit({}); job.wait(); job"])
def test_a_retry_draws_every_display_of_the_run_again(kernel, shown_by):
    """Progress of a run, and what its handle shows, say the new state once the failed rows were called again."""
    kernel.run("Ask.answers = False; node = Ask(on_error='keep')")
    shown = kernel.displays(shown_by)
    assert shown[-1][0] == "new" or shown[-1][1] in {id for how, id, _ in shown if how == "new"}
    assert "1 failed" in shown[-1][2]

    again = kernel.displays("Ask.answers = True; node.last_run.batch(node).retry_failed()")
    updates = [html for how, id, html in again if (how, id) == ("update", shown[-1][1])]
    assert "4/4 items" in updates[-1]
    assert "failed" not in updates[-1].rpartition("</style>")[2]
