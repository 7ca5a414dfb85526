"""Outside of a notebook, in scripts, the IPython terminal and pytest: text, and stdout is the program's own."""

import os
import re
import subprocess
import sys
import textwrap

import pytest

FLOW = """
from llmflow_nb import BatchNode, Flow

class Double(BatchNode):
    def prep(self, shared):
        return range(3)
    def exec(self, n):
        return 2 * n
    def post(self, shared, numbers, doubled):
        shared["doubled"] = doubled

flow = Flow(Double(), name="F")
"""


@pytest.fixture
def elsewhere(tmp_path):
    """Runs a command beside a module ``doubles`` that holds a flow, and returns what it wrote to stdout and stderr."""
    (tmp_path / "doubles.py").write_text(FLOW)

    def run(*command, text=""):
        env = {name: value for name, value in os.environ.items() if not name.startswith(("LLMFLOW_NB_", "PYTEST_"))}
        env |= {"IPYTHONDIR": str(tmp_path / "ipython"), "PYTHONPATH": str(tmp_path), "TERM": "dumb"}
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # some take seconds to import
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=env, input=text, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    return run


def test_in_the_terminal_of_ipython(elsewhere):
    """A flow is its outline, a run and a batch are their tables, a stepper says where it is: all of it text."""
    lines = ["from doubles import flow", "flow", "flow.run({})", "flow.last_run", "flow.last_run.batch('Double')"]
    lines += ["stepper = flow.stepper({})", "stepper", "stepper.over()", "stepper.shared"]
    out, err = elsewhere("-m", "IPython", "--simple-prompt", "--no-banner", text="\n".join([*lines, "exit", ""]))
    assert "flow F, starts at Double\n  Double, for each item\n    then the end\n" in out
    assert "F: ok\n  2 visits, 3 calls" in out
    assert "F/Double: ok\n  3 items, 3 ok" in out
    assert "F/Double  visit 1  before prep  called 0, replayed 0\n\nflow F, starts at Double: running\n" in out
    assert "F  visit 1  at the end, action None  called 3, replayed 0\n" in out
    assert "{'doubled': [0, 2, 4]}" in out
    assert not any(word in out for word in ("<svg", "<div", "Widget", "Traceback"))
    assert err == ""


def test_in_a_script(elsewhere, tmp_path):
    """What the flow is and did can be printed; how far it is goes to stderr, and only where that is asked for."""
    script = """
        from doubles import flow

        print(flow.graph().outline())
        flow.run({})
        flow.run({}, progress=True)
        print(flow.last_run.batch("Double").results)
        stepper = flow.stepper({})
        print(stepper.run())
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    out, err = elsewhere("script.py")
    assert out == (
        "flow F, starts at Double\n  Double, for each item\n    then the end\n"
        "[0, 2, 4]\n"
        "F  visit 1  at the end, action None  called 3, replayed 0\n"
    )
    assert err.startswith("F ok | Double 3/3 items | 2 visits, ")
    assert err.count("\n") == 1


def test_under_pytest(elsewhere, tmp_path):
    """A test that runs a flow shows nothing beside what pytest does, also where output is not captured."""
    test = """
        import asyncio
        from doubles import flow

        def test_plain():
            shared = {}
            flow.run(shared)
            assert shared == {"doubled": [0, 2, 4]}

        def test_in_a_running_loop():
            async def main():
                flow.run({})
                await flow.run_async({})
                return await flow.submit({})

            assert asyncio.run(main()) is None
    """
    (tmp_path / "test_it.py").write_text(textwrap.dedent(test))
    out, err = elsewhere("-m", "pytest", "-s", "-q", "-p", "no:cacheprovider", "-W", "error", "test_it.py")
    assert re.fullmatch(r"\.\.( +\[100%\])?\n2 passed in \S+s\n", out)
    assert err == ""
