"""Copies of nodes with a record, and of positions."""

import copy
import pickle
import threading

import pytest

from llmflow_nb import BatchNode, Flow, Node, Run
from llmflow_nb.engine.checkpoint import Checkpoint
from llmflow_nb.engine.drivers.sync import drive
from llmflow_nb.engine.position import AFTER_PREP, ALL, BOUNDARY, Position
from llmflow_nb.engine.setup import Setup


class Locks(BatchNode):
    """Importable by name, with results that can be neither copied nor pickled."""

    def prep(self, shared):
        return range(2)

    def exec(self, item):
        return threading.Lock()


@pytest.mark.parametrize(
    "twin_of", [copy.deepcopy, lambda node: pickle.loads(pickle.dumps(node))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("make", [Locks, lambda: Flow(Locks())], ids=["node", "flow"])
def test_a_copy_leaves_the_record_behind(twin_of, make):
    """A copy of a node that has run comes without its record, which may hold what cannot be copied."""
    node = make()
    node.run({})
    twin = twin_of(node)
    assert twin.last_run is None
    assert node.last_run.status == "ok"
    twin.run({})
    assert twin.last_run.status == "ok"


class Slotted(Node):
    """Keeps what it sets in a slot."""

    __slots__ = ("seen",)

    def prep(self, shared):
        self.seen = "in prep"

    def exec(self, prep_res):
        return self.seen


class CopiesItself(Node):
    """Says itself how it is copied."""

    copies = 0

    def __copy__(self):
        type(self).copies += 1
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    prep, exec = Slotted.prep, Slotted.exec


@pytest.mark.parametrize("cls", [Slotted, CopiesItself])
@pytest.mark.parametrize("mask", [AFTER_PREP, ALL])
def test_a_copied_position_keeps_what_a_visit_has_set(cls, mask):
    """From a copy of a position, and from the original, a visit goes on with what its ``prep`` has set on it."""
    flow = Flow(cls())
    setup = Setup(Run(flow)._recorder, concurrent=False)
    position = Position.at_start(flow, {}, setup)
    copies = []
    while drive(position, setup, mask) == BOUNDARY:
        copies.append(Checkpoint(position).restore(setup, position.shared, copies=True))
    assert position.result == "in prep"
    for twin in copies:
        drive(twin, setup)
        assert twin.result == "in prep"
