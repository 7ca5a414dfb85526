"""Messages that say what a user has probably forgotten."""

import pytest

from llmflow_nb import BatchFlow, BatchNode, Node, SignatureError
from tests.engine.helpers import items_node


@pytest.mark.parametrize("base", [BatchNode, BatchFlow])
def test_a_batch_that_forgot_its_return(base):
    """A batch whose ``prep`` returned None is empty, and the record asks about the ``return``."""

    class Forgetful(base):
        def prep(self, shared):
            list(shared)

    node = Forgetful() if base is BatchNode else Forgetful(Node())
    node.run({})
    (problem,) = node.last_run.problems
    assert "Forgetful: prep returned None" in problem
    assert "Is a return missing?" in problem


def test_shared_in_the_wrong_place():
    """An ``exec`` with ``shared`` behind the other argument is refused with its class, and told how to write it."""
    with pytest.raises(
        SignatureError, match=r"Swapped\.exec\(self, x, shared\) .*or def exec\(self, shared, prep_res\)"
    ):

        class Swapped(Node):
            def exec(self, x, shared):
                pass


def test_self_was_forgotten():
    """An ``exec`` without ``self`` is refused with its class, and told how to write it."""
    with pytest.raises(SignatureError, match=r"Selfless\.exec\(shared, x\) .*write def exec\(self, prep_res\) or def"):

        class Selfless(Node):
            def exec(shared, x):
                pass


def test_half_an_edge_says_what_is_missing():
    """The left half of an edge says that it is none yet, and what to write."""
    assert repr(Node(name="Draft") - "retry") == "<<Node 'Draft'> - 'retry', no edge yet: write >> target after it>"


def test_a_run_counts_its_failed_items():
    """The line that stands for a run says how many items failed."""

    def work(node, item):
        if item < 2:
            raise LookupError
        return item

    node = items_node("inline", work, on_error="keep")
    node.run({"items": range(5)})
    assert "2 failed items" in repr(node.last_run)
    node.run({"items": range(1, 5)})
    assert "1 failed item," in repr(node.last_run)
    node.run({"items": range(2, 5)})
    assert "failed" not in repr(node.last_run)
