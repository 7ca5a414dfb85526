"""The graph of a run: what happened at each node, and how often each edge was taken."""

import base64
import re
from html import unescape

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node


@pytest.fixture(autouse=True)
def webassembly(monkeypatch):
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "wasi")
    monkeypatch.setenv("LLMFLOW_NB_DISPLAY", "static")


def drawn(flow):
    """What is written on each node of the drawing of its latest run, by its name."""
    html = flow.last_run._repr_mimebundle_()["text/html"]
    svg = base64.b64decode(re.search(r"base64,([^\"]*)", html)[1]).decode()
    groups = re.findall(r'<g id="[^"]*" class="(?:node|cluster)">(.*?)</g>', svg, flags=re.S)
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
        "! Map": ["for each item", "3/4 ok"],
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
