from llmflow_nb import BatchFlow, BatchNode, Flow, Node


class Decide(Node):
    pass


class Search(Node):
    pass


class Map(BatchNode):
    async def exec(self, item):
        return item


class Each(BatchFlow):
    pass


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
    on 'more' again Each
    then finish
  finish"""
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
  flow, no start node"""
    )


def test_namesakes_are_told_apart():
    """The second node of a name is called as records call it, so that an edge has one meaning."""
    first = Search()
    first >> Search()
    assert Flow(first).graph().outline().splitlines()[1:] == ["  Search", "    then Search#2", "  Search#2"]
