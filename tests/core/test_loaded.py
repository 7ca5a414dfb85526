"""Libraries that another thread is importing: their modules are there, and not what is in them."""

import sys
from types import ModuleType

import pytest

from llmflow_nb import BatchNode, Flow, Journal


@pytest.mark.parametrize("name", ["pydantic", "pandas", "numpy", "polars", "pyarrow", "cloudpickle", "IPython"])
def test_a_module_that_is_half_imported_is_not_used(name, monkeypatch, tmp_path):
    """Calls are made, kept and shown. Nothing can be of such a library yet."""

    class Label(BatchNode):
        def prep(self, shared):
            return ["a", ("b", 1), {"c": [2]}]

        def exec(self, item):
            return [item]

    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    flow = Flow(Label())
    flow.run({}, journal=tmp_path / "runs.db", progress=True)
    repr(flow.last_run)
    monkeypatch.undo()
    flow.run({}, journal=tmp_path / "runs.db")
    assert Journal(tmp_path / "runs.db").runs["replayed"].tolist() == [3, 0]
