"""Classes whose cell is run again: the nodes that were made of them follow, however they are run."""

import asyncio
import functools
import textwrap

import pytest

from llmflow_nb import Flow, FlowWarning
from tests.stepper.helpers import Cells

pytestmark = pytest.mark.filterwarnings("ignore:.*its class was defined again:llmflow_nb.FlowWarning")

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
    """Of these nothing tells an edit from another class; where they differ, a warning says which one is run."""
    loop = (
        "nodes = []\nfor size in ('small', 'large'):\n    class Sized(Ask): model = size\n    nodes.append(Sized())\n"
    )
    nodes = cells.run(cell() + loop).nodes
    nodes[0] >> nodes[1]
    shared = []
    with pytest.warns(FlowWarning, match="^Sized was defined again, and has no methods to tell an edit by"):
        Flow(nodes[0]).run(shared)
    assert shared == ["small", "large"]


def test_a_class_without_methods_whose_base_was_edited(cells):
    """It follows, since its cell was run again after that of its base."""
    cells.run(cell())
    flow, shared = Flow(cells.run("class Small(Ask):\n    limit = 3").Small()), []
    flow.run(shared)
    cells.run(cell(answer="'edited'"))
    cells.run("class Small(Ask):\n    limit = 3")
    flow.run(shared)
    assert shared == ["small", "edited"]


def test_a_class_attribute_that_answers_to_every_name(cells):
    """Such as a proxy of a server: nothing is asked of it."""

    class Proxy:
        def __getattr__(self, name):
            return self

    cells.module.PROXY = Proxy()
    flow, shared = Flow(cells.run(cell() + "    server = PROXY\n").Ask()), []
    flow.run(shared)
    cells.run(cell("edited") + "    server = PROXY\n")
    flow.run(shared)
    assert shared == ["small", "edited"]


def test_a_class_that_became_another_kind_of_node(cells):
    """An object cannot follow that; a warning says so, and the run goes on with what the flow has."""
    flow, shared = Flow(cells.run(cell()).Ask()), []
    cells.run(cell(answer="'edited'").replace("Node", "BatchNode"))
    with pytest.warns(FlowWarning, match="^Ask was defined again as another kind of node"):
        flow.run(shared)
    assert shared == ["small"]


def test_a_run_says_that_a_class_was_edited(cells):
    """Which node it is: two classes of one name may stand in two cells by mistake."""
    flow = Flow(cells.run(cell()).Ask())
    cells.run(cell(answer="'edited'"))
    with pytest.warns(FlowWarning, match="^Ask: its class was defined again, and this run has the new one"):
        flow.run([])


def test_an_edit_of_a_static_method(cells):
    """A helper counts as the hooks do."""
    helper = "    @staticmethod\n    def helper():\n        return 'small'\n\n"
    text = cell(answer="self.helper()").replace("    def exec", f"{helper}    def exec")
    flow, shared = Flow(cells.run(text).Ask()), []
    flow.run(shared)
    cells.run(text.replace("return 'small'", "return 'edited'"))
    flow.run(shared)
    assert shared == ["small", "edited"]


def test_a_class_without_methods_that_is_the_same_again(cells):
    """Its cell was run again as it was, and there is nothing to warn of."""
    cells.run(cell())
    flow, shared = Flow(cells.run("class Small(Ask):\n    limit = 3").Small()), []
    cells.run("class Small(Ask):\n    limit = 3")
    flow.run(shared)
    assert shared == ["small"]
