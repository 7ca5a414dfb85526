from llmflow_nb import BatchFlow, BatchNode, Flow, Node


class Decide(Node):
    def post(self, shared, prep_res, exec_res):
        return exec_res


class Search(Node):
    pass


class Map(BatchNode):
    async def exec(self, item):
        return item


class Each(BatchFlow):
    def post(self, shared, prep_res, exec_res):
        return shared["action"]


def test_the_whole_outline_of_a_nested_looping_flow():
    """A line for each step, its edges below it in words, those of a flow after its steps."""
    decide, search, each = Decide(), Search(max_retries=3), Each(Map(max_concurrency=None))
    decide - "search" >> search >> decide
    decide - "map" >> each
    each - "more" >> each
    each >> Node(name="finish")
    assert (
        Flow(decide, name="Chat").graph().outline()
        == """\
flow Chat, starts at Decide
  Decide
    on 'search' to Search
    on 'map' to Each
  Search, up to 3 attempts
    then back to Decide
  batch flow Each, for each param set, starts at Map
    Map, for each item, all at once, async
      then the end of Each
    on 'more' again Each
    then finish
  finish
    then the end"""
    )


def test_flows_that_cannot_run_say_so():
    """A flow without a start, and one that contains itself, are named as such."""
    flow = Flow(name="F")
    flow.start(Decide()) >> flow
    flow.start_node - "other" >> Flow()
    assert (
        flow.graph().outline()
        == """\
flow F, starts at Decide
  Decide
    then F
    on 'other' to Flow
  flow F, contains itself: this cannot run
    then the end
  flow, no start node
    then the end
! F/F: it contains itself, so it cannot run; wire the inner step to another flow.
! F/Flow: it has no start node; write Flow(start=node) or flow.start(node)."""
    )


def test_namesakes_are_told_apart():
    """The second node of a name is called as records call it, so that an edge has one meaning."""
    first = Search()
    first >> Search()
    assert Flow(first).graph().outline().splitlines()[1:] == [
        "  Search",
        "    then Search#2",
        "  Search#2",
        "    then the end",
    ]


class Judge(Node):
    def post(self, shared, prep_res, exec_res):
        return "approve" if exec_res else "revize"


def test_the_ways_out_of_a_flow():
    """The actions that end a flow are named, with what is wrong about one that no edge is there for."""
    judge = Judge()
    judge - "revise" >> judge
    drafting = Flow(judge, name="Drafting")
    drafting - "approve" >> Node(name="Publish")
    assert (
        Flow(drafting, name="Article").graph().outline()
        == """\
flow Article, starts at Drafting
  flow Drafting, starts at Judge
    Judge
      on 'revise' again Judge
      on 'revize', with no edge for it, the end of Drafting
      on 'approve' the end of Drafting
    on 'approve' to Publish
    on 'revize', with no edge for it, the end
  Publish
    then the end
! Article/Drafting/Judge: may return 'revize', but has no edge for it (did you mean 'revise'?): the flow ends there."""
    )
