"""The graph of a run: what happened at each node, and how often each edge was taken."""

import base64
import contextlib
import re
from html import unescape

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, MaxStepsError, Node


@pytest.fixture(autouse=True)
def webassembly(monkeypatch):
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "wasi")
    monkeypatch.setenv("LLMFLOW_NB_DISPLAY", "static")


def drawn(flow):
    """What is written on each node of the drawing of its latest run, by its name."""
    html = flow.last_run._repr_mimebundle_()["text/html"]
    svg = base64.b64decode(re.search(r"base64,([^\"]*)", html)[1]).decode()
    groups = re.findall(r'<g id="[^"]*" class="(?:node|cluster)[^"]*">(.*?)</g>', svg, flags=re.S)
    found = [[unescape(text) for text in re.findall(r"<text[^>]*>(.*?)</text>", group)] for group in groups]
    return {lines[0]: lines[1:] for lines in found if lines}, svg


class Load(Node):
    def post(self, shared, prep_res, exec_res):
        shared["left"] -= 1
        return "again" if shared["left"] else None


class Map(BatchNode):
    def prep(self, shared):
        return range(4)

    def exec(self, item):
        if item == 3:
            raise ValueError("<b>three</b>")
        return item


def loop(on_error):
    load = Load()
    load >> Map(on_error=on_error) >> Node(name="End")
    load - "again" >> load
    return Flow(load, name="F")


def test_what_happened_is_on_the_nodes():
    """A sign and words for each node that was visited; visits, items, and how often an edge was taken."""
    flow = loop("keep")
    flow.run({"left": 3})
    nodes, svg = drawn(flow)
    assert nodes == {
        "\u2713 F": [],
        "\u2713 Load": ["3 visits"],
        "! Map": ["\u2261 for each item", "3/4 ok"],
        "\u2713 End": [],
    }
    assert "again, 2 times" in svg.replace("\u00a0", "")
    assert svg.count('stroke-width="2.5"') >= 3


def test_what_failed_and_what_was_not_reached():
    """The node that failed has its error's first line; a node that was not visited has no sign."""
    flow = loop("raise")
    with pytest.raises(ValueError, match="three"):
        flow.run({"left": 1})
    nodes, _ = drawn(flow)
    assert nodes["\u2717 Map"][1:] == ["3/4 ok", "ValueError: <b>three</b>"]
    assert "End" in nodes
    assert "\u2717 F" in nodes


def test_an_error_is_told_where_it_came_from():
    """The flows around it are marked as failed too, and do not repeat its words."""
    inner = loop("raise")
    outer = Flow(inner, name="Outer")
    with pytest.raises(ValueError, match="three"):
        outer.run({"left": 1})
    nodes, _ = drawn(outer)
    assert nodes["\u2717 Outer"] == nodes["\u2717 F"] == []
    assert nodes["\u2717 Map"][-1] == "ValueError: <b>three</b>"


def test_a_node_that_failed_in_some_visits():
    """Where the run went on, the node is marked as partly failed, and says in how many visits."""

    class Each(BatchFlow):
        item_key = "n"

        def prep(self, shared):
            return [1, 2, 3]

    class Work(Node):
        def exec(self, _):
            if self.params["n"] == 2:
                raise ValueError("two")

    each = Each(Work(), on_error="keep")
    each.run({})
    nodes, _ = drawn(each)
    assert nodes["! Work"] == ["3 visits, 1 failed", "ValueError: two"]
    assert nodes["! Each"] == ["\u2261 for each param set", "2/3 ok"]


def test_answers_of_a_fallback_are_counted():
    """They are no failures, and not what the model said either."""

    class Guess(Map):
        def exec_fallback(self, item, exc):
            return "a guess"

    class Ask(Node):
        def exec(self, item):
            raise ValueError("no")

        def exec_fallback(self, item, exc):
            return "a guess"

    ask = Ask()
    ask >> Guess()
    flow = Flow(ask, name="F")
    flow.run({})
    nodes, _ = drawn(flow)
    assert nodes["\u2713 Ask"] == ["1 by fallback"]
    assert nodes["\u2713 Guess"][-1] == "4/4 ok, 1 by fallback"


def test_the_way_taken_is_thick():
    """From the start over every edge that was taken to the end; not where a run did not come."""
    flow = loop("keep")
    flow.run({"left": 1})
    dot = flow.last_run.graph().dot()
    thick = [re.search(r"id=(\w+)", line)[1] for line in dot.splitlines() if "penwidth=2.5" in line]
    ids = {(edge.source, edge.target): f"e{i}" for i, edge in enumerate(flow.graph().edges)}
    assert set(thick) == {"en0", ids["F/Load", "F/Map"], ids["F/Map", "F/End"], "zn0e0"}
    flow = loop("raise")
    with pytest.raises(ValueError, match="three"):
        flow.run({"left": 1})
    assert len(re.findall("penwidth=2.5", flow.last_run.graph().dot())) == 2


def test_a_frame_does_not_take_the_looks_of_the_one_around_it():
    """A flow that was not visited is drawn as such within one that was."""
    inner = Flow(Node(name="Never"), name="Inner")
    first = Load()
    first - "again" >> Node(name="Last")
    first >> inner
    outer = Flow(first, name="Outer")
    outer.run({"left": 2})
    frames = [line for line in outer.last_run.graph().dot().splitlines() if "margin=10" in line]
    assert ["penwidth=1.5" in line for line in frames] == [True, False]


def test_the_graph_of_a_run_can_be_taken_away(tmp_path):
    """It is a graph like that of the flow, with what happened, and the options of one."""
    flow = loop("keep")
    flow.run({"left": 3})
    graph = flow.last_run.graph(legend=True, direction="TB")
    assert [node.id for node in graph.nodes] == [node.id for node in flow.graph().nodes]
    assert "3 visits" in graph.save(tmp_path / "run.svg").read_text(encoding="utf-8")
    assert "! some failed" in graph.svg().replace("\u00a0", " ")
    assert "rankdir=TB" in graph.dot()


def test_where_a_run_is():
    """While a run goes on, the node that is visited is marked, and the flows around it."""

    class Look(Node):
        def exec(self, _):
            seen.append(drawn(outer)[0])

    seen = []

    class Twice(BatchFlow):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}]

    outer = Flow(Twice(Flow(Look(), name="Inner")), name="Outer")
    outer.run({})
    assert [[name for name in nodes if name.startswith("\u25b6")] for nodes in seen] == [
        ["\u25b6 Outer", "\u25b6 Twice", "\u25b6 Inner", "\u25b6 Look"]
    ] * 2


def test_without_a_renderer_there_is_the_summary(monkeypatch):
    """Nothing to draw with is no error: the summary says the same in words."""
    flow = loop("keep")
    flow.run({"left": 1})
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "none")
    bundle = flow.last_run._repr_mimebundle_()
    assert "<img" not in bundle["text/html"]
    assert "3 ok, 1 failed" in bundle["text/plain"]
    for text in bundle.values():
        assert (
            "(F cannot be drawn: drawing is switched off by LLMFLOW_NB_GRAPHVIZ=none. Use outline() or dot().)" in text
        )


def test_the_table_of_nodes_is_indented_by_what_is_within_what():
    """A step that is first visited after its flow has ended once stands within that flow all the same."""

    class Choose(Node):
        def post(self, shared, prep_res, exec_res):
            return self.params["t"]

    class Each(BatchFlow):
        item_key = "t"

        def prep(self, shared):
            return ["a", "b"]

    choose = Choose()
    choose - "a" >> Node(name="First")
    choose - "b" >> Node(name="Second")
    each = Each(Flow(choose, name="Inner"))
    each.run({})
    lines = each.last_run._repr_mimebundle_()["text/plain"].splitlines()
    nodes = [line.split("  ")[1] for line in lines if line.startswith("  ") and line.split()[1:2] != ["visits,"]]
    assert nodes[-5:] == ["Each", "\u2003Inner", "\u2003\u2003Choose", "\u2003\u2003First", "\u2003\u2003Second"]


class Choose(Node):
    """Returns the next of some actions."""

    def post(self, shared, prep_res, exec_res):
        return shared["actions"].pop(0)


def outline_of(run):
    return [line.strip() for line in run.graph().outline().splitlines()]


def test_each_of_two_edges_between_the_same_steps_has_its_own_count():
    """What was taken is counted by the action, so an edge beside it that was not taken stays thin."""
    choose, back = Choose(), Node(name="Back")
    choose - "x" >> back
    choose - "y" >> back
    choose - "stop" >> Node(name="Stop")
    back >> choose
    flow = Flow(choose, name="F")
    flow.run({"actions": ["x", "x", "stop"]})
    lines = outline_of(flow.last_run)
    assert "on 'x' to Back (2 times)" in lines
    assert "on 'y' to Back (0 times)" in lines
    dot = flow.last_run.graph().dot()
    assert 'label="\u00a0y\u00a0" id=e1]' in dot
    assert 'label="\u00a0x, 2 times\u00a0" id=e0 penwidth=2.5]' in dot


def test_an_end_that_the_code_did_not_tell_of_is_drawn():
    """An action that was computed: where it ended the flow, there is a way to the end, and it is red if it was lost."""
    choose = Choose()
    choose - "go" >> choose
    flow = Flow(choose, name="F")
    with pytest.warns(UserWarning, match="Flow ends"):
        flow.run({"actions": ["go", "stop"]})
    assert "on 'stop', with no edge for it, the end" in outline_of(flow.last_run)
    assert "the end" not in flow.graph().outline()


def test_a_walk_that_was_cut_off_did_not_end_there():
    """Where ``max_steps`` stops a loop, the action of the last step has an edge, so it is no way out."""
    step = Node(name="step")
    step >> step
    flow = Flow(step, name="F", max_steps=3)
    with pytest.raises(MaxStepsError):
        flow.run({})
    assert flow.last_run.graph().status.edges == {("F", "F/step", ""): 1, ("F/step", "F/step", "default"): 2}


class Say(Node):
    def __init__(self, action):
        super().__init__()
        self.action = action

    def post(self, shared, prep_res, exec_res):
        return self.action


@pytest.mark.parametrize(("kind", "is_meant"), [(Flow, True), (BatchFlow, False)])
def test_an_action_leads_on_only_from_a_flow_that_hands_it_on(kind, is_meant):
    """A batch flow has an action of its own: what a step in it ends with leads nowhere, as the run warns."""
    step = Say("done")
    step - "other" >> Node()
    inner = kind(step, name="inner")
    inner.prep = lambda shared: [{}]
    inner - "done" >> Node(name="after")
    inner >> Node(name="other")
    flow = Flow(inner, name="F")
    with contextlib.nullcontext() if is_meant else pytest.warns(UserWarning, match="'done' not found"):
        flow.run({})
    exits = next(cluster.exits for cluster in flow.last_run.graph().clusters if cluster.id == "F/inner")
    assert [exit.is_meant for exit in exits if exit.action == "done"] == [is_meant]


def test_what_a_retry_has_mended_is_drawn_as_if_it_had_not_failed():
    """Neither the node nor the batch is marked, and going on after the failure is no edge."""

    class Odd(Node):
        def exec(self, _):
            if self.params["n"] == 2 and not mended:
                raise ValueError("odd")

        def post(self, shared, prep_res, exec_res):
            return "next" if self.params["n"] < 9 else "again"

    class Each(BatchFlow):
        item_key = "n"

        def prep(self, shared):
            return [1, 2, 3]

    mended = []
    odd = Odd()
    odd - "next" >> Node(name="Last")
    odd - "again" >> odd
    each = Each(odd, on_error="keep")
    each.run({})
    mended.append(True)
    each.last_run.retry_failed()
    lines = outline_of(each.last_run)
    assert "Odd: ok, 4 visits" in lines
    assert "on 'again' again Odd (0 times)" in lines
    assert lines[0] == "batch flow Each, for each param set, starts at Odd: ok, 3/3 ok"


def test_a_flow_that_was_changed_after_the_run():
    """The graph is that of the flow as it is now; what was visited and is gone is named."""
    first = Node(name="First")
    first >> Node(name="Second")
    flow = Flow(first, name="F")
    flow.run({})
    first.successors.clear()
    first >> Node(name="Third")
    assert "(the flow has changed since this run; visited nodes that it no longer has: F/Second)" in outline_of(
        flow.last_run
    )
    assert "that it no longer has: F/Second" in flow.last_run._repr_mimebundle_()["text/html"]


def test_a_run_of_more_visits_than_are_kept(few_visits_kept):
    """Counts are said to be of the latest visits, and the oldest that is kept is not taken for a start."""

    class Loop(Node):
        def post(self, shared, prep_res, exec_res):
            shared["left"] -= 1
            return "again" if shared["left"] else "done"

    start, loop = Node(name="Start"), Loop()
    start >> loop
    loop - "again" >> loop
    loop - "done" >> Node(name="End")
    flow = Flow(start, name="F", max_steps=None)
    flow.run({"left": 20_000}, progress=False)
    lines = outline_of(flow.last_run)
    assert re.search(r"^\(only the latest [\d,]+ of 20,003 visits are counted here\)$", lines[-1])
    assert any(re.match(r"Loop: ok, [\d,]+\+ visits", line) for line in lines)
    assert "penwidth=2.5" not in next(line for line in flow.last_run.graph().dot().splitlines() if "id=en0" in line)


def test_the_outline_of_a_run_says_what_happened():
    """Whoever cannot see the picture reads the same: states, counts, errors."""
    flow = loop("raise")
    with pytest.raises(ValueError, match="three"):
        flow.run({"left": 2})
    lines = outline_of(flow.last_run)
    assert "Load: ok, 2 visits" in lines
    assert "on 'again' again Load (once)" in lines
    assert "Map, for each item: failed, 3/4 ok, ValueError: <b>three</b>" in lines
    assert "End: not visited" in lines
    assert 'failed: Map"' in flow.last_run._repr_mimebundle_()["text/html"]
    assert "failed" in flow.last_run.graph().mermaid()
