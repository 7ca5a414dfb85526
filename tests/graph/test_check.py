"""`flow.check()`: wiring that is probably not meant, and no false alarm."""

import functools

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowWarning, Node, SignatureError, pocketflow


def node(name, post=None, base=Node):
    return type(name, (base,), {} if post is None else {"post": post})()


def kinds(flow):
    return [(problem.kind, problem.path, problem.action) for problem in flow.check()]


class Judge(Node):
    def post(self, shared, prep_res, exec_res):
        if exec_res:
            return "aprove"
        return "reject"


def test_an_action_without_an_edge():
    """An action that post returns as a constant, and for which a node with edges has none, with a hint."""
    judge = Judge()
    judge - "approve" >> node("Publish")
    judge - "reject" >> node("Drop")
    problems = Flow(judge, name="F").check()
    assert [(p.kind, p.path, p.action) for p in problems] == [("no_edge", "F/Judge", "aprove")]
    assert str(problems[0]) == (
        "F/Judge: may return 'aprove', but has no edge for it (did you mean 'approve'?): the flow ends there."
    )


def test_problems_say_themselves_in_a_list():
    """The list of problems, as a cell shows it, says of each where it is and what to do."""
    judge = Judge()
    judge - "approve" >> node("Publish")
    judge - "reject" >> node("Drop")
    problems = Flow(judge, name="F").check()
    assert repr(problems) == f"[<{problems[0]}>]"


def test_an_edge_that_is_never_taken():
    """An edge that post never names, and what only that leads to, with the way to take it back."""
    judge = Judge()
    judge - "aprove" >> node("Publish")
    judge - "reject" >> node("Drop")
    judge - "later" >> node("Queue")
    problems = Flow(judge, name="F").check()
    assert [(p.kind, p.path, p.action) for p in problems] == [
        ("unused_edge", "F/Judge", "later"),
        ("unreachable", "F/Queue", None),
    ]
    assert problems[0].text == (
        "the edge 'later' is never taken: post returns 'aprove', 'reject'. node.successors.pop('later') removes it."
    )
    del judge.successors["later"]
    assert Flow(judge, name="F").check() == []


def test_an_edge_that_is_never_taken_beside_an_action_that_leads_on_further_out():
    """An action for which the flow around has an edge is none that was meant for another edge here."""
    judge = Judge()
    judge - "reject" >> node("Drop")
    judge - "approve" >> node("Publish")
    draft = Flow(judge, name="draft")
    draft - "aprove" >> node("Announce")
    draft >> node("Archive")
    assert kinds(Flow(draft, name="F")) == [
        ("unused_edge", "F/draft/Judge", "approve"),
        ("unreachable", "F/draft/Publish", None),
    ]


def test_a_post_that_falls_through():
    """A post that falls through returns None, by which a flow may end, also where its other actions have edges."""

    def post(self, shared, prep_res, exec_res):
        if exec_res:
            return "again"

    looping = node("Loop", post)
    looping - "again" >> looping
    looping - "later" >> None
    assert kinds(Flow(looping, name="F")) == []


def computed(self, shared, prep_res, exec_res):
    return exec_res["action"]


def by_variable(self, shared, prep_res, exec_res):
    action = "left" if exec_res else "right"
    return action


def decorated(self, shared, prep_res, exec_res):
    return "somewhere"


decorated = functools.wraps(decorated)(lambda *args: computed(*args))


def tidied(self, shared, prep_res, exec_res):
    try:
        return exec_res["action"]
    finally:
        if shared:
            shared.clear()


def yielded(self, shared, prep_res, exec_res):
    yield "left"


@pytest.mark.parametrize("post", [computed, by_variable, decorated, tidied, yielded, functools.partial(computed)])
def test_what_cannot_be_told_is_not_told(post):
    """Where post returns anything but constants, nothing is said of its edges."""
    first = node("First")
    first.post = post.__get__(first) if hasattr(post, "__get__") else post
    first - "left" >> node("Left")
    first - "right" >> node("Right")
    assert kinds(Flow(first)) == []


def test_a_hook_that_cannot_be_called_leaves_the_edges_untold():
    """Of a node with a hook set on it that cannot be called, which the run refuses, no edge is told of."""
    broken = node("Broken")
    broken.exec = lambda: None
    broken - "left" >> node("Left")
    assert kinds(Flow(broken)) == []
    with pytest.raises(SignatureError, match=r"^Broken: exec\(\) cannot be called"):
        Flow(broken).run({})


@pytest.mark.parametrize("base", [Flow, BatchFlow])
def test_a_flow_with_a_hook_that_cannot_be_called_is_looked_into(base):
    """A flow that the run refuses for a hook set on it is checked all the same, with what is within."""
    judge = Judge()
    judge - "approve" >> node("Publish")
    broken = base(judge, name="Broken")
    broken.exec = lambda: None
    assert ("no_edge", "F/Broken/Judge", "aprove") in kinds(Flow(broken, name="F"))
    with pytest.raises(SignatureError, match=r"exec\(\) cannot be called"):
        Flow(broken).run({})


def test_every_way_of_returning_a_constant():
    """Constants are found in branches, loops, try, with, match and behind and/or, in def and in async def."""

    def post(self, shared, prep_res, exec_res):
        for item in exec_res:
            if item:
                return "a"
        try:
            with shared:
                return "b"
        except ValueError:
            return "c" if prep_res else "d"

    async def later(self, shared, prep_res, exec_res):
        await exec_res
        match prep_res:
            case 1:
                return "e"
            case _:
                return ""

    for hook, actions in ((post, "abcd"), (later, "e")):
        first = node("First", hook)
        for action in actions:
            _ = first - action >> node(action)
        first >> node("Next")
        assert kinds(Flow(first)) == []  # the with block may swallow an exception, and then post falls through


def test_a_loop_with_no_way_out():
    """Steps from which no step is reached at which the flow can end."""
    first, second, third = node("A"), node("B"), node("C")
    first >> second >> third >> second
    assert kinds(Flow(first, name="F")) == [("endless", "F/B", None)]
    first, second, third = node("A"), node("B"), Judge()
    first >> second >> third
    third - "aprove" >> second
    third - "reject" >> node("End")
    assert kinds(Flow(first, name="F")) == []


def test_flows_that_cannot_run():
    """A flow without a start, at any depth, and one that is a step of itself."""
    inner = Flow(name="Inner")
    outer = Flow(inner, name="Outer")
    assert kinds(outer) == [("no_start", "Outer/Inner", None)]
    inner.start(outer)
    assert kinds(outer) == [("contains_itself", "Outer/Inner/Outer", None)]

    class StartsLater(Flow):
        def prep(self, shared):
            self.start(Node())

    assert kinds(StartsLater()) == []


def test_one_object_at_two_places():
    """A node that is a step of two flows, or a flow that is: told once, where it is first met."""
    shared_node = node("N")
    first, second = Flow(shared_node, name="First"), Flow(shared_node, name="Second")
    first >> second
    outer = Flow(first, name="Outer")
    assert kinds(outer) == [("two_places", "Outer/First/N", None)]
    assert "also at Outer/Second/N" in outer.check()[0].text
    inner = Flow(node("N"), name="Inner")
    one, two = Flow(inner, name="One"), Flow(inner, name="Two")
    one >> two
    assert kinds(Flow(one, name="Outer")) == [("two_places", "Outer/One/Inner", None)]


def test_a_step_that_is_also_within_a_flow_beside_it():
    """What a node may return counts at each of its places, also where one of them is within a step of the same flow."""

    def fork(self, shared, prep_res, exec_res):
        return "left" if shared else "right"

    def done(self, shared, prep_res, exec_res):
        return "done"

    first, last = node("First", fork), node("Last", done)
    first - "left" >> last
    first - "right" >> Flow(last, name="Inner")
    middle = Flow(first, name="Middle")
    middle - "done" >> node("End")
    middle - "left" >> node("Nowhere")
    assert kinds(Flow(middle, name="Outer")) == [
        ("unused_edge", "Outer/Middle", "left"),
        ("unreachable", "Outer/Nowhere", None),
        ("two_places", "Outer/Middle/Last", None),
    ]


def test_an_edge_that_was_wired_over():
    """An edge that leads elsewhere than it once did is told of, also after the warning is gone."""
    first = node("First")
    first >> node("Second")
    with pytest.warns(UserWarning, match="Overwriting"):
        first >> node("Third")
    assert kinds(Flow(first, name="F")) == [("overwritten", "F/First", None)]


def test_of_a_node():
    """A node is checked with all that it is wired to."""
    judge = Judge()
    judge - "approve" >> node("Publish")
    judge - "reject" >> node("Drop")
    assert ("no_edge", "Judge", "aprove") in kinds(judge)


def test_no_false_alarm():
    """Sound flows have no problems: chains, branches with all edges, loops that end, nested batches, default posts."""

    def done_or_again(self, shared, prep_res, exec_res):
        return "done" if exec_res else "again"

    load, work, end = node("Load"), node("Work", done_or_again, BatchNode), node("End")
    load >> work
    work - "again" >> load
    work - "done" >> end
    inner = BatchFlow(load, name="Inner")
    outer = BatchFlow(inner)
    inner >> node("After")
    assert kinds(outer) == []
    assert outer.graph().problems == ()


def test_nothing_runs():
    """A check calls no hook and no other code of the user's."""

    class Mine(Node):
        def prep(self, shared):
            raise AssertionError

        def post(self, shared, prep_res, exec_res):
            raise AssertionError

        def __getattr__(self, name):
            raise AssertionError(name)

    Flow(Mine()).check()


def test_an_action_that_leaves_an_inner_flow():
    """An action without an edge in an inner flow is that flow's own, and no mistake where the outer one has an edge."""

    def accept_or_revise(self, shared, prep_res, exec_res):
        return "accept" if exec_res else "revise"

    write = node("Write", accept_or_revise)
    write - "revise" >> write
    drafting = Flow(write, name="Drafting")
    drafting - "accept" >> node("Publish")
    assert kinds(Flow(drafting, name="Article")) == []
    assert kinds(Flow(write, name="Alone")) == []  # there it is the end


def ends_with(action):
    """A node whose post returns this and nothing else."""
    return node(action.title(), {"a": lambda *_: "a", "b": lambda *_: "b", "None": lambda *_: None}[action])


def test_an_inner_flow_is_left_by_what_its_last_nodes_return():
    """Its edges are checked against that, like those of a node against its post."""
    inner = Flow(ends_with("a"), name="Inner")
    inner - "b" >> node("After")
    outer = Flow(inner, name="Outer")
    assert kinds(outer) == [
        ("no_edge", "Outer/Inner", "a"),
        ("unused_edge", "Outer/Inner", "b"),
        ("unreachable", "Outer/After", None),
    ]
    inner - "a" >> node("Right")
    del inner.successors["b"]
    assert kinds(outer) == []


def test_an_action_may_leave_several_flows():
    """Where no flow but the outermost has edges, the action of a node far within chooses among those."""
    judge = Judge()
    judge - "rejected" >> judge
    outer = Flow(Flow(Flow(judge, name="Deep"), name="Middle"), name="Outer")
    assert ("no_edge", "Flow/Outer/Middle/Deep/Judge", "reject") in kinds(Flow(outer))
    outer - "reject" >> node("Publish")
    outer - "aprove" >> node("Drop")
    assert [kind for kind, _, _ in kinds(Flow(outer))] == ["unused_edge"]


def test_a_batch_flow_hands_no_action_on():
    """What its nodes return ends a param set, whatever edges the batch flow has."""
    judge = Judge()
    judge - "reject" >> judge
    each = BatchFlow(judge, name="Each")
    each - "aprove" >> node("Publish")
    assert kinds(Flow(each, name="F")) == [
        ("no_edge", "F/Each", "default"),
        ("unused_edge", "F/Each", "aprove"),
        ("unreachable", "F/Publish", None),
    ]


def test_a_node_of_the_library_stands_for_what_is_not_written_yet():
    """Of such a node nothing is said: a flow can be sketched before its classes are there."""
    sketch = Node(name="Decide")
    sketch - "search" >> Node(name="Search") >> sketch
    sketch - "answer" >> BatchNode(name="Answer")
    assert kinds(Flow(sketch)) == []


def test_a_post_that_returns_within_a_with_block():
    """A with block could swallow an exception, and post return None; hardly one does, so nothing is said of that."""

    def post(self, shared, prep_res, exec_res):
        with shared["lock"]:
            return "next"

    async def later(self, shared, prep_res, exec_res):
        async with shared["lock"]:
            if exec_res:
                return "next"
            return "next"

    for hook in (post, later):
        first = node("First", hook)
        first - "next" >> node("Next")
        assert kinds(Flow(first)) == []


def test_what_is_never_reached_has_no_problems_of_its_own():
    """A step that no walk comes to is told of once, and what it would return ends nothing."""
    first, dead = node("First", lambda *_: "go"), node("Dead", lambda *_: "zz")
    first - "go" >> node("Go")
    first - "dead" >> dead
    dead - "a" >> node("Never")
    inner = Flow(first, name="Inner")
    inner >> node("After")
    assert [(kind, path) for kind, path, _ in kinds(inner)] == [
        ("unused_edge", "Inner/First"),
        ("unreachable", "Inner/Dead"),
        ("unreachable", "Inner/Never"),
    ]
    assert [path for _, path, _ in kinds(Flow(inner, name="F"))] == ["F/Inner/First", "F/Inner/Dead", "F/Inner/Never"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("excec", "did you mean exec?"),
        ("exe", "did you mean exec?"),
        ("Post", "did you mean post?"),
        ("fallback", "did you mean exec_fallback?"),
        ("exec_async", "write async def exec"),
    ],
)
def test_a_method_with_nearly_the_name_of_a_hook(name, hint):
    """Nobody calls it, and the hook that was meant is not there."""
    step = type("Ask", (Node,), {name: lambda self, *args: None})()
    (problem,) = Flow(step, name="F").check()
    assert (problem.kind, problem.path) == ("misspelt", "F/Ask")
    assert problem.text == f"nothing calls its method {name}; {hint}"


@pytest.mark.parametrize(
    "name", ["prepare", "execute", "post_process", "ask", "_exe", "retry", "cost", "host", "process_a_file"]
)
def test_methods_of_ones_own_are_no_misspelt_hooks(name):
    """Helpers may have any name; and where the hook is there, what resembles it is one of them."""
    helper = {name: lambda self: None}
    assert Flow(type("Ask", (Node,), helper)()).check() == []
    hooks = {
        "prep": lambda self, shared: None,
        "exec": lambda self, item: None,
        "exec_fallback": lambda self, item, exc: None,
        "post": lambda self, shared, prep_res, exec_res: None,
    }
    assert Flow(type("Ask", (Node,), {**hooks, **helper, "excec": lambda self: None})()).check() == []


def test_a_method_that_another_one_calls_is_no_misspelt_hook():
    """Whatever it is called: somebody calls it."""

    class Ask(Node):
        def exec(self, item):
            return self.posts(item)

        def posts(self, item):
            return item

    assert Flow(Ask()).check() == []


def test_an_exec_of_a_plain_flow_is_never_called():
    """A flow runs its nodes; the class is told so when it is made, and so is who checks the flow or one around it."""
    with pytest.warns(FlowWarning, match=r"Nothing calls .*Outer\.exec: a flow runs its nodes, so do the work in one"):

        class Outer(Flow):
            def exec(self, prep_res):
                return prep_res

    problems = Flow(Outer(Node(), name="F"), name="G").check()
    assert [(problem.kind, problem.path) for problem in problems] == [("never_called", "G/F")]
    assert problems[0].text == (
        "nothing calls its exec; a flow runs its nodes, so do the work in one of them, or in prep or post of the flow."
    )


def test_an_exec_of_a_flow_that_is_called_is_no_problem():
    """A batch flow calls its own, and a method of the class may."""

    class Each(BatchFlow):
        def prep(self, shared):
            return []

        def exec(self, prep_res):
            return None

    class Helped(Flow):
        def exec(self, prep_res):
            return prep_res

        def post(self, shared, prep_res, exec_res):
            return self.exec(exec_res)

    assert Each(Node()).check() == []
    assert [problem.kind for problem in Helped(Node()).check()] == []


def test_an_exec_of_a_flow_of_pocketflow_is_told_by_check_alone():
    """PocketFlow never calls it either, and says nothing as the class is made."""

    class Old(pocketflow.Flow):
        def exec(self, prep_res):
            return prep_res

    assert [problem.kind for problem in Old(pocketflow.Node()).check()] == ["never_called"]
