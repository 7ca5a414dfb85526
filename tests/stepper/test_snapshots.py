"""Going back puts ``shared`` back exactly: values, types, order, and what is one object stays one."""

import array
import dataclasses
import enum
import gc
import socket
import threading
import tracemalloc
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pydantic
import pytest

from llmflow_nb import Flow, Node, RunStateError
from tests.stepper.helpers import Adds, at


@dataclasses.dataclass
class Point:
    x: int
    tags: list


@dataclasses.dataclass(frozen=True)
class Frozen:
    tags: list


@dataclasses.dataclass(slots=True)
class Slotted:
    tags: list


class Model(pydantic.BaseModel):
    tags: list[str]


class Plain:
    def __init__(self, items):
        self.items = items


Pair = namedtuple("Pair", "left right")


class Colour(enum.Enum):
    RED = 1


def changing(change):
    """A node whose ``post`` does that to ``shared``."""

    class Changes(Node):
        def post(self, shared, prep_res, exec_res):
            change(shared)

    return Changes(name="changes")


def there_and_back(shared, change, how="run"):
    """A stepper that has gone through a node that changes ``shared``, and is back before it."""
    stepper = Flow(changing(change)).stepper(shared)
    while not stepper.place.is_end:
        getattr(stepper, how)()
        assert stepper.error is None
    stepper.goto(0)
    return stepper


# ---- values that are changed in place --------------------------------------------------------------------------------

IN_PLACE = {
    "list": (lambda: [1, [2]], lambda v: v.append(3)),
    "list within a list": (lambda: [1, [2]], lambda v: v[1].append(3)),
    "list, sorted": (lambda: [3, 1, 2], lambda v: v.sort()),
    "list, an equal value of another type": (lambda: [1, 0], lambda v: v.__setitem__(0, True)),
    "list, one in place of an equal one": (lambda: [1], lambda v: v.__setitem__(0, 1.0)),
    "dict": (lambda: {"a": 1}, lambda v: v.update(b=2)),
    "dict within lists": (lambda: [[{"a": [1]}]], lambda v: v[0][0]["a"].append(2)),
    "dict, order of keys": (lambda: {"a": 1, "b": 2}, lambda v: v.update(a=v.pop("a"))),
    "set": (lambda: {1, 2}, lambda v: v.add(3)),
    "set in a dict": (lambda: {"a": {1}}, lambda v: v["a"].clear()),
    "deque": (lambda: deque([1, 2], maxlen=3), lambda v: v.extend([3, 4])),
    "defaultdict": (lambda: defaultdict(list, a=[1]), lambda v: v["b"].append(1)),
    "Counter": (lambda: Counter("aab"), lambda v: v.update("b")),
    "OrderedDict": (lambda: OrderedDict(a=1, b=2), lambda v: v.move_to_end("a")),
    "bytearray": (lambda: bytearray(b"ab"), lambda v: v.extend(b"c")),
    "array": (lambda: array.array("i", [1, 2]), lambda v: v.append(3)),
    "dataclass": (lambda: Point(1, ["a"]), lambda v: setattr(v, "x", 2)),
    "list in a dataclass": (lambda: Point(1, ["a"]), lambda v: v.tags.append("b")),
    "list in a frozen dataclass": (lambda: Frozen(["a"]), lambda v: v.tags.append("b")),
    "list in a dataclass with slots": (lambda: Slotted(["a"]), lambda v: v.tags.append("b")),
    "object": (lambda: Plain({"a": [1]}), lambda v: v.items["a"].append(2)),
    "new attribute of an object": (lambda: Plain([]), lambda v: setattr(v, "more", 1)),
    "namespace": (lambda: SimpleNamespace(a=[1]), lambda v: v.a.append(2)),
    "list in a pydantic model": (lambda: Model(tags=["a"]), lambda v: v.tags.append("b")),
    "list in a tuple": (lambda: ([1], 2), lambda v: v[0].append(2)),
    "list in a namedtuple": (lambda: Pair([1], 2), lambda v: v.left.append(2)),
    "array of numpy": (lambda: np.arange(6).reshape(2, 3), lambda v: v.__setitem__((0, 0), 99)),
    "array of objects": (lambda: np.array([[1], None], dtype=object), lambda v: v[0].append(2)),
    "masked array": (lambda: np.ma.array([1, 2], mask=[0, 1]), lambda v: v.__setitem__(0, 99)),
    "frame, a cell": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.__setitem__("a", [1, 3])),
    "frame, a cell by loc": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.loc.__setitem__((0, "a"), 9)),
    "frame, a new column": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.__setitem__("b", 1)),
    "frame, a column inserted": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.insert(0, "b", 1)),
    "frame, a new row": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: v.loc.__setitem__(9, 9)),
    "frame, a column taken out": (lambda: pd.DataFrame({"a": [1, 2], "b": 3}), lambda v: v.pop("a")),
    "frame, renamed columns": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: setattr(v, "columns", ["b"])),
    "frame, another index": (lambda: pd.DataFrame({"a": [1, 2]}), lambda v: setattr(v, "index", [5, 6])),
    "frame, name of the index": (lambda: pd.DataFrame({"a": [1]}), lambda v: setattr(v.index, "name", "key")),
    "frame, a list in a cell": (lambda: pd.DataFrame({"a": [[1], [2]]}), lambda v: v["a"][0].append(9)),
    "frame, attrs": (lambda: pd.DataFrame({"a": [1]}), lambda v: v.attrs.update(source="x")),
    "series": (lambda: pd.Series([1, 2], name="s"), lambda v: v.loc.__setitem__(0, 9)),
    "frame in a dict": (lambda: {"df": pd.DataFrame({"a": [1]})}, lambda v: v["df"].__setitem__("b", 2)),
}


def described(value):
    """All that can be told of a value, as text: types, order, what is within."""
    if isinstance(value, pd.DataFrame | pd.Series):
        head = value.index.name, value.attrs, str(getattr(value, "dtypes", ""))
        return f"{type(value).__name__}{head}{value.to_dict()!r}"
    if isinstance(value, dict):
        inside = [(described(k), described(v)) for k, v in value.items()]
    elif isinstance(value, list | tuple | deque):
        inside = [described(item) for item in value]
    elif isinstance(value, set | frozenset):
        inside = sorted(map(described, value))
    elif isinstance(value, np.ndarray):
        inside = [value.dtype, value.shape, value.tolist(), getattr(value, "mask", None)]
    elif isinstance(value, Plain | Point | Frozen | SimpleNamespace):
        inside = described(vars(value))
    else:
        inside = repr(value)
    return f"{type(value).__qualname__}({inside})"


@pytest.mark.parametrize("what", IN_PLACE)
@pytest.mark.parametrize("how", ["into", "over", "run"])
def test_what_was_changed_in_place_is_put_back(what, how):
    """The change is noticed, shown, and undone; going forward does it again, and back undoes it again."""
    make, change = IN_PLACE[what]
    shared = {"before": 0, "value": make(), "after": 1}
    then = described(shared)
    stepper = there_and_back(shared, lambda shared: change(shared["value"]), how)
    assert described(stepper.shared) == then
    assert stepper.shared is shared
    stepper.run()
    now = described(stepper.shared)
    assert now != then
    assert list(stepper.history["changed"]) == ["value"]
    for _ in range(2):
        stepper.goto(0)
        assert described(stepper.shared) == then
        stepper.rerun()
        assert described(stepper.shared) == now


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5,
        float("nan"),
        "text",
        b"",
        (1, "a"),
        frozenset("a"),
        date(2020, 1, 1),
        Colour.RED,
        range(3),
        len,
        int,
        Plain,
        np.float64(1.5),
        np.float32("nan"),
        np.bool_(True),
        np.datetime64("2020-01-01"),
    ],
    ids=repr,
)
def test_values_that_cannot_be_changed_stay_the_very_same(value):
    """And are not said to have changed."""
    stepper = there_and_back({"value": value}, lambda shared: None)
    assert stepper.shared["value"] is value
    stepper.run()
    assert list(stepper.history["changed"]) == ["no change"]


# ---- keys ------------------------------------------------------------------------------------------------------------

KEYS = {
    "added": lambda shared: shared.update(new=1),
    "deleted": lambda shared: shared.pop("b"),
    "deleted, and added again": lambda shared: shared.update(a=shared.pop("a")),
    "renamed": lambda shared: shared.update(d=shared.pop("a")),
    "all gone": lambda shared: shared.clear(),
    "no text": lambda shared: shared.update({1: 1, (2, "x"): 2, None: 3}),
    "None in place of a value": lambda shared: shared.update(a=None),
}


@pytest.mark.parametrize("what", KEYS)
def test_keys_come_back_in_their_order(what):
    """Whatever was done to the keys, going back restores them."""
    shared = {"a": [1], "b": 2, "c": 3}
    stepper = there_and_back(shared, KEYS[what])
    assert list(shared.items()) == [("a", [1]), ("b", 2), ("c", 3)]
    stepper.rerun()
    after = list(shared.items())
    stepper.goto(0)
    stepper.goto(1)
    assert list(shared.items()) == after


def test_a_change_of_order_alone_is_put_back():
    """Keys that were moved are where they were, though no value has changed."""
    shared = {"a": 1, "b": 2}
    stepper = there_and_back(shared, lambda shared: shared.update(a=shared.pop("a")))
    assert list(shared) == ["a", "b"]
    stepper.run()
    assert list(shared) == ["b", "a"]


def test_shared_that_is_no_dict():
    """The attributes of an object are restored, too."""

    class State:
        def __init__(self):
            self.items = [1]

    state = State()
    stepper = there_and_back(state, lambda shared: (shared.items.append(2), setattr(shared, "more", 3)))
    assert vars(state) == {"items": [1]}
    stepper.run()
    assert vars(state) == {"items": [1, 2], "more": 3}


def test_shared_that_holds_nothing_to_put_back():
    """None can be stepped with; an edit is refused with the reason."""
    stepper = Flow(Node(name="idle")).stepper(None)
    assert stepper.run().is_end
    stepper.goto(0)
    with pytest.raises(RunStateError, match="NoneType"):
        stepper.set("a", 1)


# ---- what is one object stays one ------------------------------------------------------------------------------------


@pytest.mark.parametrize("places", [1, 2, 3])
def test_what_prep_returned_of_shared_is_still_of_shared(places):
    """``prep`` returns ``shared["x"]`` itself: after going back, what post does to it is done to ``shared``."""

    class Hands(Node):
        def prep(self, shared):
            return shared["x"]

        def exec(self, x):
            return len(x)

        def post(self, shared, prep_res, exec_res):
            assert prep_res is shared["x"]
            prep_res.append(exec_res)

    shared = {"x": [7]}
    stepper = Flow(Hands()).stepper(shared)
    for n in range(3):
        for _ in range(3):
            stepper.into()
        assert stepper.error is None
        assert shared["x"] == [7, 1]
        stepper.back(places)
        assert shared["x"] == [7]
        stepper.set("edited", n)
        while not stepper.place.is_end:
            stepper.into()
        assert stepper.error is None
        assert shared == {"x": [7, 1], "edited": n}
        stepper.goto(0)


def test_one_object_under_two_keys_stays_one():
    """What is done to one is seen in the other, after going back, too."""
    both = [1]
    shared = {"a": both, "b": both}
    stepper = there_and_back(shared, lambda shared: shared["a"].append(2))
    assert shared == {"a": [1], "b": [1]}
    assert shared["a"] is shared["b"]
    stepper.rerun()
    assert shared == {"a": [1, 2], "b": [1, 2]}


def test_one_object_twice_within_a_key_stays_one():
    """Likewise within one value."""
    both = [1]
    shared = {"a": [both, both]}
    stepper = there_and_back(shared, lambda shared: shared["a"][0].append(2))
    assert shared["a"][0] is shared["a"][1]
    stepper.rerun()
    assert shared == {"a": [[1, 2], [1, 2]]}


def test_objects_that_have_not_changed_stay_the_very_same():
    """A reference from elsewhere is still the object in ``shared``."""
    kept, changed = {"big": [1]}, [1]
    shared = {"kept": kept, "changed": changed}
    there_and_back(shared, lambda shared: shared["changed"].append(2))
    assert shared["kept"] is kept
    assert shared["changed"] == [1]


def test_a_value_taken_out_and_put_in_again_is_the_very_same():
    """As long as it is as it was."""
    kept = [1]
    shared = {"kept": kept}
    there_and_back(shared, lambda shared: shared.pop("kept"))
    assert shared["kept"] is kept


def test_what_the_user_does_to_shared_does_not_reach_the_snapshots():
    """Nor what is done to what `diff` returns."""
    shared = {"a": [1]}
    stepper = there_and_back(shared, lambda shared: shared["a"].append(2))
    shared["a"].append("mine")
    stepper.goto(1)
    assert shared == {"a": [1, 2]}
    for values in stepper.diff(0, 1)["a"]:
        values.append("mine")
    stepper.goto(0)
    assert shared == {"a": [1]}
    stepper.goto(1)
    assert shared == {"a": [1, 2]}


# ---- what cannot be copied -------------------------------------------------------------------------------------------


class Client:
    """Has a lock in it, as clients do."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sent = []


def numbers():
    yield from range(3)


def opened():
    ours, theirs = socket.socketpair()
    theirs.close()
    return ours


UNCOPIABLE = {
    "lock": threading.Lock,
    "socket": opened,
    "generator": numbers,
    "object with a lock": Client,
    "object with a lock, in a list": lambda: [1, {"client": Client()}],
    "event": threading.Event,
    "iterator": lambda: iter([1, 2]),
}


@pytest.mark.parametrize("what", UNCOPIABLE)
def test_what_cannot_be_copied_is_kept_as_it_is(what):
    """The same object stays in ``shared``, and the other keys are restored."""
    value = UNCOPIABLE[what]()
    try:
        shared = {"value": value, "items": [1]}
        stepper = there_and_back(shared, lambda shared: shared["items"].append(2), "into")
        assert shared["value"] is value
        assert shared["items"] == [1]
        stepper.run()
        assert shared["value"] is value
        assert stepper.place.is_end
        stepper.goto(0)
        stepper.delete("value")
        stepper.back()
        assert shared["value"] is value
    finally:
        if isinstance(value, socket.socket):
            value.close()


def test_what_cannot_be_copied_within_a_value_leaves_the_rest_of_it():
    """Lists around a client are restored, with the same client in them."""
    client = Client()
    shared = {"tools": [client, ["a"]]}
    there_and_back(shared, lambda shared: shared["tools"][1].append("b"))
    assert shared["tools"][1] == ["a"]
    assert shared["tools"][0] is client


def test_what_cannot_be_put_back_is_marked():
    """The stepper says which keys going back does not restore."""
    shared = {"client": Client(), "items": [1]}
    stepper = there_and_back(shared, lambda shared: shared["client"].sent.append("hello"))
    assert shared["client"].sent == ["hello"]
    assert any("client" in note and "Client" in note for note in stepper.notes)


class Rude:
    """Raises at whatever is asked of it."""

    def __init__(self, *names):
        object.__setattr__(self, "items", [1])
        for name in names:
            assert hasattr(type(self), name)

    def __repr__(self):
        raise RuntimeError("no repr")

    def __eq__(self, other):
        raise RuntimeError("no eq")

    def __bool__(self):
        raise RuntimeError("no bool")

    def __len__(self):
        raise RuntimeError("no len")

    __hash__ = None


class RudeCopy(Rude):
    def __deepcopy__(self, memo):
        raise RuntimeError("no copy")


class RudeAttributes(Rude):
    def __getattr__(self, name):
        raise RuntimeError(f"no {name}")


class RudeSlots:
    __slots__ = ("items",)

    def __init__(self):
        self.items = [1]

    def __repr__(self):
        raise RuntimeError("no repr")

    def __eq__(self, other):
        raise RuntimeError("no eq")

    __hash__ = None


@pytest.mark.parametrize("cls", [Rude, RudeCopy, RudeAttributes, RudeSlots])
def test_objects_that_raise_do_no_harm(cls):
    """No method of the user is called, other keys are restored, and nothing raises."""
    shared = {"rude": cls(), "items": [1]}
    stepper = there_and_back(shared, lambda shared: shared["items"].append(2), "into")
    assert shared["items"] == [1]
    assert stepper.error is None
    stepper.run()
    assert stepper.place.is_end
    assert repr(stepper)
    assert stepper.tree
    assert len(stepper.history) == 1


def test_objects_that_raise_as_inputs_and_results():
    """Likewise where hooks hand them on."""

    class Hands(Node):
        def prep(self, shared):
            return shared["rude"]

        def exec(self, rude):
            return [RudeCopy()]

        def post(self, shared, prep_res, exec_res):
            shared["got"] = exec_res

    stepper = Flow(Hands()).stepper({"rude": Rude()})
    stepper.run()
    stepper.goto(0)
    stepper.rerun()
    assert stepper.error is None
    assert stepper.place.is_end


def test_values_that_hold_themselves():
    """Cycles are restored as cycles."""
    value = [1]
    value.append(value)
    tree = {"children": []}
    tree["children"].append({"parent": tree})
    shared = {"value": value, "tree": tree}
    stepper = there_and_back(shared, lambda shared: (shared["value"].append(2), shared["tree"]["children"].append(3)))
    assert len(shared["value"]) == 2
    assert shared["value"][1] is shared["value"]
    assert len(shared["tree"]["children"]) == 1
    assert shared["tree"]["children"][0]["parent"] is shared["tree"]
    stepper.rerun()
    assert (len(shared["value"]), len(shared["tree"]["children"])) == (3, 2)


def test_shared_that_holds_itself():
    """A key of ``shared`` may be ``shared``."""
    shared = {"items": [1]}
    shared["self"] = shared
    there_and_back(shared, lambda shared: shared["items"].append(2))
    assert shared["items"] == [1]
    assert shared["self"] is shared


def test_values_that_are_nested_very_deeply():
    """A value deeper than Python's stack raises no error, and other keys are restored."""
    deep = []
    for _ in range(50_000):
        deep = [deep]
    shared = {"deep": deep, "items": [1]}
    stepper = there_and_back(shared, lambda shared: shared["items"].append(2))
    assert shared["items"] == [1]
    assert stepper.run().is_end


def test_nodes_and_flows_in_shared_stay_themselves():
    """They are never copied."""
    node = Node(name="other")
    shared = {"node": node, "list": [node]}
    there_and_back(shared, lambda shared: shared["list"].append(1))
    assert shared["node"] is node
    assert shared["list"] == [node]


# ---- room ------------------------------------------------------------------------------------------------------------

MB = 1_000_000


def hundred():
    """A loop of a hundred visits."""

    class Again(Adds):
        def post(self, shared, prep_res, exec_res):
            super().post(shared, prep_res, exec_res)
            return "again" if shared["n"] < 100 else "done"

    node = Again("again")
    node - "again" >> node
    node - "done" >> Node(name="last")
    return Flow(node)


def test_a_large_frame_is_not_kept_for_each_step():
    """A hundred steps with 200 MB in ``shared`` take less than a tenth of that on top; and back it is the very same."""
    big = pd.DataFrame({f"c{n}": np.arange(2_500_000) for n in range(10)})
    assert big.memory_usage().sum() >= 200 * MB
    shared = {"n": 0, "big": big}
    tracemalloc.start()
    try:
        stepper = hundred().stepper(shared)
        stepper.run()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert shared["n"] == 100
    assert max(held, peak) < 20 * MB
    stepper.goto(0)
    assert shared["big"] is big
    assert shared["n"] == 0


def test_a_new_column_on_a_large_frame_costs_that_column():
    """The others are not copied with it."""
    big = pd.DataFrame({f"c{n}": np.arange(1_000_000) for n in range(10)})
    tracemalloc.start()
    try:
        stepper = Flow(changing(lambda shared: shared["big"].__setitem__("new", 1))).stepper({"big": big})
        stepper.run()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max(held, peak) < 40 * MB
    stepper.goto(0)
    assert "new" not in stepper.shared["big"].columns


def test_values_that_have_not_changed_are_kept_once():
    """A hundred steps beside 10 MB of lists take no more than two copies."""
    texts = [str(n) * 10 for n in range(100_000)]
    tracemalloc.start()
    try:
        stepper = hundred().stepper({"n": 0, "texts": texts})
        stepper.run()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4 * MB


def test_what_hooks_return_counts_for_the_budget():
    """With `into`, what ``prep`` returned is kept at each place, and not for more bytes than may be."""

    class Reads(Node):
        def prep(self, shared):
            return shared["data"]

        def exec(self, data):
            return len(data)

        def post(self, shared, prep_res, exec_res):
            shared["n"] += 1
            return "again" if shared["n"] < 20 else "done"

    node = Reads(name="reads")
    node - "again" >> node
    node - "done" >> Node(name="last")
    tracemalloc.start()
    try:
        stepper = Flow(node).stepper({"n": 0, "data": [bytearray(100_000)]}, max_bytes=MB)
        while not stepper.place.is_end:
            stepper.into()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * MB


class Grows(Node):
    """Puts another 100 kB into ``shared["data"]`` at each visit."""

    def post(self, shared, prep_res, exec_res):
        shared["visits"] += 1
        shared["data"] = bytearray([shared["visits"]]) * 100_000
        return "again" if shared["visits"] < 30 else "done"


def growing():
    node = Grows(name="grows")
    node - "again" >> node
    node - "done" >> Node(name="last")
    return Flow(node)


def test_a_small_budget_evicts_the_oldest_places():
    """The tree says which, `goto` says why, and the rest works."""
    stepper = growing().stepper({"visits": 0, "data": b""}, max_bytes=MB)
    stepper.run()
    assert stepper.shared["visits"] == 30
    lines = stepper.tree.splitlines()
    gone = [n for n, line in enumerate(lines) if "evicted" in line]
    assert gone == list(range(len(gone)))
    assert 15 <= len(gone) <= 25
    with pytest.raises(RunStateError, match=r"place 0 was evicted.*stepper\(max_bytes=\)"):
        stepper.goto(0)
    assert stepper.place.is_end
    first = len(gone)
    stepper.goto(first)
    assert stepper.shared["visits"] == first
    assert stepper.shared["data"] == bytearray([first]) * 100_000
    stepper.set("edited", True)
    assert stepper.run().is_end
    assert stepper.shared["visits"] == 30
    assert len(stepper.history) == 31


class Blob:
    """A value that the garbage collector can count."""

    def __init__(self, n):
        self.data = [n] * 10_000


class MakesBlobs(Node):
    def post(self, shared, prep_res, exec_res):
        shared["n"] += 1
        shared["blob"] = Blob(shared["n"])
        return "again" if shared["n"] < 40 else "done"


def test_evicted_places_take_no_memory():
    """The copies of ``shared`` that only evicted places used are discarded."""
    node = MakesBlobs()
    node - "again" >> node
    node - "done" >> Node(name="last")
    stepper = Flow(node).stepper({"n": 0}, max_bytes=MB // 2)
    while not stepper.over().is_end:
        pass
    gc.collect()
    assert 2 <= sum(type(found) is Blob for found in gc.get_objects()) <= 20
    with pytest.raises(RunStateError, match="place 1 was evicted"):
        stepper.diff(1)
    stepper.back(2)
    assert (stepper.shared["n"], stepper.shared["blob"].data) == (39, [39] * 10_000)


def test_going_back_to_evicted_places_says_so():
    """And stays where it is."""
    stepper = growing().stepper({"visits": 0, "data": b""}, max_bytes=MB)
    stepper.run()
    with pytest.raises(RunStateError, match="was evicted"):
        stepper.back(30)
    assert stepper.place.is_end
    assert at(stepper.back()) == ("last", "before prep")


def test_one_value_beyond_the_budget_still_leaves_this_place():
    """With any budget, the stepper continues, and can go to its current place."""
    stepper = growing().stepper({"visits": 0, "data": b""}, max_bytes=0)
    assert stepper.run().is_end
    stepper.set("edited", True)
    assert stepper.shared["visits"] == 30


def test_a_failure_with_a_small_budget_still_comes_back_to_before():
    """The place that a step starts from is not evicted while the step runs."""

    class Fails(Grows):
        def post(self, shared, prep_res, exec_res):
            super().post(shared, prep_res, exec_res)
            raise LookupError("no")

    stepper = Flow(Fails(name="fails")).stepper({"visits": 0, "data": b""}, max_bytes=0)
    stepper.run()
    assert isinstance(stepper.error, LookupError)
    assert stepper.shared == {"visits": 0, "data": b""}


@pytest.mark.parametrize("budget", [-1, "1", None])
def test_a_budget_that_makes_no_sense_is_refused(budget):
    """It is a number of bytes."""
    with pytest.raises((ValueError, TypeError)):
        growing().stepper({"visits": 0, "data": b""}, max_bytes=budget)
