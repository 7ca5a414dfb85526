"""Classes whose cell is run again: the nodes that were made of them follow, however they are run."""

import asyncio
import functools
import textwrap

import pytest

from llmflow_nb import Flow, FlowWarning
from tests.stepper.helpers import Cells

CELL = """
    from llmflow_nb import Node

    class Ask(Node):
        model = {model!r}

        def exec(self, prep_res):
            return {answer}

        def post(self, shared, prep_res, exec_res):
            shared.append(exec_res)
"""


@pytest.fixture
def cells():
    with Cells("a_notebook_with_edits") as cells:
        yield cells


def cell(model="small", answer="self.model"):
    return textwrap.dedent(CELL.format(model=model, answer=answer))


def run(flow, shared):
    flow.run(shared)


def run_async(flow, shared):
    asyncio.run(flow.run_async(shared))


def submit(flow, shared):
    flow.submit(shared).wait()


def step(flow, shared):
    flow.stepper(shared).run()


@pytest.mark.parametrize("way", [run, run_async, submit, step])
@pytest.mark.parametrize("edit", [{"answer": "'edited'"}, {"model": "edited"}], ids=["a hook", "an attribute"])
def test_a_node_follows_its_class(cells, way, edit):
    """The cell is edited and run again, the wiring is not: the next run has the new code."""
    flow, shared = Flow(cells.run(cell()).Ask()), []
    way(flow, shared)
    cells.run(cell(**edit))
    way(flow, shared)
    assert shared == ["small", "edited"]


def test_a_cell_that_is_run_again_as_it_is(cells):
    """What it reads from other cells may have changed."""
    text = cell().replace("'small'", "MODEL")
    cells.module.MODEL = "small"
    flow, shared = Flow(cells.run(text).Ask()), []
    flow.run(shared)
    cells.module.MODEL = "large"
    cells.run(text)
    flow.run(shared)
    assert shared == ["small", "large"]


def test_classes_that_a_loop_makes_stay_apart(cells):
    """One of them is no edit of another."""
    loop = "nodes = []\nfor size in ('small', 'large'):\n" + textwrap.indent(cell().replace("'small'", "size"), "    ")
    nodes = cells.run(loop + "    nodes.append(Ask())\n").nodes
    nodes[0] >> nodes[1]
    shared = []
    Flow(nodes[0]).run(shared)
    assert shared == ["small", "large"]


def test_classes_of_one_name_in_one_cell_stay_apart(cells):
    """Neither is one further down in the same cell."""
    nodes = cells.run(f"{cell()}\nfirst = Ask()\n{cell('large')}\nsecond = Ask()").__dict__
    nodes["first"] >> nodes["second"]
    shared = []
    Flow(nodes["first"]).run(shared)
    assert shared == ["small", "large"]


def test_a_hook_in_a_decorator(cells):
    """The code that counts is the user's, not that of what is around it."""
    text = cell().replace("    def exec", "    @traced\n    def exec")

    def traced(function):
        @functools.wraps(function)
        def around(*args):
            return function(*args)

        return around

    cells.module.traced = traced
    flow, shared = Flow(cells.run(text).Ask()), []
    flow.run(shared)
    cells.run(text.replace("self.model", "'edited'"))
    flow.run(shared)
    assert shared == ["small", "edited"]


def test_classes_without_methods_stay_apart(cells):
    """Of these nothing tells an edit from another class."""
    loop = (
        "nodes = []\nfor size in ('small', 'large'):\n    class Sized(Ask): model = size\n    nodes.append(Sized())\n"
    )
    nodes = cells.run(cell() + loop).nodes
    nodes[0] >> nodes[1]
    shared = []
    Flow(nodes[0]).run(shared)
    assert shared == ["small", "large"]


def test_a_class_that_became_another_kind_of_node(cells):
    """An object cannot follow that; a warning says so, and the run goes on with what the flow has."""
    flow, shared = Flow(cells.run(cell()).Ask()), []
    cells.run(cell(answer="'edited'").replace("Node", "BatchNode"))
    with pytest.warns(FlowWarning, match="^Ask was defined again as another kind of node"):
        flow.run(shared)
    assert shared == ["small"]


def test_the_record_says_that_a_class_was_edited(cells):
    """Which node of the flow it is."""
    flow = Flow(cells.run(cell()).Ask())
    cells.run(cell(answer="'edited'"))
    flow.run([])
    assert flow.last_run.notes == [("Ask", "its class was defined again; this run has the new one")]
