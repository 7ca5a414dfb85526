"""Paths and actions in records: every node has a path of its own, and an action is a plain text."""

from enum import Enum
from itertools import pairwise

import pytest

from llmflow_nb import BatchNode, Flow, FlowWarning, Node, RowError


class Do(BatchNode):
    """Its one item is its name."""

    def prep(self, shared):
        return [self.name]

    def exec(self, item):
        return item


def chain(*nodes):
    for node, following in pairwise(nodes):
        node >> following
    return Flow(start=nodes[0], name="F")


def test_a_slash_in_a_name():
    """A "/" in a name is told from that between names, in the record, the graph and the stepper."""
    outer, inner = Do(name="load/parse"), Flow(start=Do(name="parse"), name="load")
    flow = chain(outer, inner)
    flow.run({})
    run = flow.last_run
    assert run.batch("F/load/parse").results == ["parse"]
    assert run.batch("load/parse").results == run.batch(outer).results == ["load/parse"]
    paths = run.steps["path"].tolist()
    assert len(set(paths)) == 4
    assert run.steps["node"].tolist() == ["load/parse", "parse", "load", "F"]
    stepper = chain(Do(name="first"), outer).stepper({})
    stepper.breakpoints.add("load/parse")
    assert stepper.run().path == paths[0]
    stepper.out()
    assert stepper.history["node"].tolist()[1] == "load/parse"


def test_a_path_as_one_types_it():
    """A path may be written with a plain "/" where that names one batch only."""
    flow = chain(Do(name="Q/A"), Do(name="B"))
    flow.run({})
    assert flow.last_run.batch("F/Q/A").results == ["Q/A"]
    with pytest.raises(RowError, match=r"no batch 'F/Q/B'"):
        flow.last_run.batch("F/Q/B")


def test_a_number_in_a_name():
    """A node whose own name looks like a number given to another one keeps it; the other has the next."""
    flow = chain(Do(name="parse"), Do(name="parse"), Do(name="parse#2"))
    flow.run({})
    assert flow.last_run.steps["path"].tolist() == ["F/parse", "F/parse#3", "F/parse#2", "F"]
    assert flow.last_run.batch("parse#2").results == ["parse#2"]


def test_graph_and_record_agree():
    """The ids of the graph are the paths of the record, whatever the names hold."""
    flow = chain(Do(name="a/b"), Do(name="a/b"), Flow(start=Do(name="b"), name="a"))
    flow.run({})
    assert {node.id for node in flow.graph().nodes} == set(flow.last_run.steps["path"])


class Go(str, Enum):  # noqa: UP042
    DONE = "done"
    LOST = "lost"


class Choose(Node):
    action = Go.DONE

    def post(self, shared, prep_res, exec_res):
        return self.action


def test_an_enum_of_actions():
    """An action that is an Enum of strings is shown and recorded as its text; run returns it as it was returned."""
    first, last = Choose(name="A"), Choose(name="B")
    first - Go.DONE >> last
    flow = Flow(start=first, name="F")
    assert flow.run({}) is Go.DONE
    assert "on 'done' to B" in flow.graph().outline()
    assert list(first.successors) == ["done"]
    assert type(next(iter(first.successors))) is str
    actions = flow.last_run.steps["action"].tolist()
    assert actions == ["done", "done", "done"]
    assert {type(action) for action in actions} == {str}
    assert {type(visit.action) for visit in flow.last_run.visits} == {str}


def test_a_lost_enum_of_actions():
    """So is an action without an edge, in the warning and among the problems."""
    first = Choose(name="A")
    first.action = Go.LOST
    first - Go.DONE >> Node(name="B")
    flow = Flow(start=first, name="F")
    with pytest.warns(FlowWarning, match=r"^Flow ends: 'lost' not found in \['done'\]"):
        flow.run({})
    assert flow.last_run.problems == ["F/A: 'lost' not found in ['done']"]
