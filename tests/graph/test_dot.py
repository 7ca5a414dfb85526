import re
from itertools import pairwise

import graphviz

from llmflow_nb import BatchFlow, BatchNode, Flow, Node


class Ask(Node):
    pass


class Map(BatchNode):
    pass


class Each(BatchFlow):
    def post(self, shared, prep_res, exec_res):
        return shared["next"]


def nested():
    ask, each = Ask(), Each(Map(max_concurrency=4))
    ask >> each
    each - "again" >> ask
    return Flow(ask, name="Chat")


def lines_of(model):
    """The attributes of each node and edge of the DOT text, by the node or the ends of the edge."""
    found = {}
    for line in model.dot().splitlines():
        thing = re.match(r"\t+(\w+(?: -> \w+)?) \[(.*)\]$", line)
        if thing and thing[1] not in ("graph", "node", "edge"):
            found.setdefault(thing[1], []).append(
                {name: value.strip('"') for name, value in re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', thing[2])}
            )
    return {name: looks[0] if len(looks) == 1 else looks for name, looks in found.items()}


def frames_of(model):
    """The attributes of each frame, by its id."""
    found = re.findall(r"subgraph \w+ \{\n\t+graph \[(.*)\]", model.dot())
    looks = [dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', text)) for text in found]
    return {look["id"]: look for look in looks}


def test_a_small_nested_looping_flow():
    """Frames with start and end, nodes in their shapes, edges cut off at the frames but for those back."""
    model = nested().graph()
    lines = lines_of(model)
    assert list(frames_of(model)) == ["n0", "n2", "n2i"]  # a batch flow has two
    assert frames_of(model)["n2i"]["label"] == '"Each\\l\u2261 for each param set\\l"'
    assert {name: look["id"] for name, look in lines.items()} == {
        **{name: name for name in ("n1", "n3", "sn0", "sn2", "zn2")},
        "sn0 -> n1": "en0",
        "sn2 -> n3": "en2",
        "n3 -> zn2": "zn2e0",
        "n1 -> sn2": "e0",
        "n1 -> zn2": "e1",
    }
    assert (lines["n1"]["label"], lines["n1"]["shape"]) == ("Ask", "box")
    assert (lines["n3"]["label"], lines["n3"]["shape"]) == ("Map\\n\u2261 for each item, 4 at a time", "box3d")
    assert lines["n1 -> sn2"]["lhead"] == "cluster_n2"
    assert (lines["n1 -> zn2"]["dir"], lines["n1 -> zn2"]["label"]) == ("back", "\u00a0again\u00a0")


def test_digraph_can_be_extended():
    """It is a graph of the graphviz package, so users of that package can add to it."""
    digraph = Flow(Node(name="<b>")).graph().digraph()
    digraph.node("mine")
    assert isinstance(digraph, graphviz.Digraph)
    assert digraph.source == Flow(Node(name="<b>")).graph().dot()[:-1] + "\tmine\n}\n"


def test_a_plain_flow_with_no_name_has_no_frame():
    """A frame that would only say "Flow" is left out; start and end are marked all the same."""
    model = Flow(Ask()).graph()
    assert frames_of(model)["n0"]["peripheries"] == "0"
    assert {"sn0 -> n1", "n1 -> zn0"} <= set(lines_of(model))


def test_a_flow_that_follows_itself():
    """The edge goes from its end to its start."""
    inner = Flow(Node(), name="inner")
    inner - "more" >> inner
    look = lines_of(Flow(inner, name="F").graph())["sn1 -> zn1"]
    assert (look["id"], look["dir"], look["label"]) == ("e0", "back", "\u00a0more\u00a0")


def test_edges_leave_a_flow_at_its_end():
    """An edge from a frame begins at the ring in it, and is cut off at the frame."""
    inner = Flow(Ask(name="deep"), name="inner")
    first = Ask(name="first")
    first >> inner
    outer = Flow(first, name="outer")
    outer >> Ask(name="after")
    model = Flow(outer, name="F").graph()
    ids = {node.name: f"n{i}" for i, node in enumerate(model.nodes)}
    lines = lines_of(model)
    assert lines[f"z{ids['outer']} -> {ids['after']}"]["ltail"] == f"cluster_{ids['outer']}"
    assert lines[f"z{ids['inner']} -> z{ids['outer']}"]["ltail"] == f"cluster_{ids['inner']}"


class Again(Node):
    def post(self, shared, prep_res, exec_res):
        return "again"


def test_an_edge_from_a_flow_that_is_not_seen_to_end():
    """It begins at a ring of its own, not at the last step, whose edge it would seem to be."""
    step = Again()
    step - "again" >> step
    inner = Flow(step, name="inner")
    first = Ask()
    first >> inner
    inner - "back" >> first
    lines = lines_of(Flow(first, name="F").graph())
    assert lines["zn2"]["shape"] == "doublecircle"
    assert "n3 -> zn2" not in lines
    assert (lines["n1 -> zn2"]["dir"], lines["n1 -> zn2"]["style"]) == ("back", "dotted")


class Judge(Node):
    def post(self, shared, prep_res, exec_res):
        return {1: "approve", 2: "reject"}.get(exec_res) if exec_res else "aprove"


class Always(Node):
    def post(self, shared, prep_res, exec_res):
        return "done"


def test_actions_that_end_a_flow_are_on_the_way_to_its_end():
    """An action by which a flow is left is named there; "default" is not."""
    inner = Flow(Always(), name="inner")
    inner - "done" >> Ask()
    lines = lines_of(Flow(inner, name="F").graph())
    assert lines["n3 -> zn1"] == {"id": "zn1e0", "label": "\u00a0done\u00a0"}
    assert lines["n2 -> zn0"] == {"id": "zn0e0"}


def test_what_is_probably_not_meant_is_drawn():
    """An action without an edge leads to the end, in red; a node that is never reached says so."""
    judge = Always()
    judge - "approve" >> Ask(name="Publish")
    lines = lines_of(Flow(judge, name="F").graph())
    assert (lines["n1 -> zn0"]["label"], lines["n1 -> zn0"]["style"]) == ("\u00a0done\u00a0", "dashed")
    assert lines["n2"]["label"] == r"Publish\nAsk, never reached"
    assert lines["n1 -> n2"]["style"] == "dotted"


def test_closed_and_empty_flows_are_boxes_that_say_so():
    """What cannot be opened is a dashed node, so that edges to it have an end."""
    flow = Flow(name="F")
    flow.start(Ask()) >> flow
    flow.start_node - "other" >> Flow(name="Empty")
    text = flow.graph().dot()
    assert r'label="F\ncontains itself"' in text
    assert r'label="Empty\nno start node, never reached"' in text


def test_a_long_graph_runs_down_a_short_one_across():
    """A few nodes fit the width of a cell; many would be shrunk past reading."""

    def chain(length):
        nodes = [Node() for _ in range(length)]
        for node, following in pairwise(nodes):
            node >> following
        return Flow(nodes[0]).graph().dot()

    assert "rankdir=LR" in chain(6)
    assert "rankdir=TB" in chain(12)
