"""A visit gets a shallow copy of its node, whatever kind of class the node has."""

import copy
import pickle
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import pytest

from llmflow_nb import BatchNode, Flow, Node


class Count(Node):
    """Counts its visits in an attribute of its own, and in a list that copies share."""

    def __init__(self):
        super().__init__()
        self.rebound = 0
        self.mutated = []

    def prep(self, shared):
        self.rebound += 1
        self.mutated.append(len(self.mutated))

    def post(self, shared, prep_res, exec_res):
        shared.append((self.rebound, len(self.mutated)))
        return "again" if len(shared) < 3 else None


def test_hooks_of_a_visit_share_an_object():
    """prep, exec and post of one visit see the same ``self``, which is not the user's object."""
    seen = []

    class Same(Node):
        def prep(self, shared):
            self.x = 1
            seen.append(self)

        def exec(self, prep_res):
            seen.append(self)
            raise ValueError

        def exec_fallback(self, prep_res, exc):
            seen.append(self)

        def post(self, shared, prep_res, exec_res):
            seen.append(self)
            assert self.x == 1

    node = Same()
    Flow(start=node).run({})
    assert len({id(each) for each in seen}) == 1
    assert seen[0] is not node
    assert not hasattr(node, "x")


def test_rebinding_is_lost_and_mutation_is_shared():
    """An attribute that is set anew is gone at the next visit; a list that is appended to is the same list."""
    node = Count()
    node - "again" >> node
    node >> Node()
    shared = []
    Flow(start=node).run(shared)
    assert shared == [(1, 1), (1, 2), (1, 3)]
    assert node.rebound == 0
    assert len(node.mutated) == 3


def test_run_of_a_node_uses_the_object():
    """``node.run`` uses the object itself, so that what its hooks set can be looked at."""
    node = Count()
    node.run([])
    assert node.rebound == 1


def test_flow_run_uses_the_object():
    """``flow.run`` uses the flow itself for its own hooks."""

    class Mine(Flow):
        def prep(self, shared):
            self.seen = True

    flow = Mine(start=Node())
    flow.run({})
    assert flow.seen


def test_inner_flow_is_copied():
    """A flow that is a step of another one is copied as any node is."""

    class Mine(Flow):
        def prep(self, shared):
            self.seen = True

    inner = Mine(start=Node())
    Flow(start=inner).run({})
    assert not hasattr(inner, "seen")


# ---- unusual classes -------------------------------------------------------------------------------------------------


class Slotted(Node):
    __slots__ = ("extra",)

    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def post(self, shared, prep_res, exec_res):
        shared.append(self.extra)
        self.extra = "changed"


class OwnCopy(Node):
    copies = 0

    def __copy__(self):
        OwnCopy.copies += 1
        twin = OwnCopy()
        twin.__dict__.update(self.__dict__, mark="copied")
        return twin

    def post(self, shared, prep_res, exec_res):
        shared.append(self.mark)


class OwnState(Node):
    def __init__(self):
        super().__init__()
        self.connection = "open"

    def __getstate__(self):
        state = self.__dict__.copy()
        state["connection"] = "not pickled"
        return state

    def post(self, shared, prep_res, exec_res):
        shared.append(self.connection)


class OwnSetattr(Node):
    def __setattr__(self, name, value):
        object.__setattr__(self, name, value)
        object.__setattr__(self, "last_set", name)

    def post(self, shared, prep_res, exec_res):
        self.x = 1
        shared.append(self.last_set)


class OwnNew(Node):
    def __new__(cls, *args, **kwargs):
        node = super().__new__(cls)
        node.made = "by new"
        return node

    def post(self, shared, prep_res, exec_res):
        shared.append(self.made)


@dataclass
class Data(Node):
    """A dataclass: compares by value and has no hash."""

    text: str = "data"
    items: list = field(default_factory=list)

    def post(self, shared, prep_res, exec_res):
        shared.append(self.text)


@dataclass(slots=True)
class SlottedData(Node):
    text: str = "slotted data"

    def post(self, shared, prep_res, exec_res):
        shared.append(self.text)


@dataclass(frozen=True)
class FrozenData(Node):
    text: str = "frozen data"

    def post(self, shared, prep_res, exec_res):
        shared.append(self.text)


class Typed(Node, Generic[TypeVar("T")]):
    def post(self, shared, prep_res, exec_res):
        shared.append("generic")


class Abstract(Node, ABC):
    @abstractmethod
    def exec(self, prep_res): ...


class Concrete(Abstract):
    def exec(self, prep_res):
        return "concrete"

    def post(self, shared, prep_res, exec_res):
        shared.append(exec_res)


class Falsy(Node):
    def __bool__(self):
        return False

    def post(self, shared, prep_res, exec_res):
        shared.append("falsy")


class Empty(Node):
    def __len__(self):
        return 0

    def post(self, shared, prep_res, exec_res):
        shared.append("empty")


class EqualToAll(Node):
    def __eq__(self, other):
        return True

    __hash__ = None

    def post(self, shared, prep_res, exec_res):
        shared.append("equal")


class EqualIsAnError(Node):
    def __eq__(self, other):
        raise RuntimeError("compared")

    __hash__ = None

    def post(self, shared, prep_res, exec_res):
        shared.append("not compared")


class GetattrForAll(Node):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return f"made up {name}"

    def post(self, shared, prep_res, exec_res):
        shared.append("getattr")


class NoSuper(Node):
    def __init__(self, text):
        self.text = text

    def post(self, shared, prep_res, exec_res):
        shared.append((self.text, dict(self.params)))


class Property(Node):
    @property
    def name(self):
        return "by property"

    def post(self, shared, prep_res, exec_res):
        shared.append(self.name)


UNUSUAL = [
    (lambda: Slotted("slot"), "slot"),
    (OwnCopy, "copied"),
    (OwnState, "open"),
    (OwnSetattr, "x"),
    (OwnNew, "by new"),
    (Data, "data"),
    (SlottedData, "slotted data"),
    (FrozenData, "frozen data"),
    (lambda: Typed[int](), "generic"),
    (Concrete, "concrete"),
    (Falsy, "falsy"),
    (Empty, "empty"),
    (EqualToAll, "equal"),
    (EqualIsAnError, "not compared"),
    (GetattrForAll, "getattr"),
    (lambda: NoSuper("no super"), ("no super", {})),
    (Property, "by property"),
]
IDS = [
    "slots",
    "copy",
    "getstate",
    "setattr",
    "new",
    "dataclass",
    "slotted_dataclass",
    "frozen_dataclass",
    "generic",
    "abstract",
    "bool",
    "len",
    "eq",
    "eq_raises",
    "getattr",
    "no_super",
    "property",
]


@pytest.mark.parametrize(("make", "said"), UNUSUAL, ids=IDS)
def test_unusual_node_in_a_flow(make, said):
    """Nodes of unusual classes run wherever a node may stand: at the start, between, in a nested flow, in a loop."""

    class Times(Node):
        def post(self, shared, prep_res, exec_res):
            return "again" if len(shared) < 3 else None

    start, between, loop = make(), make(), Times()
    start >> Flow(start=between) >> loop
    loop - "again" >> between
    loop >> Node()
    between >> Node()
    shared = []
    Flow(start=start).run(shared)
    assert shared == [said] * 3


@pytest.mark.parametrize(("make", "said"), UNUSUAL, ids=IDS)
def test_unusual_node_is_not_changed(make, said):
    """The user's object is the same after the run as before it."""
    node = make()
    slots = {name: getattr(node, name) for cls in type(node).__mro__ for name in cls.__dict__.get("__slots__", ())}
    before = {k: copy.copy(v) for k, v in node.__dict__.items()}
    Flow(start=node).run([])
    assert {k: v for k, v in node.__dict__.items() if k != "last_run"} == before
    assert all(getattr(node, name) == value for name, value in slots.items())


@pytest.mark.parametrize("make", [Falsy, Empty, EqualToAll, EqualIsAnError], ids=lambda cls: cls.__name__)
def test_weird_truth_and_equality(make):
    """A node with an odd truth value or equality is told from its neighbours, also in the record."""
    a, b = make(), make()
    a >> b
    flow, shared = Flow(start=a), []
    flow.run(shared)
    assert len(shared) == 2
    assert [visit.path for visit in flow.last_run.visits[:2]] == [f"Flow/{make.__name__}", f"Flow/{make.__name__}#2"]


def test_weird_batch_node():
    """A batch node that is empty and equal to all runs over its items, and its record is found."""

    class Odd(BatchNode):
        def __len__(self):
            return 0

        def __eq__(self, other):
            return True

        __hash__ = None

        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            return item * 2

    node, other = Odd(), Odd()
    other >> node
    flow = Flow(start=other)
    flow.run({})
    assert flow.last_run.batch(node).results == [2, 4]


def test_no_super_init_with_a_batch():
    """A BatchNode that forgets ``super().__init__()`` has the defaults of all settings, and can be wired."""

    class Forgets(BatchNode):
        def __init__(self):
            pass

        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            return item

        def post(self, shared, items, results):
            shared.extend(results)

    node, shared = Forgets(), []
    node >> Node()
    Flow(start=node).run(shared)
    assert shared == [1, 2]
    assert node.max_retries == 1


def test_no_super_init_of_a_flow():
    """A Flow that forgets ``super().__init__()`` may still get its start."""

    class Forgets(Flow):
        def __init__(self):
            pass

    flow, shared = Forgets(), []
    flow.start(NoSuper("x"))
    flow.run(shared)
    assert shared == [("x", {})]


def test_attribute_that_cannot_be_copied_is_shared():
    """A lock, a client or a generator in an attribute is no hindrance: the copy is shallow."""

    class Holds(Node):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()
            self.numbers = (n for n in (1, 2))

        def prep(self, shared):
            with self.lock:
                shared.append(next(self.numbers))

    node, shared = Holds(), []
    flow = Flow(start=node)
    flow.run(shared)
    flow.run(shared)
    assert shared == [1, 2]


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda flow: pickle.loads(pickle.dumps(flow))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("after_a_run", [False, True], ids=["fresh", "after a run"])
def test_flow_can_be_copied_whole(twin, after_a_run):
    """A deep copy or a pickle of a flow is a flow of its own, wired alike, also after a run."""
    first = Count()
    first - "again" >> Concrete()
    flow = Flow(start=first)
    if after_a_run:
        flow.run([])
    other, shared = twin(flow), []
    other.run(shared)
    assert shared[1:] == ["concrete"]
    assert other.start_node is not first
    assert first.mutated == [0] * after_a_run


class Client(Node):
    """Leaves its client out of a pickle."""

    def __init__(self):
        super().__init__()
        self.client = "open"

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "client"}

    def exec(self, prep_res):
        return self.client

    def post(self, shared, prep_res, exec_res):
        shared.append(exec_res)


class ClientInSlot(Client):
    """The same with a slot beside, and a ``__reduce__``."""

    __slots__ = ("extra",)

    def __reduce__(self):
        raise TypeError("not to be pickled")


@pytest.mark.parametrize("cls", [Client, ClientInSlot])
def test_pickling_does_not_decide_the_copy(cls):
    """What ``__getstate__`` leaves out of a pickle is there in the copy of a visit, when stepping, and in a retry."""
    flow, shared = Flow(cls()), []
    flow.run(shared)
    stepper = flow.stepper(shared)
    stepper.into()
    stepper.back()
    stepper.run()
    assert stepper.error is None
    assert copy.copy(flow.start_node).client == "open"

    class Many(BatchNode):
        def __init__(self, **settings):
            super().__init__(**settings)
            self.client = "open"

        __getstate__ = Client.__getstate__

        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            if item == 2 and "fail" in shared:
                raise ValueError("no")
            return self.client

    many = Many(on_error="keep")
    shared.append("fail")
    many.run(shared)
    shared.remove("fail")
    assert many.last_run.batch(many).retry_failed().results == ["open", "open"]
