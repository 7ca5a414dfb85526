"""Edges: how they are wired, what is refused, and what becomes of an action that has none."""

import warnings

import pytest

from llmflow_nb import BatchFlow, Flow, FlowError, LostActionError, Node, WiringError, WiringTypeError


class Say(Node):
    """Notes its name in ``shared`` and returns an action."""

    def __init__(self, name="say", action=None):
        super().__init__(name=name)
        self.action = action

    def post(self, shared, prep_res, exec_res):
        shared.append(self.name)
        return self.action


def ran(start, **options):
    """Run a flow from this node and return the names of the nodes in the order in which they ran."""
    shared = []
    Flow(start=start, **options).run(shared)
    return shared


# ---- ways to wire ----------------------------------------------------------------------------------------------------


def test_operators_return_the_target():
    """``a >> b`` and ``a - "x" >> b`` return b, so that they chain."""
    a, b, c = Say("a"), Say("b", "x"), Say("c")
    assert (a >> b) is b
    assert (b - "x" >> c) is c
    assert ran(a) == ["a", "b", "c"]


@pytest.mark.parametrize("method", ["next", "add_successor"])
def test_methods_return_the_target(method):
    """``next`` and ``add_successor`` wire the default edge, or a named one, and return the target."""
    a, b, c = Say("a"), Say("b", "x"), Say("c")
    assert getattr(a, method)(b) is b
    assert getattr(b, method)(c, "x") is c
    assert a.successors == {"default": b}
    assert b.successors == {"x": c}
    assert ran(a) == ["a", "b", "c"]


@pytest.mark.parametrize("action", [None, "", "default"])
def test_default_edge(action):
    """None, an empty string and "default" follow the default edge."""
    a, b = Say("a", action), Say("b")
    a >> b
    assert ran(a) == ["a", "b"]


def test_actions_may_be_any_text():
    """An action is any string that is not empty, also one that is no word."""
    a, b = Say("a", "näher prüfen → 2"), Say("b")
    a - "näher prüfen → 2" >> b
    assert ran(a) == ["a", "b"]


def test_a_node_may_lead_to_itself():
    """A node may be its own successor."""

    class Thrice(Node):
        def post(self, shared, prep_res, exec_res):
            shared.append("x")
            return "again" if len(shared) < 3 else None

    node = Thrice()
    node - "again" >> node
    node >> Say("end")
    assert ran(node) == ["x", "x", "x", "end"]


def test_edges_belong_to_the_object():
    """Wiring one node leaves other nodes of its class as they are."""
    a, b = Say("a"), Say("b")
    a >> b
    assert b.successors == {}
    assert Say().successors == {}


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("b", "a str"),
        (3, "an int"),
        ([], "a list"),
        (lambda shared: None, "a function"),
        (Say, r"the class Say; add \(\)"),
        (int, r"the class int"),
    ],
)
@pytest.mark.parametrize(
    "wire",
    [
        lambda node, target: node >> target,
        lambda node, target: node - "default" >> target,
        lambda node, target: node.next(target),
        lambda node, target: node.add_successor(target),
    ],
    ids=[">>", "- >>", "next", "add_successor"],
)
def test_target_that_is_no_node(wire, target, found):
    """A target that is no node is refused where it is wired, with what was found instead."""
    node = Say("a")
    with pytest.raises(
        TypeError, match=rf"^<Say 'a'> >> needs a node or a flow \(or None for the end\) as its target, not {found}"
    ) as e:
        wire(node, target)
    assert isinstance(e.value, WiringTypeError)
    assert node.successors == {}


def test_a_class_that_is_no_node_gets_no_advice_to_call_it():
    """The advice to add parentheses is given for a class of nodes only."""
    with pytest.raises(WiringTypeError) as caught:
        Say("a") >> int
    assert "add ()" not in str(caught.value)


@pytest.mark.parametrize("action", [3, None, 2.5, ["x"], Say])
def test_action_that_is_no_string(action):
    """``node - 3`` is a TypeError, as is ``next(node, 3)``."""
    with pytest.raises(TypeError, match=r"^Action must be a string"):
        Say() - action
    with pytest.raises(TypeError, match=r"^Action must be a non-empty string"):
        Say().next(Say(), action)


def test_empty_action():
    """An empty action cannot be wired: post that returns it means "default"."""
    with pytest.raises(WiringTypeError, match=r"^Action must be a non-empty string, not ''"):
        Say().next(Say(), "")
    with pytest.raises(WiringTypeError, match=r"^Action must be a non-empty string"):
        Say() - "" >> Say()


@pytest.mark.parametrize("start", ["node", 3, lambda: None])
def test_start_that_is_no_node(start):
    """``Flow(start=x)`` and ``flow.start(x)`` refuse what is no node."""
    with pytest.raises(WiringTypeError, match=r"^Flow needs a node or a flow to start with, not a"):
        Flow(start=start)
    with pytest.raises(WiringTypeError, match=r"^Flow needs a node or a flow to start with, not a"):
        Flow().start(start)


def test_start_that_is_a_class():
    """A class instead of a node as the start is named as such, as it is behind ``>>``."""
    with pytest.raises(WiringTypeError, match=r"^Flow needs a node .* not the class Say; add \(\)"):
        Flow(start=Say)


def test_flow_start_none():
    """``flow.start(None)`` is refused; ``Flow()`` may get its start later."""
    with pytest.raises(WiringTypeError, match="not a NoneType"):
        Flow().start(None)
    assert Flow().start_node is None


# ---- wiring twice ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wire",
    [
        lambda node, target: node >> target,
        lambda node, target: node - "default" >> target,
        lambda node, target: node.next(target),
        lambda node, target: node.add_successor(target),
    ],
    ids=[">>", "- >>", "next", "add_successor"],
)
def test_overwriting_warns_at_the_line(wire):
    """The same action wired twice overwrites, with one warning that names both targets and points at this file."""
    a, b, c = Say("a"), Say("b"), Say("c")
    a >> b
    with pytest.warns(UserWarning, match="^Overwriting successor for action 'default' of a: was b, is c") as seen:
        wire(a, c)
    assert [warning.filename for warning in seen] == [__file__]
    assert ran(a) == ["a", "c"]


def test_wiring_the_same_edge_again():
    """Running a wiring cell again, on the same nodes, changes nothing, and there is nothing to say of it."""
    a, b = Say("a"), Say("b")
    a >> b
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a >> b
    assert a.successors == {"default": b}


@pytest.mark.parametrize(("what", "found"), [(Say, r"the class Say; add \(\)"), (None, "a NoneType"), ([], "a list")])
def test_what_is_no_node_before_an_edge(what, found):
    """Where ``()`` was forgotten on the left, the error says so."""
    with pytest.raises(WiringTypeError, match=rf"^>> <Say 'b'> needs a node or a flow before it, not {found}"):
        what >> Say("b")


# ---- actions without an edge -----------------------------------------------------------------------------------------


def lost(action):
    node = Say("check", action)
    node - "approve" >> Say("yes")
    node - "reject" >> Say("no")
    return node


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (
            "aprove",
            r"^Flow ends: 'aprove' not found in \['approve', 'reject'\] \(did you mean 'approve'\?\), at Flow/check$",
        ),
        ("zzz", r"^Flow ends: 'zzz' not found in \['approve', 'reject'\], at Flow/check$"),
        (None, r"^Flow ends: 'None' not found in \['approve', 'reject'\] \(post returned None\), at Flow/check$"),
    ],
)
def test_lost_action_warns_once(action, text):
    """An action without an edge ends the flow with exactly one warning, that suggests what was meant."""
    flow, shared = Flow(start=lost(action)), []
    with pytest.warns(UserWarning, match=text) as seen:
        assert flow.run(shared) == action
    assert len(seen) == 1
    assert shared == ["check"]


def article(inner, **settings):
    """A flow in which ``inner`` is the draft of an article, and the next step is published when it is accepted."""
    draft = Flow(inner, name="draft", **settings)
    draft - "accept" >> Say("publish", "done")
    return draft


def test_an_action_that_leads_on_from_the_flow_around():
    """No warning, and no error of a strict flow, where the flow that ends has an edge for it further out."""
    inner = Say("judge", "accept")
    inner - "revise" >> inner
    for draft in (article(inner, strict=True), article(Flow(Flow(inner, strict=True)), strict=True)):
        shared = []
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Flow(draft, strict=True).run(shared) == "done"
        assert shared == ["judge", "publish"]


def test_an_action_that_leads_on_from_two_flows_further_out():
    """Also where the flow between has edges, and none of them is for it."""
    inner = Say("judge", "accept")
    inner - "revise" >> inner
    middle = Flow(inner, name="middle", strict=True)
    middle - "give up" >> Say("shelve")
    shared = []
    assert Flow(article(middle, strict=True), strict=True).run(shared) == "done"
    assert shared == ["judge", "publish"]


def test_an_action_that_passes_through_several_flows_is_warned_of_once():
    """Where it is lost first, which is where the slip is."""
    inner = Say("judge", "acept")
    inner - "accept" >> Say("publish")
    middle = Flow(inner, name="middle")
    middle - "accept" >> Say("announce")
    with pytest.warns(UserWarning, match=r"did you mean 'accept'\?\), at outer/middle/judge") as seen:
        Flow(middle, name="outer").run([])
    assert len(seen) == 1


def test_a_lost_action_that_passes_a_flow_without_edges_is_warned_of_once():
    """The flow between has no edges, so it ends with the same action, which its own end says nothing more of."""
    outer = Flow(Flow(lost("zzz"), name="Mid"), name="Out")
    outer - "b" >> Say("other")
    flow = Flow(outer, name="All")
    with pytest.warns(UserWarning, match="^Flow ends: 'zzz'") as told:
        flow.run([])
    assert len(told) == len(flow.last_run.problems) == 1


def test_an_edge_to_what_is_no_node_is_named():
    """Only who writes into successors can have put it there; running, checking and drawing say where it is."""
    first = Say("first")
    first.successors["next"] = "second"
    flow = Flow(first)
    for look in (flow.check, flow.graph, lambda: flow.run([])):
        with pytest.raises(WiringError, match="the edge 'next' of first leads to a str"):
            look()


def test_an_action_that_leads_nowhere_from_the_flow_around():
    """It is warned of where it has no edge: a flow with a post of its own, and a batch flow, hand nothing on."""

    class OwnPost(Flow):
        def post(self, shared, prep_res, exec_res):
            return "accept"

    class Once(BatchFlow):
        def prep(self, shared):
            return [{}]

        def post(self, shared, prep_res, exec_res):
            return "accept"

    for kind in (OwnPost, Once):
        inner = Say("judge", "accept")
        inner - "revise" >> inner
        draft = kind(inner)
        draft - "accept" >> Say("publish")
        with pytest.warns(UserWarning, match="Flow ends: 'accept' not found in .'revise'.") as seen:
            Flow(draft).run([])
        assert len(seen) == 1


def test_lost_action_warning_points_at_the_line():
    """The warning points at the line that ran the flow."""
    flow = Flow(start=lost("zzz"))
    with pytest.warns(UserWarning, match="Flow ends") as seen:
        flow.run([])
    assert seen[0].filename == __file__


def test_lost_action_is_in_the_record():
    """The record of the run says so too."""
    flow = Flow(start=lost("aprove"))
    with pytest.warns(UserWarning, match="Flow ends"):
        flow.run([])
    (problem,) = flow.last_run.problems
    assert "Flow/check" in problem
    assert "aprove" in problem


def test_no_edges_at_all():
    """A node without edges ends the flow silently, whatever its action."""
    assert ran(Say("only", "whatever")) == ["only"]


@pytest.mark.parametrize("action", ["aprove", "zzz", None])
def test_strict(action):
    """``strict=True`` makes a lost action an error that says where, and holds its parts."""
    flow = Flow(start=lost(action), strict=True)
    with pytest.raises(LostActionError, match=f"^Flow ends: '{action}' not found in .* at Flow/check") as caught:
        flow.run([])
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, FlowError)
    assert caught.value.action == action
    assert caught.value.known == ["approve", "reject"]
    assert flow.last_run.status == "failed"


def test_strict_leaves_an_end_alone():
    """A node without edges ends a strict flow too, and an action with an edge is followed."""
    node = lost("approve")
    assert ran(node, strict=True) == ["check", "yes"]


def test_wiring_errors_have_one_base():
    """Every wiring error is a WiringError."""
    assert issubclass(WiringTypeError, WiringError)
    assert issubclass(WiringError, ValueError)


# ---- what post may return --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", [3, 0, False, True, 2.5, ["x"], {"x": 1}, ("x",), b"x"])
def test_action_that_is_no_string_at_run_time(action):
    """``post`` that returns anything but a string or None is an error that names the node and the type."""
    found = f"{'an' if type(action) is int else 'a'} {type(action).__name__}"
    with pytest.raises(TypeError, match=f"^Flow/say.post returned {found}; an action is a string or None") as caught:
        ran(Say("say", action))
    assert isinstance(caught.value, FlowError)


def test_action_of_a_subclass_of_str():
    """A subclass of ``str``, such as a string enum, is a string."""

    class Text(str):
        __slots__ = ()

    a, b = Say("a", Text("x")), Say("b")
    a - "x" >> b
    assert ran(a) == ["a", "b"]


def test_coroutine_that_was_never_awaited():
    """A coroutine inside what ``post`` returns is named as such when it is no coroutine of ``post`` itself."""

    class Forgets(Node):
        async def decide(self):
            return "x"

        async def post(self, shared, prep_res, exec_res):
            return self.decide()

    with pytest.raises(TypeError, match=r"Forgets.post returned a coroutine .*decide.* that was never awaited"):
        ran(Forgets())
