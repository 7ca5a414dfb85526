"""`BatchResult` as a sequence, and how `Run.batch` finds it."""

import subprocess
import sys
import textwrap

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowError, Node, RowError
from tests.engine.helpers import MODES, SIDE_BY_SIDE, Items, go, items_node


def refuse_bad(item):
    if item == "bad":
        raise LookupError(f"no {item}")
    return item.upper()


def mapped(items, work=refuse_bad, **settings):
    """The record of a batch node over these items."""
    node = items_node("inline", lambda node, item: work(item), name="Map", **settings)
    node.run({"items": items})
    return node.last_run.batch(node)


class Sets(BatchFlow):
    """Walks over ``shared["sets"]``."""

    def prep(self, shared):
        return shared["sets"]


class Letters(Node):
    """Gives back its params."""

    def exec(self, prep_res):
        return dict(self.params)


class Again(Items):
    """A batch node that is visited once for each of ``shared["visits"]``."""

    def prep(self, shared):
        return shared["visits"][shared["n"]]

    def exec(self, item):
        return refuse_bad(item)

    def post(self, shared, prep_res, exec_res):
        shared["n"] += 1
        return "again" if shared["n"] < len(shared["visits"]) else "done"


def looped(visits):
    """The record of a batch node that has these inputs, one after the other."""
    node = Again(name="Map", on_error="keep")
    node - "again" >> node
    node - "done" >> Node(name="End")
    flow = Flow(node, name="Loop")
    flow.run({"visits": visits, "n": 0})
    return flow.last_run.batch(node)


# ---- a sequence of items ---------------------------------------------------------------------------------------------


def test_items():
    """There is an item for each element of the input, in its order, with all that is known of it."""
    record = mapped(["a", "bad"], on_error="keep")
    assert len(record) == 2
    first, second = record
    assert (first.position, first.label, first.item, first.result) == (0, 0, "a", "A")
    assert (first.status, first.attempts, first.error, first.action, first.failed_at) == ("ok", 1, None, None, None)
    assert first.seconds >= 0
    assert (second.position, second.item, second.result, second.status) == (1, "bad", None, "failed")
    assert str(second.error) == "no bad"


def test_items_of_a_batch_flow():
    """Of a batch flow an item is a param set, with its last result and action, and where it failed."""

    class Leaf(Node):
        def exec(self, prep_res):
            return refuse_bad(self.params["n"])

        def post(self, shared, prep_res, exec_res):
            return "seen"

    flow = Sets(Leaf(), name="Sets", on_error="keep")
    flow.run({"sets": [{"n": "a"}, {"n": "bad"}]})
    record = flow.last_run.batch(flow)
    assert record.is_of_params
    first, second = record
    assert (first.item, first.result, first.action, first.failed_at) == ({"n": "a"}, "A", "seen", None)
    assert (second.item, second.result, second.action, second.failed_at) == ({"n": "bad"}, None, None, "Sets/Leaf")


def test_items_know_their_params():
    """An item of a batch node knows the params of the flows around, which its place in the input does not tell."""
    node = items_node("inline", lambda node, item: item, name="Map")
    flow = Sets(node)
    flow.run({"sets": [{"n": 1}, {"n": 2}], "items": ["a"]})
    record = flow.last_run.batch(node)
    assert not record.is_of_params
    assert [(item.params["n"], item.position) for item in record] == [(1, 0), (2, 0)]


def test_indexing():
    """Rows are counted from 0 over all visits, or from the end where they are negative."""
    record = looped([["a", "b"], [], ["c"]])
    assert len(record) == 3
    assert [record[row].item for row in (0, 1, 2)] == ["a", "b", "c"]
    assert [record[row].item for row in (-1, -2, -3)] == ["c", "b", "a"]
    assert [record[row].position for row in (0, 1, 2)] == [0, 1, 0]
    assert record[1] == list(record)[1]


@pytest.mark.parametrize("row", [3, -4, 100, -100])
def test_indexing_out_of_range(row):
    """A row that is not there is an error that says how many there are."""
    with pytest.raises(IndexError, match=rf"^Loop/Map has 3 rows; there is no row {row}\.$"):
        looped([["a", "b"], [], ["c"]])[row]


def test_iteration():
    """Items can be gone through more than once, and from behind."""
    record = looped([["a", "b"], ["c"]])
    assert [item.item for item in record] == [item.item for item in record] == ["a", "b", "c"]
    assert [item.item for item in reversed(record)] == ["c", "b", "a"]


def test_results():
    """The results are in input order, over all visits; None where there is none."""
    assert looped([["a", "bad"], ["c"]]).results == ["A", None, "C"]


def test_empty():
    """A batch without items is empty, and has no row 0."""
    record = mapped([])
    assert len(record) == 0
    assert list(record) == record.results == []
    assert record.counts == {}
    with pytest.raises(IndexError, match="Map has 0 rows; there is no row 0"):
        record[0]


# ---- counts and repr -------------------------------------------------------------------------------------------------


def test_counts():
    """Statuses are counted over all visits, and those that do not occur are left out."""
    assert looped([["a", "bad"], ["c"]]).counts == {"ok": 2, "failed": 1}


def test_order_of_counts():
    """Counts come in one order: ok, fallback, failed, cancelled, pending, whichever came first."""

    class Every(Items):
        def exec(self, item):
            if item == "stop":
                raise KeyboardInterrupt
            return refuse_bad(item)

        def exec_fallback(self, item, exc):
            if self.params["way"] == "out":
                return "made up"
            raise exc

    class Way(BatchFlow):
        def prep(self, shared):
            return [{"way": "none"}, {"way": "out"}]

    node = Every(on_error="keep")
    flow = Way(node)
    items = iter([["bad", "a"], ["bad", "stop", "b", "c"]])
    node.prep = lambda shared: next(items)
    with pytest.raises(KeyboardInterrupt):
        flow.run({})
    record = flow.last_run.batch(node)
    assert list(record.counts.items()) == [("ok", 1), ("fallback", 1), ("failed", 1), ("cancelled", 1), ("pending", 2)]
    assert sum(record.counts.values()) == len(record)


@pytest.mark.parametrize("mode", MODES)
def test_counts_are_those_of_the_items(mode):
    """However it is run, counts say what the items say."""
    node = items_node(mode, lambda node, item: refuse_bad(item), on_error="keep", max_retries=2)
    go(mode, node, {"items": ["a", "bad", "b", "bad", "c"]})
    record = node.last_run.batch(node)
    assert record.counts == {"ok": 3, "failed": 2}
    assert [item.status for item in record] == ["ok", "failed", "ok", "failed", "ok"]


def test_repr():
    """A batch says in a line where it was and how many rows have each status."""
    assert repr(looped([["a", "bad"], ["c"]])) == "<Loop/Map: 3 items, 2 ok, 1 failed>"
    assert repr(mapped([])) == "<Map: 0 items, none>"
    flow = Sets(Letters(), name="Sets")
    flow.run({"sets": [{"n": 1}, {"n": 2}]})
    assert repr(flow.last_run.batch(flow)) == "<Sets: 2 param sets, 2 ok>"


# ---- which batch -----------------------------------------------------------------------------------------------------


def two_maps():
    """A flow in which one batch node is met on two ways, and another one once; their run."""
    twice, once = (items_node("inline", lambda node, item: item, name=name) for name in ("Map", "Once"))
    first, second = Flow(twice, name="First"), Flow(twice, name="Second")
    first >> second >> once
    flow = Flow(first, name="Outer")
    flow.run({"items": ["a"]})
    return flow.last_run, twice, once


def test_batch_by_name_path_or_node():
    """A batch is found by its name, by its path, and by the node itself."""
    run, _, once = two_maps()
    for which in ("Once", "Outer/Once", once):
        record = run.batch(which)
        assert record.path == "Outer/Once"
        assert record.run is run


def test_batches():
    """All batches are there by path, in the order in which they began."""
    run, _, _ = two_maps()
    assert [record.path for record in run.batches] == ["Outer/First/Map", "Outer/Second/Map", "Outer/Once"]


def test_ambiguous_batch():
    """A name or a node that is met on two ways is refused, with the paths by which each is found."""
    run, twice, _ = two_maps()
    known = r"; give the path of one: \['Outer/First/Map', 'Outer/Second/Map'\]$"
    with pytest.raises(RowError, match=rf"^several batches match 'Map'.*{known}"):
        run.batch("Map")
    with pytest.raises(RowError, match=rf"^several batches match <Blocking 'Map'>.*{known}"):
        run.batch(twice)
    assert run.batch("Outer/First/Map").path == "Outer/First/Map"
    assert run.batch("Outer/Second/Map").path == "Outer/Second/Map"


def test_two_nodes_of_one_name():
    """Two nodes of one name in one flow are told apart as in the graph."""
    first, second = Items(name="Map"), Items(name="Map")
    first >> second
    flow = Flow(first, name="Outer")
    flow.run({"items": ["a"]})
    assert flow.last_run.batch("Outer/Map#2").path == flow.last_run.batch(second).path == "Outer/Map#2"
    assert flow.last_run.batch("Map").path == flow.last_run.batch(first).path == "Outer/Map"


@pytest.mark.parametrize(
    ("which", "hint"),
    [
        ("Onse", r" \(did you mean 'Once'\?\)"),
        ("Outer/Onse", r" \(did you mean 'Outer/Once'\?\)"),
        ("nothing like it", ""),
        ("", ""),
        (None, ""),
        (0, ""),
    ],
)
def test_unknown_batch(which, hint):
    """A batch that did not run is refused, with those that did and the one that was probably meant."""
    run, _, _ = two_maps()
    known = r"\['Outer/First/Map', 'Outer/Second/Map', 'Outer/Once'\]"
    with pytest.raises(RowError, match=rf"^no batch {which!r}{hint}; this run has {known}$") as caught:
        run.batch(which)
    assert isinstance(caught.value, FlowError)
    assert isinstance(caught.value, KeyError)


def test_node_that_did_not_run():
    """A node that is no part of the run, or is no batch, is no batch of it."""
    run, _, _ = two_maps()
    with pytest.raises(RowError, match=r"^no batch <Items 'Once'>"):
        run.batch(Items(name="Once"))
    node = Node(name="Plain")
    node.run({})
    with pytest.raises(RowError, match=r"^no batch <Node 'Plain'>; this run has \[\]$"):
        node.last_run.batch(node)
    with pytest.raises(RowError, match=r"^'Plain' is not a batch, so it has no rows; its visits are in .steps"):
        node.last_run.batch("Plain")


def test_elements_that_an_exec_returned():
    """The elements that the ``exec`` of a batch flow returned are a batch of their own, under its path and ".exec"."""

    class Folders(BatchFlow):
        def prep(self, shared):
            return [{"folder": "x"}, {"folder": "y"}]

        def exec(self, params):
            return [{"file": params["folder"] + str(n)} for n in range(2)]

    flow = Folders(Letters(), name="Folders")
    flow.run({})
    run = flow.last_run
    assert [record.path for record in run.batches] == ["Folders", "Folders.exec"]
    assert [item.item for item in run.batch("Folders")] == [{"folder": "x"}, {"folder": "y"}]
    assert [item.item["file"] for item in run.batch("Folders.exec")] == ["x0", "x1", "y0", "y1"]
    assert run.batch("Folders.exec").df[["folder", "file"]].values.tolist() == [
        ["x", "x0"],
        ["x", "x1"],
        ["y", "y0"],
        ["y", "y1"],
    ]
    assert run.batch("Folders.exec")[2].result == {"folder": "y", "file": "y0"}
    assert run.batch(flow).path == "Folders"


# ---- while a run goes on ---------------------------------------------------------------------------------------------


class Each:
    """A subscriber that calls a function at every event."""

    def __init__(self, call):
        self.call = call

    def handle(self, event):
        self.call(event)


@pytest.mark.parametrize("mode", MODES)
def test_read_by_a_subscriber(mode):
    """At every event there is a row for each item, counts and table agree, and what was finished has its result."""

    def look(event):
        if event.kind in ("call_finished", "visit_finished"):
            record = node.last_run.batch(node)
            df = record.df
            assert node.last_run.status == "running"
            assert len(record) == len(df) == sum(record.counts.values()) == 4
            assert df["status"].tolist() == [item.status for item in record]
            assert df["status"].value_counts().to_dict() == record.counts
            assert all(item.result == item.item * 10 for item in record if item.status == "ok")
            assert len(record.ok) == record.counts.get("ok", 0)
            seen.append(record.counts.get("ok", 0))

    seen = []
    node = items_node(mode, lambda node, item: item * 10)
    go(mode, node, {"items": [0, 1, 2, 3]}, subscribers=[Each(look)])
    assert node.last_run.problems == []  # such as an assertion that failed above
    assert len(seen) == 5
    assert seen == sorted(seen)
    assert seen[-1] == 4


def test_read_by_exec():
    """From within ``exec`` the record has the items before as ok and the others as pending."""

    class Look(Items):
        def exec(self, item):
            record = node.last_run.batch(node)
            seen.append((record.df["status"].tolist(), record.results, record.counts))
            return item.upper()

    seen = []
    node = Look()
    node.run({"items": ["a", "b", "c"]})
    assert seen == [
        (["pending"] * 3, [None] * 3, {"pending": 3}),
        (["ok", "pending", "pending"], ["A", None, None], {"ok": 1, "pending": 2}),
        (["ok", "ok", "pending"], ["A", "B", None], {"ok": 2, "pending": 1}),
    ]


def test_read_by_exec_of_a_generator():
    """Of a generator there are rows as far as it was read: for the items before, and at most for this one."""

    class Look(Items):
        def exec(self, item):
            df = node.last_run.batch(node).df
            seen.append((df["item"].tolist()[:item], df["status"].tolist()[:item]))
            assert len(df) in (item, item + 1)
            return item

    seen = []
    node = Look()
    node.run({"items": iter(range(3))})
    assert seen == [([], []), ([0], ["ok"]), ([0, 1], ["ok", "ok"])]
    assert len(node.last_run.batch(node)) == 3


def test_read_by_a_node_inside():
    """From a node inside of a batch flow its param sets can be looked at, those done and those to come."""

    class Look(Node):
        def exec(self, prep_res):
            df = flow.last_run.batch(flow).df
            seen.append((df["n"].tolist(), df["status"].tolist()))

    seen = []
    flow = Sets(Look())
    flow.run({"sets": [{"n": 1}, {"n": 2}]})
    assert seen == [([1, 2], ["pending", "pending"]), ([1, 2], ["ok", "pending"])]


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
def test_a_batch_that_was_taken_early(mode):
    """A batch that was taken while the run went on shows what came later: it reads the record itself."""

    def look(event):
        if event.kind == "call_started" and not taken:
            taken.append(node.last_run.batch(node))
            assert taken[0].counts == {"pending": 3}

    taken = []
    node = items_node(mode, lambda node, item: item * 10)
    go(mode, node, {"items": [0, 1, 2]}, subscribers=[Each(look)])
    assert node.last_run.problems == []
    assert taken[0].counts == {"ok": 3}
    assert taken[0].results == [0, 10, 20]


def test_pandas_is_imported_by_a_table():
    """Running, counting, looking at items and showing them in a line need no pandas; a table does."""
    program = """
        import sys
        from llmflow_nb import BatchNode, Flow

        class Map(BatchNode):
            def prep(self, shared):
                return ["a", "b"]
            def exec(self, item):
                return item.upper()

        flow = Flow(Map())
        flow.run({})
        record = flow.last_run.batch("Map")
        assert [item.result for item in record] == record.results == ["A", "B"]
        assert record.counts == {"ok": 2} and record[0].item == "a" and len(record) == 2
        assert repr(record) == "<Flow/Map: 2 items, 2 ok>" and repr(flow.last_run)
        assert flow.last_run.visits and not flow.last_run.failures
        assert "pandas" not in sys.modules, "pandas was imported"
        record.df
        assert "pandas" in sys.modules
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(program)], check=True)


def test_the_same_batch_twice():
    """Two runs of one node have a record each; the earlier one stays what it was."""
    node = items_node("inline", lambda node, item: item)
    node.run({"items": [1]})
    earlier = node.last_run.batch(node)
    node.run({"items": [2, 3]})
    assert earlier.results == [1]
    assert node.last_run.batch(node).results == [2, 3]


def test_items_of_a_class_of_its_own():
    """The record of a batch node that says it equals all others is found by the node that it is."""

    class Equal(BatchNode):
        def __eq__(self, other):
            return True

        __hash__ = None

        def prep(self, shared):
            return [self.tag]

        def exec(self, item):
            return item

    first, second = Equal(name="First"), Equal(name="Second")
    first.tag, second.tag = 1, 2
    first >> second
    flow = Flow(first)
    flow.run({})
    assert flow.last_run.batch(second).results == [2]
    assert flow.last_run.batch(first).results == [1]
