from itertools import pairwise

from llmflow_nb import BatchFlow, BatchNode, Flow, Node

EXPECTED = r"""digraph {
  graph [id=all rankdir=LR compound=true bgcolor=transparent pad=0.04
    nodesep=0.3 ranksep=0.35 margin=0 labeljust=l
    fontname="Helvetica,Arial,sans-serif" fontsize=11 fontcolor="#7a7a7a" color="#7a7a7a" style=rounded]
  node [fontname="Helvetica,Arial,sans-serif" fontsize=11 fontcolor="#1f2937" color="#7a7a7a"
    margin="0.18,0.06" height=0.4]
  edge [fontname="Helvetica,Arial,sans-serif" fontsize=10 fontcolor="#7a7a7a" color="#7a7a7a" arrowsize=0.7]
"""


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


def body(model):
    """The lines after the settings."""
    return [line.strip() for line in model.dot().splitlines()[7:]]


def test_the_whole_text_of_a_small_nested_looping_flow():
    """Settings, frames with start and end, nodes, edges cut off at the frames but for those back."""
    assert (
        nested().graph().dot()
        == EXPECTED
        + r"""  subgraph cluster_n0 {
    graph [id=n0 label="Chat\l" margin=10]
    sn0 [id=sn0 label="" shape=point width=0.12]
    sn0 -> n1 [id=en0]
    n1 [id=n1 label="Ask"
      shape="box" style="rounded,filled" color="#5b7db1" fillcolor="#e6eefa"]
    subgraph cluster_n2 {
    graph [id=n2 label="" margin=4]
    subgraph cluster_n2i {
      graph [id=n2i label="Each\l≡ for each param set\l" margin=10]
      sn2 [id=sn2 label="" shape=point width=0.12]
      sn2 -> n3 [id=en2]
      n3 [id=n3 label="Map\n≡ for each item, 4 at a time"
        shape="box3d" style="filled" color="#b58a3c" fillcolor="#fdf1d8" margin="0.18,0.1"]
      zn2 [id=zn2 label="" shape=doublecircle style=filled fillcolor="#7a7a7a"
        width=0.08 height=0.08 fixedsize=true]
      n3 -> zn2 [id=zn2e0]
    }}
  }
  n1 -> sn2 [id=e0 lhead=cluster_n2]
  n1 -> zn2 [id=e1 dir=back label="@again@"]
}""".replace("@", "\u00a0")
    )


def test_a_plain_flow_with_no_name_has_no_frame():
    """A frame that would only say "Flow" is left out; start and end are marked all the same."""
    lines = body(Flow(Ask()).graph())
    assert 'graph [id=n0 label="" peripheries=0 margin=0]' in lines
    assert "sn0 -> n1 [id=en0]" in lines
    assert "n1 -> zn0 [id=zn0e0]" in lines


def test_a_flow_that_follows_itself():
    """The edge goes from its end to its start."""
    inner = Flow(Node(), name="inner")
    inner - "more" >> inner
    lines = body(Flow(inner, name="F").graph())
    assert 'sn1 -> zn1 [id=e0 dir=back label="\u00a0more\u00a0"]' in lines


def test_edges_leave_a_flow_at_its_end():
    """An edge from a frame begins at the ring in it, and is cut off at the frame."""
    inner = Flow(Ask(name="deep"), name="inner")
    first = Ask(name="first")
    first >> inner
    outer = Flow(first, name="outer")
    outer >> Ask(name="after")
    model = Flow(outer, name="F").graph()
    ids = {node.name: f"n{i}" for i, node in enumerate(model.nodes)}
    lines = body(model)
    assert f"z{ids['outer']} -> {ids['after']} [id=e0 ltail=cluster_{ids['outer']}]" in lines
    assert f"z{ids['inner']} -> z{ids['outer']} [id=z{ids['outer']}e0 ltail=cluster_{ids['inner']}]" in lines


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
    lines = body(Flow(first, name="F").graph())
    assert 'zn2 [id=zn2 label="" shape=doublecircle style=filled fillcolor="#7a7a7a"' in lines
    assert "n3 -> zn2 [style=invis]" in lines
    assert 'n1 -> zn2 [id=e1 dir=back label="\u00a0back\u00a0" style=dotted]' in lines


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
    lines = body(Flow(inner, name="F").graph())
    assert 'n3 -> zn1 [id=zn1e0 label="\u00a0done\u00a0"]' in lines
    assert "n2 -> zn0 [id=zn0e0]" in lines


def test_what_is_probably_not_meant_is_drawn():
    """An action without an edge leads to the end, in red; a node that is never reached says so."""
    judge = Always()
    judge - "approve" >> Ask(name="Publish")
    lines = body(Flow(judge, name="F").graph())
    assert any(line.startswith("n1 -> zn0") and "done" in line and "style=dashed" in line for line in lines)
    assert r'n2 [id=n2 label="Publish\nAsk, never reached"' in lines
    assert any(line.startswith("n1 -> n2") and "style=dotted" in line for line in lines)


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
