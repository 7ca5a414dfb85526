import subprocess
import sys
from itertools import pairwise

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node
from llmflow_nb.graph.builder import graph_of
from llmflow_nb.graph.model import GraphEdge


def paths(flow):
    return [node.id for node in flow.graph().nodes]


def edges(flow):
    return [(edge.source, edge.action, edge.target) for edge in flow.graph().edges]


def cluster(model, id):
    return next(cluster for cluster in model.clusters if cluster.id == id)


def test_a_flow_holds_the_nodes_of_its_walk_by_path():
    """Nodes are named by their path from the outermost flow, as in records and errors."""
    a, b = Node(name="a"), Node(name="b")
    a >> b
    model = Flow(a, name="F").graph()
    assert [node.id for node in model.nodes] == ["F", "F/a", "F/b"]
    assert model.edges == (GraphEdge("F/a", "F/b", "default"),)
    assert cluster(model, "F").start == "F/a"
    assert cluster(model, "F").members == ("F/a", "F/b")


def test_paths_are_those_of_the_record():
    """Every path in the record of a run is the id of a node in the graph, namesakes and nested flows included."""
    first, second = Node(), Node()
    first >> second >> Flow(Node(name="x"))
    flow = Flow(first, name="F")
    flow.run({})
    assert {visit.path for visit in flow.last_run.visits} == set(paths(flow))


def test_a_loop_is_walked_once_and_its_closing_edge_is_marked():
    """The edge that leads back to a step on the way is marked; a second way forward is not."""
    a, b, c = Node(name="a"), Node(name="b"), Node(name="c")
    a >> b >> c
    a - "skip" >> c
    c - "again" >> a
    c - "stay" >> c
    marked = {(edge.source, edge.target) for edge in Flow(a, name="F").graph().edges if edge.is_back}
    assert marked == {("F/c", "F/a"), ("F/c", "F/c")}


def test_a_node_shared_within_a_walk_is_there_once():
    """Two edges to the same node end at the same id."""
    a, b, c = Node(name="a"), Node(name="b"), Node(name="c")
    a - "left" >> b
    a - "right" >> c
    b >> c
    assert paths(Flow(a, name="F")) == ["F", "F/a", "F/b", "F/c"]


def test_a_flow_used_in_two_places_is_there_twice():
    """The same flow object has a path in each of the flows that it is a step of."""
    inner = Flow(Node(name="x"), name="inner")
    left, right = Flow(inner, name="left"), Flow(inner, name="right")
    left >> right
    assert paths(Flow(left, name="F")) == [
        "F",
        "F/left",
        "F/right",
        "F/left/inner",
        "F/right/inner",
        "F/left/inner/x",
        "F/right/inner/x",
    ]


def test_edges_of_a_nested_flow_stay_inside_it():
    """An edge joins two steps of the same flow; the edge of a flow as a step joins the flows' ids."""
    inner = Flow(Node(name="x"), name="inner")
    inner.start_node >> Node(name="y")
    inner - "done" >> Node(name="end")
    assert edges(Flow(inner, name="F")) == [
        ("F/inner", "done", "F/end"),
        ("F/inner/x", "default", "F/inner/y"),
    ]


def test_a_flow_that_contains_itself_is_marked_and_not_followed():
    """The inner appearance names the flow further out that it is again."""
    flow = Flow(name="F")
    inner = Flow(Node(name="x"), name="inner")
    inner.start_node >> flow
    flow.start(inner)
    model = flow.graph()
    assert [node.id for node in model.nodes] == ["F", "F/inner", "F/inner/x", "F/inner/F"]
    assert cluster(model, "F/inner/F").repeats == "F"
    assert cluster(model, "F/inner/F").members == ()


def test_a_flow_without_start_is_empty():
    """It has no start and no members, and is no error to look at."""
    model = Flow(name="F").graph()
    assert (cluster(model, "F").start, cluster(model, "F").members) == (None, ())


def test_flows_that_multiply_are_left_closed():
    """Twenty doublings do not become a million nodes: inner flows stay closed beyond the limit."""
    flow = Flow(Node(), name="0")
    for i in range(1, 21):
        left = Flow(flow, name=f"left{i}")
        left >> Flow(flow, name=f"right{i}")
        flow = Flow(left, name=str(i))
    model = graph_of(flow, max_nodes=100)
    assert len(model.nodes) <= 100
    assert any(cluster.is_closed for cluster in model.clusters)


def test_long_and_deep_flows_are_walked_without_recursion():
    """Neither 5,000 nodes in a row nor 500 flows in each other meet Python's recursion limit."""
    nodes = [Node(name=f"n{i}") for i in range(5_000)]
    for node, following in pairwise(nodes):
        node >> following
    assert len(Flow(nodes[0]).graph().nodes) == 5_001
    flow = Node()
    for _ in range(500):
        flow = Flow(flow)
    model = flow.graph()
    assert len(model.nodes) == 501
    assert model.dot().count("subgraph") == 500
    assert len(model.outline().splitlines()) == 501 + 500  # and the end of each flow


def test_what_a_node_says_of_itself():
    """Kind, class, docstring, async, attempts and concurrency are read off the node."""

    class Summarise(BatchNode):
        """Summarise one chunk.

        At length.
        """

        async def exec(self, item):
            return item

    (node,) = graph_of(Summarise(max_retries=3, max_concurrency=4, name="sum")).nodes
    assert (node.name, node.class_name, node.kind) == ("sum", "Summarise", "batch_node")
    assert (node.doc, node.is_async, node.retries, node.concurrency) == ("Summarise one chunk.", True, 3, 4)


def test_the_docstring_is_the_users_own():
    """The library's docstrings are not shown as the user's; those of the user's base class are."""

    class Bare(Node):
        pass

    class Told(Node):
        """Told."""

    class Derived(Told):
        pass

    assert [graph_of(cls()).nodes[0].doc for cls in (Bare, Derived, Node)] == ["", "Told.", ""]


def test_looking_runs_no_hook():
    """No hook is called to make the graph or to write it."""

    class Touchy(BatchNode):
        def prep(self, shared):
            raise AssertionError

        def exec(self, item):
            raise AssertionError

        def post(self, shared, prep_res, exec_res):
            raise AssertionError

    model = Flow(Touchy()).graph()
    assert "Touchy" in model.outline() + model.dot()


def test_a_node_alone_is_drawn_with_what_it_is_wired_to():
    """Shown on its own, a node comes with the nodes that are reached from it, in no frame."""
    a = Node(name="a")
    a >> Node(name="b")
    model = a.graph()
    assert [node.id for node in model.nodes] == ["a", "b"]
    assert model.clusters == ()


def test_names_that_make_equal_paths_are_told_apart():
    """A name with a slash cannot pose as the step of another flow: ids stay unique."""
    outer = Flow(Node(name="x"), name="a")
    outer >> Node(name="a/x")
    ids = paths(Flow(outer, name="F"))
    assert sorted(ids) == ["F", "F/a", "F/a/x", "F/a\N{DIVISION SLASH}x"]


def test_the_same_flow_gives_the_same_model():
    """Two models of one flow are equal, and so are their texts."""
    flow = BatchFlow(Flow(Node()))
    assert flow.graph() == flow.graph()
    assert flow.graph().dot() == flow.graph().dot()


@pytest.mark.parametrize("module", ["graphviz", "wasmtime", "IPython", "ipywidgets", "anywidget", "pandas"])
def test_importing_the_package_loads_nothing_to_draw_with(module):
    """Heavy modules wait until something is shown."""
    code = f"import sys, llmflow_nb; raise SystemExit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_chosen_flows_are_left_closed():
    """A chosen flow is one box, and its edges stay. Others of the same name are open."""
    left, right = (Flow(Flow(Node(name="x"), name="inner"), name=name) for name in ("left", "right"))
    left >> right
    model = graph_of(Flow(left, name="F"), closed=["F/left/inner", "F/right"])
    assert [node.id for node in model.nodes] == ["F", "F/left", "F/right", "F/left/inner"]
    assert [cluster.id for cluster in model.clusters if cluster.is_closed] == ["F/right", "F/left/inner"]
    assert model.edges == (GraphEdge("F/left", "F/right", "default"),)
    assert "flow inner, steps not shown" in model.outline()
