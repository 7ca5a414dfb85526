"""Classes whose cell is run again: the nodes that were made of them follow, however they are run."""

import asyncio
import functools
import importlib
import subprocess
import sys
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
    """A loop makes different classes, also if they have no methods."""
    loop = (
        "nodes = []\nfor size in ('small', 'large'):\n    class Sized(Ask): model = size\n    nodes.append(Sized())\n"
    )
    nodes = cells.run(cell() + loop).nodes
    nodes[0] >> nodes[1]
    shared = []
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
    with pytest.warns(FlowWarning, match="^Ask: its class was defined again, and this run uses the new class"):
        flow.run([])


def test_a_cell_that_is_run_again_as_it_was_warns_of_nothing(cells, recwarn):
    """Nothing is different, so there is nothing to say."""
    flow = Flow(cells.run(cell()).Ask())
    cells.run("\n\n" + cell().replace("class Ask(Node):", "class Ask(Node):\n    'Asks.'"))
    flow.run([])
    assert [str(found.message) for found in recwarn] == []


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


# --- which class is a new version of which ---------------------------------------------------------------------------

SIBLINGS = {
    "a decorator that generates methods": """
        from dataclasses import dataclass
        from llmflow_nb import Node
        nodes = []
        for style in ("formal", "casual"):
            @dataclass
            class Ask(Node):
                tries: int = 1
                prompt = style
                def exec(self, x): return self.prompt
                def post(self, shared, p, answer): shared.append(answer)
            nodes.append(Ask())
        """,
    "one template": r"""
        from llmflow_nb import Node
        CODE = "class Ask(Node):\n  def exec(self, x): return {n!r}\n  def post(self, s, p, e): s.append(e)"
        nodes = []
        for style in ("formal", "casual"):
            exec(CODE.format(n=style))
            nodes.append(Ask())
        """,
    "type()": """
        from llmflow_nb import Node
        nodes = []
        for style in ("formal", "casual"):
            def answer(self, x, *, style=style): return style
            def post(self, shared, p, answer): shared.append(answer)
            Ask = type("Ask", (Node,), {"exec": answer, "post": post})
            nodes.append(Ask())
        """,
    "a function": """
        from llmflow_nb import Node
        def make(style):
            global Ask
            class Ask(Node):
                def exec(self, x): return style
                def post(self, shared, p, answer): shared.append(answer)
            return Ask()
        nodes = [make("formal"), make("casual")]
        """,
}


@pytest.mark.parametrize("how", SIBLINGS)
def test_classes_of_one_name_that_one_cell_makes_stay_apart(cells, how, recwarn):
    """Neither is a new version of the other, and it stays so when the cell is run again."""
    text = textwrap.dedent(SIBLINGS[how])
    nodes = cells.run(text).nodes
    nodes[0] >> nodes[1]
    flow, shared = Flow(nodes[0]), []
    flow.run(shared)
    cells.run(text.replace("formal", "polite").replace("casual", "rude"))
    flow.run(shared)
    assert shared == ["formal", "casual"] * 2
    assert [str(found.message) for found in recwarn] == []


def test_a_loop_that_became_a_single_class_or_the_other_way_round(cells):
    """It is not known which of several classes a single one replaces, so nothing is rebound."""
    loop = "nodes = []\nfor size in ('a', 'b'):\n" + textwrap.indent(cell().replace("'small'", "size"), "    ")
    loop += "    nodes.append(Ask())\n"
    several = cells.run(loop).nodes
    single = cells.run(cell()).Ask()
    cells.run(loop)
    shared = []
    for node in (*several, single):
        node.run(shared)
    assert shared == ["a", "b", "small"]


def test_a_class_made_in_a_function_is_never_rebound(cells):
    """Each call of the function makes another class, and no name leads to it."""
    text = "def make():\n" + textwrap.indent(cell(), "    ") + "    return Ask\nAsk = make()\n"
    node, shared = cells.run(text).Ask(), []
    cells.run(text.replace("small", "large"))
    node.run(shared)
    assert shared == ["small"]


def test_an_older_class_under_the_name_is_no_new_version(cells):
    """Who puts the earlier class back under its name keeps the nodes of the later one."""
    first = cells.run(cell()).Ask
    node, shared = cells.run(cell("large")).Ask(), []
    cells.module.Ask = first
    node.run(shared)
    assert shared == ["large"]


def test_another_class_under_the_name_is_no_new_version(cells):
    """An alias has another name of its own."""
    node, shared = cells.run(cell()).Ask(), []
    cells.run(cell("large").replace("class Ask", "class Other") + "\nAsk = Other\n")
    node.run(shared)
    assert shared == ["small"]


@pytest.mark.parametrize("decorator", ["@dataclass(slots=True)", "@dataclass", "@named"])
def test_a_decorator_that_replaces_the_class(cells, decorator):
    """A copy, or a subclass of the same name, that a decorator makes is no second class."""
    text = f"""
        from dataclasses import dataclass
        from llmflow_nb import Node

        def named(cls):
            return type(cls.__name__, (cls,), {{"name": "ask"}})

        {decorator}
        class Ask(Node):
            def exec(self, x): return "small"
            def post(self, shared, p, answer): shared.append(answer)
        """
    text = textwrap.dedent(text)
    flow, shared = Flow(cells.run(text).Ask()), []
    flow.run(shared)
    cells.run(text.replace("small", "large"))
    flow.run(shared)
    assert shared == ["small", "large"]


WRAPPERS = {
    "an object with __call__ and __get__": """
        class wrapper:
            def __init__(self, fn): functools.update_wrapper(self, fn)
            def __get__(self, node, owner=None): return self if node is None else functools.partial(self, node)
            def __call__(self, *args): return self.__wrapped__(*args)
        """,
    "an object without __wrapped__": """
        class wrapper:
            def __init__(self, fn): self.fn = fn
            def __get__(self, node, owner=None): return self if node is None else functools.partial(self.fn, node)
            def __call__(self, node, x): return self.fn(node, x)
        """,
    "functools.cache": "wrapper = functools.cache",
    "functools.partialmethod": "wrapper = functools.partialmethod",
    "functools.singledispatchmethod": "wrapper = functools.singledispatchmethod",
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("way", [run, step])
def test_an_edit_within_a_wrapper(cells, way, wrapper):
    """Whatever a decorator makes of the hook, the edit of the hook is seen."""
    cells.run("import functools\n" + textwrap.dedent(WRAPPERS[wrapper]))
    text = (
        "from llmflow_nb import Node\nclass Ask(Node):\n    @wrapper\n    def exec(self, x): answers.append('small')\n"
    )
    cells.module.answers = []
    flow = Flow(cells.run(text).Ask())
    way(flow, {})
    cells.run(text.replace("small", "edited"))
    way(flow, {})
    assert cells.module.answers == ["small", "edited"]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_stepper_sees_an_edit_within_a_wrapper(cells, wrapper):
    """The same stepper calls again what was edited, and nothing else."""
    cells.run("import functools\n" + textwrap.dedent(WRAPPERS[wrapper]))
    text = (
        "from llmflow_nb import Node\nclass Ask(Node):\n    @wrapper\n    def exec(self, x): answers.append('small')\n"
    )
    cells.module.answers = []
    stepper = cells.run(text).Ask().stepper({})
    stepper.run()
    for version in (text, text.replace("small", "edited")):
        cells.run(version)
        stepper.goto(0)
        stepper.run()
    assert cells.module.answers == ["small", "edited"]


@pytest.mark.parametrize("made", ["class Ask(Prompt, BatchNode):\n", "class Ask(BatchNode):\n    @wrapper\n"])
def test_a_retry_sees_an_edit_in_a_mixin_or_a_wrapper(cells, made):
    """Rows are retried with the code as it is now."""
    hook = "    def exec(self, x): return 1 / x\n"
    text = "import functools\nfrom llmflow_nb import BatchNode\nwrapper = functools.partialmethod\n"
    text += f"class Prompt:\n{hook}{made}" + hook * ("wrapper" in made) + "    def prep(self, shared): return [1, 0]\n"
    node = cells.run(text).Ask(on_error="keep")
    node.run({})
    cells.run(text.replace("1 / x", "x"))
    node.last_run.batch(node).retry_failed()
    assert node.last_run.batch(node).results == [1.0, 0]


@pytest.mark.parametrize("way", [run, step])
def test_an_edit_in_a_mixin(cells, way):
    """A plain base class of the same cell counts as the class itself."""
    text = """
        from llmflow_nb import Node

        class Prompt:
            def exec(self, x): return "small"

        class Ask(Prompt, Node):
            def post(self, shared, p, answer): shared.append(answer)
        """
    text = textwrap.dedent(text)
    flow, shared = Flow(cells.run(text).Ask()), []
    way(flow, shared)
    cells.run(text.replace("small", "edited"))
    way(flow, shared)
    assert shared == ["small", "edited"]


def test_a_module_that_is_reloaded(tmp_path, monkeypatch):
    """Its classes are new versions, and two classes of one name in it are not."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "nodes_that_are_reloaded.py"
    path.write_text(cell() + "\n\nfirst = Ask()\n")
    module = importlib.import_module(path.stem)
    node, shared = module.Ask(), []
    node.run(shared)
    path.write_text(cell("larger") + "\n\nfirst = Ask()\n")
    importlib.reload(module)
    node.run(shared)
    path.write_text(cell("one") + "\n\nfirst = Ask()\n" + cell("two") + "\n\nsecond = Ask()\n")
    importlib.reload(module)
    for each in (node, module.first, module.second):
        each.run(shared)
    assert shared == ["small", "larger", "larger", "one", "two"]


IN_IPYTHON = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
CELL = {cell!r}
def run(text):
    shell.run_cell(text).raise_error()
run("from llmflow_nb import Flow\\n" + CELL)
run("flow, shared = Flow(Ask()), []; flow.run(shared)")
run(CELL.replace("small", "edited"))
run("flow.run(shared)")
run("%%time\\n" + CELL.replace("small", "timed"))
run("flow.run(shared)")
run("get_ipython().run_cell(" + repr(CELL.replace("small", "nested")) + ")")
run("flow.run(shared)")
run("import asyncio\\nawait asyncio.sleep(0)\\n" + CELL.replace("small", "async"))
run("flow.run(shared)")
run(CELL.replace("small", "one") + "\\nfirst = Ask()\\n" + CELL.replace("small", "two") + "\\nsecond = Ask()")
run("first.run(shared); second.run(shared); flow.run(shared)")
print(shell.user_ns["shared"])
"""

IN_A_CONSOLE = """
from llmflow_nb import Flow, Node
{cell}
flow, shared = Flow(Ask()), []
flow.run(shared)
{edited}
flow.run(shared)
for text in ("one", "two"): exec(CELL.replace("small", text)); Ask().run(shared)

print(shared)
"""


def printed(*command, text=""):
    """The last line that a Python of its own prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_cells_of_ipython():
    """Every way of running a cell counts, and two classes of one name in one cell stay apart."""
    answers = ["small", "edited", "timed", "nested", "async", "one", "two", "async"]
    assert printed("-c", IN_IPYTHON.format(cell=cell())) == str(answers)


def test_lines_of_the_python_console():
    """A class statement that is typed again is a new version."""
    typed = [cell(model).replace("\n\n    def", "\n    def") for model in ("small", "edited")]
    text = f"CELL = {cell()!r}\n" + IN_A_CONSOLE.format(cell=typed[0], edited=typed[1])
    assert printed("-i", "-q", text=text) == str(["small", "edited", "one", "two"])


def test_a_script(tmp_path):
    """A script runs once, so two classes of one name in it are different classes."""
    script = tmp_path / "script.py"
    script.write_text(
        f"CELL = {cell()!r}\nshared, nodes = [], []\n"
        "for text in ('one', 'two'):\n    exec(CELL.replace('small', text))\n    nodes.append(Ask())\n"
        "for node in nodes: node.run(shared)\nprint(shared)\n"
    )
    assert printed(str(script)) == str(["one", "two"])


def test_templates_in_a_function_of_a_module(tmp_path, monkeypatch):
    """Where the execution is unknown, nothing is rebound."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "makes_nodes.py").write_text("def make(text):\n    exec(text, globals())\n    return Ask()\n")
    make = importlib.import_module("makes_nodes").make
    nodes, shared = [make(cell(size)) for size in ("small", "large")], []
    for node in nodes:
        node.run(shared)
    assert shared == ["small", "large"]


def test_a_class_that_is_pickled_by_value(cells):
    """Where a class was defined means nothing in another process, and does not hinder pickling."""
    cloudpickle = pytest.importorskip("cloudpickle")
    cls = cells.run(cell()).Ask
    cloudpickle.register_pickle_by_value(cells.module)
    shared = []
    cloudpickle.loads(cloudpickle.dumps(cls))().run(shared)
    assert shared == ["small"]
