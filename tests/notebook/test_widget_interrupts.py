"""The interrupt button while a step of the widget is in progress, in a real kernel, as a front end sends it."""

import pytest

from tests.engine.kernel import WITHIN, running_kernel

SETUP = """
import signal, threading
from llmflow_nb import BatchNode, Flow
from llmflow_nb.notebook.display import view_of

class Slow(BatchNode):
    def prep(self, shared):
        return range(1000)

    def exec(self, item):
        calls.append(item)
        if len(calls) == 5:
            began.set()
        threading.Event().wait(0.01)
        return item * 10

    def post(self, shared, prep_res, exec_res):
        shared["out"] = exec_res
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_kernel(tmp_path_factory.mktemp("kernel"), SETUP) as kernel:
        yield kernel


def open_stepper(kernel):
    kernel.run("calls, began = [], threading.Event(); stepper = Flow(Slow(), name='F').stepper({})")
    return kernel.run("view_of(stepper).model_id").strip("'")


def is_idle(state):
    return state.get("status", {}).get("busy") is False


def test_an_interrupt_ends_the_step(running):
    """The step ends within a second, calls nothing more, and keeps what was paid for."""
    widget = open_stepper(running)
    running.press(widget, do="run")
    running.run("assert began.wait(20)")
    running.manager.interrupt_kernel()
    running.wait_for_widget(widget, lambda state: state.get("status", {}).get("message") == "stopping …", WITHIN)
    running.wait_for_widget(widget, is_idle, WITHIN)

    running.run("before = len(calls)")
    assert running.run("stepper.place.phase, stepper.error") == "('before prep', None)"
    assert 5 <= int(running.run("before")) < 1000
    assert running.run("threading.Event().wait(0.1), len(calls) == before") == "(False, True)"
    running.run("place = stepper.into(); place = stepper.to_item(before)")
    assert running.run("stepper.called == len(calls) == before, stepper.replayed == before") == "(True, True)"


def test_afterwards_the_kernel_is_as_it_was(running):
    """Between two cells the kernel ignores the signal again, and an interrupt of a cell is one of that cell."""
    widget = open_stepper(running)
    running.press(widget, do="into")
    running.wait_for_widget(widget, is_idle)
    assert running.interrupt("print('under way', flush=True); threading.Event().wait(20)") == "KeyboardInterrupt"
    running.run("seen = []")
    for _ in range(200):
        running.run("get_ipython().kernel.io_loop.add_callback(lambda: seen.append(signal.getsignal(signal.SIGINT)))")
        if running.run("seen[-1] is signal.SIG_IGN") == "True":
            return
    pytest.fail("the handler was not removed")
