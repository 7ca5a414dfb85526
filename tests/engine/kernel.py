"""A real kernel for tests: runs cells in it and interrupts them, as a front end does."""

import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from time import monotonic

import pytest
from jupyter_client import KernelManager

WITHIN = 5  # seconds to end after an interrupt: far less than what blocks would take by itself, also on a busy machine
PATIENCE = 20  # seconds for everything that is no promise


class Kernel:
    """A kernel, and a front end that runs cells in it."""

    def __init__(self, directory) -> None:
        self.manager = KernelManager(kernel_name="python3", connection_file=str(directory / "kernel.json"))
        self.manager.start_kernel(env={**os.environ, "IPYTHONDIR": str(directory)}, cwd=str(directory))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def run(self, code: str) -> str:
        """Run a cell that ends by itself; return what it printed and its last value."""
        cell = self._execute(code)
        reply = self._reply(cell, PATIENCE)
        text, complaints = self._read(cell)
        assert reply["status"] == "ok", "\n".join(reply["traceback"])
        assert complaints == "", complaints
        return text

    def interrupt(self, code: str) -> str:
        """Run a cell, interrupt it when it is under way, and return the name of the error that it ends with."""
        cell = self._execute(code)
        self._read(cell, until="under way")
        self.manager.interrupt_kernel()
        try:
            reply = self._reply(cell, WITHIN)
        except Empty:
            pytest.fail(f"the cell did not end within {WITHIN} s of the interrupt")
        _, complaints = self._read(cell)
        assert complaints == "", complaints
        return reply["ename"]

    def displays(self, code: str) -> list[tuple[str, str, str]]:
        """Run a cell and return what it displayed: new or update, the display id, and the HTML."""
        cell, found = self._execute(code), []
        while True:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            content, kind = message["content"], message["msg_type"]
            if kind in ("display_data", "update_display_data"):
                id = content["transient"].get("display_id", "")
                found.append(("new" if kind == "display_data" else "update", id, content["data"].get("text/html", "")))
            is_its = message["parent_header"].get("msg_id") == cell
            if is_its and kind == "status" and content["execution_state"] == "idle":
                return found

    def press(self, widget: str, **content) -> None:
        """Send a widget, known by its model id, what its front end sends for a button."""
        data = {"method": "custom", "content": content}
        message = self.client.session.msg("comm_msg", {"comm_id": widget, "data": data})
        self.client.shell_channel.send(message)

    def wait_for_widget(self, widget: str, is_so: Callable[[dict], bool], seconds: float = PATIENCE) -> None:
        """Wait until a widget sends a state of which this is true."""
        until = monotonic() + seconds
        while True:
            message = self.client.get_iopub_msg(timeout=max(0, until - monotonic()))
            content = message["content"]
            is_its = message["msg_type"] == "comm_msg" and content["comm_id"] == widget
            if is_its and is_so(content["data"].get("state", {})):
                return

    def _execute(self, code: str) -> str:
        return self.client.execute(textwrap.dedent(code), stop_on_error=False)

    def _reply(self, cell: str, seconds: float) -> dict:
        while True:
            message = self.client.get_shell_msg(timeout=seconds)
            if message["parent_header"].get("msg_id") == cell:
                return message["content"]

    def _read(self, cell: str, until: str | None = None) -> tuple[str, str]:
        """Read what the kernel says, up to a text or until it is idle: what was meant, and what came on stderr."""
        text = complaints = ""
        while until is None or until not in text:
            message = self.client.get_iopub_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != cell:
                continue
            content = message["content"]
            if message["msg_type"] == "stream" and content["name"] == "stderr":
                complaints += content["text"]
            elif message["msg_type"] == "stream":
                text += content["text"]
            elif message["msg_type"] == "execute_result":
                text += content["data"]["text/plain"]
            elif message["msg_type"] == "error" and until is not None:
                pytest.fail("\n".join(content["traceback"]))
            elif message["msg_type"] == "status" and content["execution_state"] == "idle" and until is None:
                break
        return text.strip(), complaints


@contextmanager
def running_kernel(directory: Path, setup: str) -> Iterator[Kernel]:
    """A kernel of this environment that has run a first cell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # the kernel of this environment, not one that the user installed
        kernel = Kernel(directory)
    try:
        kernel.run("%xmode Minimal")  # to draw a traceback takes up to a second on a busy machine
        kernel.run(setup)
        assert kernel.run("import sys; print(sys.prefix)") == sys.prefix
        yield kernel
    finally:
        kernel.close()
