"""Deep copies and pickles of flows of any length, with all that the nodes share."""

import copy
import itertools
import pickle
from dataclasses import dataclass

import pytest

from llmflow_nb import BatchFlow, Flow, Limiter, Node

WAYS = [
    pytest.param(copy.deepcopy, id="deepcopy"),
    *(pytest.param(lambda value, p=p: pickle.loads(pickle.dumps(value, p)), id=f"pickle {p}") for p in (2, 4, 5)),
    pytest.param(lambda value: pickle._loads(pickle._dumps(value)), id="pickle in Python"),
]

pytestmark = pytest.mark.parametrize("twin", WAYS)


class Step(Node):
    """Adds its number to the list."""

    def __init__(self, number=0, **settings):
        super().__init__(**settings)
        self.number = number

    def post(self, shared, prep_res, exec_res):
        shared.append(self.number)


class Client(Step):
    """Leaves its client out of a pickle, and makes it anew."""

    def __init__(self, number):
        super().__init__(number)
        self.client = lambda: None

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "client"}

    def __setstate__(self, state):
        self.__dict__ = state
        self.client = "made anew"


class Slots(Step):
    __slots__ = ("extra",)


class Rebuilt(Step):
    """Is pickled by its own ``__reduce__``."""

    def __reduce__(self):
        return Rebuilt, (self.number,)


@dataclass(slots=True, frozen=True)
class Frozen(Node):
    number: int = 0

    def post(self, shared, prep_res, exec_res):
        shared.append(self.number)


class Sets(BatchFlow):
    def prep(self, shared):
        return [{"n": 0}, {"n": 1}]


def chain(steps):
    """A flow of these steps in a row."""
    for a, b in itertools.pairwise(steps):
        a >> b
    return Flow(steps[0], max_steps=None)


def test_long_chain(twin):
    """A flow of thousands of nodes is copied whole, also after a run."""
    flow = chain([Step(n) for n in range(2000)])
    flow.run([])
    other, shared = twin(flow), []
    other.run(shared)
    assert shared == list(range(2000))
    assert other.start_node is not flow.start_node


def test_long_nesting(twin):
    """So are flows within flows."""
    flow = Flow(Step(1))
    for _ in range(400):
        flow = Flow(flow)
    shared = []
    twin(flow).run(shared)
    assert shared == [1]


def test_cycle(twin):
    """A loop leads back to the copy, and not to the original."""
    a, b = Step(1), Step(2)
    a >> b
    b - "again" >> a
    other = twin(Flow(a))
    first = other.start_node
    assert first.successors["default"].successors["again"] is first
    assert first is not a
    assert twin(b).successors["again"].successors["default"].number == 2


def test_every_kind_of_class(twin):
    """What a class does for its own pickling counts; edges are kept whatever it returns."""
    slots = Slots(2)
    slots.extra = [3]
    other, shared = twin(chain([Client(1), slots, Rebuilt(4), Frozen(5), Client(6)])), []
    other.run(shared)
    assert shared == [1, 2, 4, 5, 6]
    client = other.start_node
    assert client.client == "made anew"
    assert client.successors["default"].extra == [3]


def test_what_nodes_share_stays_shared(twin):
    """An attribute of several nodes is one object in the copy, and a node in an attribute is the node of the flow."""
    notes, (a, b) = [], (Step(1), Step(2))
    a.notes = b.notes = notes
    a.partner = b
    flow = Sets(chain([a, b]))
    other = twin(flow)
    first = other.start_node.start_node
    second = first.successors["default"]
    assert first.notes is second.notes is not notes
    assert first.partner is second
    both = twin([b, flow])
    assert both[1].start_node.start_node.successors["default"] is both[0]


def test_end_on_purpose_and_last_run(twin):
    """An edge to None stays one, and the record of the latest run is left out."""
    a = Step(1)
    a >> None
    flow = Flow(a)
    flow.run([])
    other = twin(flow)
    assert other.start_node.successors == {"default": None}
    assert other.last_run is None
    assert flow.last_run is not None


def test_limiter(twin):
    """Nodes that share a limiter share it with their deep copies; it refuses to be pickled."""
    limiter = Limiter(2)
    if twin is not copy.deepcopy:
        with pytest.raises(TypeError, match="Limiter cannot be copied"):
            twin(Step(1, limiter=limiter))
        return
    other = twin(chain([Step(1, limiter=limiter), Step(2, limiter=limiter)]))
    first = other.start_node
    assert first.limiter is first.successors["default"].limiter is limiter


def test_after_a_pickle_that_failed(twin):
    """A copy that failed leaves nothing behind: the next one has the edges as they are then."""
    a, b, c = Step(1), Step(2), Step(3)
    a >> b
    b.client = (n for n in ())
    with pytest.raises(TypeError, match="generator") as failed:
        twin(a)
    del b.client
    b >> c
    assert twin(a).successors["default"].successors["default"].number == 3
    assert failed.value is not None
