"""`check` tells a slip from an end: PocketFlow's flows end by an action without an edge, and that gets no word."""

import pytest

from llmflow_nb import Flow, FlowWarning, Node
from llmflow_nb.core.near import closest


def node(name, *actions):
    """A node whose post returns one of these actions, each written as a constant."""
    lines = [f"    if exec_res == {n}: return {action!r}" for n, action in enumerate(actions)]
    space = {}
    exec("\n".join(["def post(self, shared, prep_res, exec_res):", *lines, "    raise ValueError"]), space)
    return type(name, (Node,), {"post": space["post"]})()


def lost(start):
    """The actions that check has a word on, with the hint."""
    return [(p.action, p.text.partition("did you mean ")[2].partition("?")[0]) for p in Flow(start).check()]


@pytest.mark.parametrize("end", ["exit", "end", "done", "no_results", "too_many", "approved", "Finished", None])
def test_an_end_beside_a_loop(end):
    """A node that loops, or ends by another action: the way a chat or an agent ends."""
    chat = node("Chat", "again", end)
    chat - "again" >> chat
    assert lost(chat) == []


@pytest.mark.parametrize("end", ["quit", "failed", "reject", "validation_error", "give_up", "pause", None])
def test_an_end_beside_another_end(end):
    """An action that says how a step came out may end a flow that ends elsewhere as well."""
    judge = node("Judge", "publish", "revise", end)
    judge - "revise" >> judge
    judge - "publish" >> node("Publish", "done")
    assert lost(judge) == []


@pytest.mark.parametrize(
    ("returned", "wired"),
    [("aprove", "approve"), ("serach", "search"), ("finish", "finished"), ("ready", "raedy"), ("re-try", "retry")],
)
def test_a_near_name(returned, wired):
    """An action that is nearly that of an edge which post never names is a slip, with a hint."""
    judge = node("Judge", returned, "other")
    judge - wired >> node("Next", None)
    judge - "other" >> node("Other", None)
    assert (returned, repr(wired)) in lost(judge)


def test_one_misspelt_return_among_right_ones():
    """Where post returns the right action too, one letter too few or swapped is a slip; another word is none."""
    ask = node("Ask", "retry", "retyr", "continue", "contnue")
    ask - "retry" >> ask
    ask - "continue" >> node("Next", None)
    assert lost(ask) == [("retyr", "'retry'"), ("contnue", "'continue'")]
    search = node("Search", "search", "research", "searches")
    search - "search" >> search
    assert lost(search) == []


def test_an_edge_with_a_name_that_is_never_returned():
    """An action without an edge beside an edge without an action: one of the two is wrong."""
    judge = node("Judge", "accept", "reject")
    judge - "publish" >> node("Publish", None)
    judge - "reject" >> judge
    assert [(p.kind, p.action) for p in Flow(judge).check()] == [
        ("no_edge", "accept"),
        ("unused_edge", "publish"),
        ("unreachable", None),
    ]


def test_a_step_that_was_forgotten():
    """An action that seems to name a step, beside others that lead on, while the flow ends elsewhere."""
    route = node("Route", "math", "code", "poetry")
    math, code = node("Math", None), node("Code", None)
    route - "math" >> math
    route - "code" >> code
    assert lost(route) == [("poetry", "")]
    code >> node("Check", "poetry")  # the program ends by it elsewhere, so it is an end
    assert lost(route) == []


def test_an_action_that_the_caller_waits_for():
    """The only way out of a flow is meant, whatever its name."""
    route = node("Route", "ask", "escalate")
    ask = node("Ask", "route")
    route - "ask" >> ask
    ask - "route" >> route
    assert lost(route) == []


def test_once_for_a_class():
    """Of several nodes of one class a slip is told once."""
    first = node("Judge", "aprove")
    second, third = type(first)(), type(first)()
    first - "approve" >> None
    for judge in (first, second, third):
        judge - "next" >> node("Next", None)
        judge.successors.pop("approve", None)
    first.successors["next"], second.successors["next"] = second, third
    assert [p.path for p in Flow(first).check() if p.kind == "no_edge"] == ["Flow/Judge"]


def test_actions_that_are_computed_behind_an_override():
    """Of a node with a ``_run`` of its own, and of a flow with a walk of its own, nothing is said."""
    from llmflow_nb import pocketflow as names

    class Whole(names.Node):
        def _run(self, shared):
            return "search"

    whole = Whole()
    whole - "search" >> names.Node()
    assert names.Flow(start=whole).check() == []

    class Judge(names.Node):
        def post(self, shared, prep_res, exec_res):
            return "aprove"

    class Routed(names.Flow):
        def get_next_node(self, curr, action):
            return super().get_next_node(curr, "approve")

    class Walked(names.Flow):
        def _orch(self, shared, params=None):
            return super()._orch(shared, params)

    judge = Judge()
    judge - "approve" >> names.Node()
    assert names.Flow(start=judge).check() != []
    assert Routed(start=judge).check() == []
    assert Walked(start=judge).check() == []


@pytest.mark.parametrize(
    ("word", "opposite"),
    [
        *[("approve", "disapprove"), ("approved", "Disapprove"), ("valid", "invalid"), ("success", "unsuccessful")],
        *[("is_valid", "is_invalid"), ("found", "not_found"), ("relevant", "irrelevant"), ("safe", "unsafe")],
        *[("include", "exclude"), ("increase", "decrease"), ("enable", "disable"), ("positive", "negative")],
        *[("more", "no_more"), ("step_1", "step_2"), ("q1", "q2"), ("complete", "incomplete")],
    ],
)
def test_an_opposite_is_no_hint(word, opposite):
    """The opposite of a word, and the next of a numbered one, is never what was meant, whichever was written."""
    assert closest(word, [opposite]) is None
    assert closest(opposite, [word]) is None
    assert closest(word, [opposite, word]) == word


@pytest.mark.parametrize(
    ("word", "known"),
    [("aprove", "approve"), ("dissaprove", "disapprove"), ("invlaid", "invalid"), ("unkown", "unknown")],
)
def test_a_slip_in_a_negated_word_has_a_hint(word, known):
    """A word that begins with a negation can be misspelt too."""
    assert closest(word, [known]) == known


def test_the_warning_of_a_run_hints_at_no_opposite():
    """A run that ends by "approve", where only "disapprove" has an edge, says so without a hint."""
    judge = node("Judge", "approve", "disapprove")
    judge.exec = lambda prep_res: 0
    judge - "disapprove" >> judge
    with pytest.warns(FlowWarning) as warned:
        Flow(judge).run({})
    assert [str(w.message) for w in warned] == ["Flow ends: 'approve' not found in ['disapprove'], at Flow/Judge"]
