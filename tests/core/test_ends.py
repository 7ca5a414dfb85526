"""``a - "error" >> None``: an edge that ends the flow, and is meant to."""

import warnings

import pocketflow as theirs
import pytest

import llmflow_nb
import llmflow_nb.pocketflow as ours
from llmflow_nb import Flow, FlowWarning, LostActionError, Node


class Say(Node):
    """Returns its action."""

    action = None

    def __init__(self, action=None, name="say"):
        super().__init__(name=name)
        self.action = action

    def post(self, shared, prep_res, exec_res):
        shared.append(self.name)
        return self.action


class Judge(Node):
    def post(self, shared, prep_res, exec_res):
        return "good" if shared else "bad"


def judged():
    """A node that leads on, back to itself, or to an end that is meant."""
    judge, publish = Judge(), Say(name="publish")
    judge - "good" >> publish
    judge - "bad" >> None
    publish >> None
    return judge, publish


@pytest.mark.parametrize("lib", [theirs, ours, llmflow_nb], ids=lambda lib: lib.__name__)
@pytest.mark.parametrize(
    "wire",
    [
        lambda node: node - "stop" >> None,
        lambda node: node.next(None, "stop"),
    ],
    ids=["- >>", "next"],
)
def test_an_edge_to_none_ends_the_flow(lib, wire):
    """Every way of wiring takes None, gives None back, and the flow ends with the action as under PocketFlow."""

    class Stop(lib.Node):
        def post(self, shared, prep_res, exec_res):
            return "stop"

    node = Stop()
    node >> lib.Node()
    assert wire(node) is None
    assert node.successors["stop"] is None
    with warnings.catch_warnings():
        warnings.simplefilter("error" if lib is not theirs else "ignore")  # PocketFlow warns all the same
        assert lib.Flow(start=node).run({}) == "stop"


@pytest.mark.parametrize("action", [None, "", "default"])
def test_the_default_action_may_lead_to_none(action):
    """``a >> None`` ends the flow on every spelling of the default action, without a warning."""
    node = Say(action)
    assert (node >> None) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Flow(node).run([]) == action


def test_a_strict_flow_takes_an_edge_to_none():
    """A strict flow ends at an edge to None, and still refuses an action that has no edge at all."""
    node = Say("stop")
    node - "stop" >> None
    assert Flow(node, strict=True).run([]) == "stop"
    node.action = "halt"
    with pytest.raises(LostActionError, match=r"^Flow ends: 'halt' not found in \['stop'\]"):
        Flow(node, strict=True).run([])


def test_an_end_of_an_inner_flow_leads_on_further_out():
    """An inner flow that ends on purpose hands its action to the flow around it, as with any other end."""
    inner = Say("stop")
    inner - "stop" >> None
    flow = Flow(inner)
    flow - "stop" >> Say(name="after")
    shared = []
    Flow(flow).run(shared)
    assert shared == ["say", "after"]


def test_an_end_of_an_inner_flow_that_leads_nowhere_is_reported_further_out():
    """The flow around an end has no edge for its action: that is warned of there, and only there."""
    inner = Say("stop")
    inner - "stop" >> None
    flow = Flow(inner, name="Inner")
    flow >> Say(name="after")
    with pytest.warns(FlowWarning) as warned:
        Flow(flow, name="Outer").run([])
    assert [str(warning.message) for warning in warned] == [
        "Flow ends: 'stop' not found in ['default'], at Outer/Inner"
    ]


def test_a_loop_with_an_end_is_named_when_it_never_ends():
    """A flow that passes its limit of steps names its loop, also where a node has an edge to None."""
    a, b = Say(name="a"), Say(name="b")
    a - "stop" >> None
    a >> b >> a
    with pytest.raises(llmflow_nb.MaxStepsError, match="in the loop b > a > b"):
        Flow(a, max_steps=5).run([])


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        (None, Say(name="b"), "Overwriting successor for action 'default' of a: was the end, is b"),
        (Say(name="b"), None, "Overwriting successor for action 'default' of a: was b, is the end"),
    ],
)
def test_rewiring_an_end_warns(first, second, text):
    """An end that becomes an edge, and an edge that becomes an end, are told as any other edge that is overwritten."""
    a = Say(name="a")
    a >> first
    with pytest.warns(FlowWarning) as warned:
        a >> second
    assert [str(warning.message) for warning in warned] == [text]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a >> second


def test_check_takes_an_end_as_meant():
    """``check`` has no word for an edge to None: neither where it is taken, nor where post never names it."""
    judge, _ = judged()
    judge - "ugly" >> None
    assert Flow(judge).check() == []
    loop = Say()
    loop >> loop
    loop - "stop" >> None
    assert Flow(loop).check() == []


def test_check_sees_a_loop_whose_end_is_never_reached():
    """An edge to None is no way out of a loop if no post returns its action."""
    judge = Judge()
    judge - "good" >> judge
    judge - "bad" >> judge
    judge - "ugly" >> None
    assert [problem.kind for problem in Flow(judge).check()] == ["endless"]


def test_drawn_as_an_end():
    """Outline, DOT and Mermaid draw an edge to None as an end of the flow, with its action."""
    judge, _ = judged()
    graph = Flow(judge, name="F").graph()
    assert graph.outline().splitlines() == [
        "flow F, starts at Judge",
        "  Judge",
        "    on 'good' to publish",
        "    on 'bad' the end",
        "  publish, Say",
        "    then the end",
    ]
    assert "n1 -> zn0" in graph.dot()
    assert "no edge" not in graph.dot()
    assert 'n1 -->|"bad"| zn0' in graph.mermaid()


def test_a_loop_is_drawn_back_beside_an_end():
    """An edge that closes a loop is seen as one that leads back, also when an edge to None was wired before it."""
    a, b = Say(name="a"), Say(name="b")
    a - "stop" >> None
    a >> b
    b - "stop" >> None
    b >> a
    assert [(edge.source, edge.is_back) for edge in Flow(a, name="F").graph().edges] == [("F/a", False), ("F/b", True)]


def test_stepping_to_an_end():
    """The stepper walks to an end that is meant, and forces its action without a word on a missing edge."""
    judge, _ = judged()
    stepper = Flow(judge).stepper([1])
    stepper.into()
    stepper.force("bad")
    assert "no edge" not in str(stepper.place)
    assert stepper.run().action == "bad"
    assert stepper.place.is_end
