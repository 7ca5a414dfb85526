import base64
import re
from html import escape
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from llmflow_nb import Flow, Node


@pytest.fixture(autouse=True)
def webassembly(monkeypatch):
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "wasi")


def chat(name="Chat"):
    ask = Node(name="Ask")
    ask >> Node(name="Answer")
    return Flow(ask, name=name)


def tags(html):
    """The elements of an HTML text with their attributes."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, dict(attributes)))
    parser.handle_data = lambda data: found.append(data)
    parser.feed(html)
    parser.close()
    return found


def test_a_flow_shows_image_svg_and_text():
    """Three forms, one for every kind of front end; the image holds the same SVG."""
    bundle = chat()._repr_mimebundle_()
    assert list(bundle) == ["text/html", "image/svg+xml", "text/plain"]
    ((tag, attributes),) = tags(bundle["text/html"])
    kind, _, data = attributes["src"].partition(",")
    assert (tag, kind) == ("img", "data:image/svg+xml;base64")
    assert base64.b64decode(data).decode() == bundle["image/svg+xml"]
    assert attributes["alt"] == "Graph of Chat: Ask, Answer"
    assert attributes["style"] == "max-width: 100%"
    assert bundle["text/plain"] == chat().graph().outline()


def test_without_a_renderer_there_is_the_outline_and_the_reason(monkeypatch):
    """Nothing to draw with is no error, and no empty cell."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "none")
    bundle = chat()._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    outline, _, reason = bundle["text/plain"].rpartition("\n")
    assert outline == chat().graph().outline()
    assert reason.startswith("(Chat cannot be drawn: drawing is switched off by LLMFLOW_NB_GRAPHVIZ=none.")


@pytest.mark.parametrize("name", ['"><script>alert(1)</script>', "x' onerror='alert(1)", "&quot;&lt;", "\x00\ud800"])
def test_a_hostile_name_stays_in_the_description(name):
    """The HTML is one image whatever the flow is called, and the name can be read in its description."""
    ((tag, attributes),) = tags(chat(name)._repr_mimebundle_()["text/html"])
    assert (tag, sorted(attributes)) == ("img", ["alt", "src", "style"])
    assert (name if name.isprintable() else r"\x00\ud800") in attributes["alt"]


def test_showing_never_raises():
    """A flow that is broken inside still shows something, and says what is wrong."""
    flow = chat()
    flow.start_node.successors["odd"] = "Answer"
    assert flow._repr_mimebundle_() == {
        "text/plain": "<Flow: the edge 'odd' of Ask leads to a str, which is not a node.>"
    }


def test_a_flow_too_large_to_draw_is_text():
    """Beyond 200 nodes there is no drawing, the outline is cut, and both say how to get the whole."""
    nodes = [Node(name=f"a rather long name for the node with the number {i}") for i in range(2_000)]
    for node, following in pairwise(nodes):
        node >> following
    bundle = Flow(nodes[0])._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert bundle["text/plain"].splitlines()[-2:] == [
        "(cut here; print(flow.graph().outline()) shows all)",
        "(not drawn: 2001 nodes; flow.graph() draws them all)",
    ]


def test_inner_flows_are_closed_before_a_drawing_gets_too_large():
    """A large flow of flows is drawn with its outer steps; inner flows beyond the limit stay closed."""
    flows = []
    for i in range(30):
        nodes = [Node() for _ in range(20)]
        for node, following in pairwise(nodes):
            node >> following
        flows.append(Flow(nodes[0], name=f"part {i}"))
    for flow, following in pairwise(flows):
        flow >> following
    bundle = Flow(flows[0])._repr_mimebundle_()
    assert list(bundle) == ["text/html", "text/plain"]  # once: a notebook is not to grow by megabytes
    drawing = base64.b64decode(re.search('base64,([^"]*)', bundle["text/html"])[1]).decode()
    assert "steps not shown" in drawing
    assert "flow part 29, steps not shown" in bundle["text/plain"]


def test_looking_does_not_run():
    """The last run is the same before and after the flow is shown."""
    flow = chat()
    flow._repr_mimebundle_()
    assert flow.last_run is None


def test_the_model_shows_itself_too():
    """`flow.graph()` as the last line of a cell is the drawing."""
    assert chat().graph()._repr_mimebundle_() == chat()._repr_mimebundle_()
    assert list(chat().graph()._repr_mimebundle_()) == ["text/html", "image/svg+xml", "text/plain"]
    assert repr(chat().graph()) == "<GraphModel of Chat: 3 nodes, 1 edges>"


def test_without_the_html_form(monkeypatch):
    """With the word svg in LLMFLOW_NB_DISPLAY there is no HTML, for viewers that would show it without its image."""
    monkeypatch.setenv("LLMFLOW_NB_DISPLAY", "static, svg")
    assert list(chat()._repr_mimebundle_()) == ["image/svg+xml", "text/plain"]


def test_a_large_graph_has_its_inner_flows_closed():
    """Beyond 200 nodes inner flows are left closed, and the picture says so; all are drawn when asked."""

    def chain(length, start):
        node = start
        for number in range(length):
            node = node >> Node(name=f"Step {number}")
        return start

    outer = Flow(chain(3, Flow(chain(250, Node(name="First")), name="Inner")), name="Outer")
    bundle = outer._repr_mimebundle_()
    notice = "1 inner flow left closed; flow.graph() opens all"
    assert f"<div>{notice}</div>" in bundle["text/html"]
    assert notice in bundle["text/plain"]
    assert "Step 249" not in bundle["image/svg+xml"]
    assert "Step 249" in outer.graph().svg()


def test_a_node_shows_what_it_is_wired_to():
    """A node as the last line of a cell shows itself and all that can be reached from it."""
    first = Node(name="First")
    first >> Node(name="Second")
    assert first._repr_mimebundle_()["text/plain"] == "First\n  then Second\nSecond"


def test_what_is_probably_not_meant_is_said_below_the_drawing():
    """A slip in the wiring is seen before anything runs: in the drawing, below it, and in the text."""

    class Judge(Node):
        def post(self, shared, prep_res, exec_res):
            return "aprove"

    judge = Judge()
    judge - "approve" >> Node(name="Publish")
    bundle = Flow(judge, name="<b>F</b>")._repr_mimebundle_()
    said = (
        "! <b>F<\N{DIVISION SLASH}b>/Judge: may return 'aprove', but has no edge for it (did you mean 'approve'?): "
        "the flow ends there."
    )
    assert bundle["text/plain"].splitlines()[-1] == said
    assert f"<div>{escape(said)}</div>" in bundle["text/html"]
    assert "aprove" in bundle["image/svg+xml"]


def test_a_graph_is_shown_as_it_was_asked_for():
    """Direction, legend and colours are of the graph, so a cell shows them."""
    bundle = chat().graph(legend=True, style=lambda node: {"fillcolor": "#ffd700"})._repr_mimebundle_()
    assert "rounded box: node" in bundle["image/svg+xml"]
    assert bundle["image/svg+xml"].count("#ffd700") >= 2


def test_a_stepper_without_a_kernel_is_text():
    """As the last line of a cell that nobody can answer, a stepper says where it is, above the outline of its flow."""
    stepper = chat().stepper({})
    stepper.over()
    with pytest.raises(NotImplementedError):  # so IPython shows the text
        stepper._ipython_display_()
    shown = stepper._repr_mimebundle_()["text/plain"]
    assert shown == f"{stepper.place}\n\n{stepper.record.graph().outline()}"
    assert shown.startswith("Chat/Answer")


def test_a_submitted_run_without_a_kernel_is_text():
    """As the last line of a cell, a run in the background says how it went in a line."""
    submitted = chat().submit({}, progress=False)
    assert submitted.wait(10)
    with pytest.raises(NotImplementedError):  # so IPython shows the text
        submitted._ipython_display_()
    assert submitted._repr_mimebundle_()["text/plain"].startswith("Chat ok | 3 visits, ")
