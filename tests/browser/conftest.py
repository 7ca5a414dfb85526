"""A real JupyterLab in a real browser: one server and one headless Chromium for all tests of a process.

Loading JupyterLab takes seconds, so the tests share one loaded page. Each test opens notebooks of its own in it, with
a kernel of their own, and closes them. Tests of reloading, and of Notebook 7, load pages of their own.

Nothing may leave the machine: the browser finds no host but its own, and a test whose page asks for one fails.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from urllib.parse import urlsplit

import nbformat
import pytest
from nbconvert import HTMLExporter

from tests.browser import npm

VIEWPORT = {"width": 1280, "height": 1600}
PATIENCE = 30  # seconds after which a test that waits for something gives up
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# The toolbar says "idle" before a kernel is connected, and cells that are run then are not run.
READY = """async () => {
    const app = window.jupyterapp, nap = () => new Promise(done => setTimeout(done, 50));
    await app.restored;
    while (!app.shell.currentWidget?.sessionContext) await nap();
    const { context, sessionContext } = app.shell.currentWidget;
    await context.ready;
    await sessionContext.ready;
    for (;;) {
        const kernel = sessionContext.session?.kernel;
        if (kernel?.status === 'idle' && kernel.connectionStatus === 'connected') return;
        await nap();
    }
}"""
LOADED = """async () => {
    const app = window.jupyterapp, nap = () => new Promise(done => setTimeout(done, 50));
    await app.restored;
    while (!app.shell.currentWidget?.context) await nap();
    await app.shell.currentWidget.context.ready;
}"""
OPEN = "path => window.jupyterapp.commands.execute('docmanager:open', { path, factory: 'Notebook' }).then(() => {})"
# Disposing does not ask whether to save.
CLOSE = """async () => {
    const app = window.jupyterapp;
    for (const widget of [...app.shell.widgets('main')]) widget.dispose();
    await app.serviceManager.sessions.shutdownAll();
}"""
ENDED = """i => {
    const { model } = window.jupyterapp.shell.currentWidget.content.widgets[i];
    return model.executionCount && model.executionState === 'idle';
}"""
ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .flatMap(cell => cell.model.outputs.toJSON())
    .filter(output => output.output_type === 'error')
    .map(output => `${output.ename}: ${output.evalue}`)"""
WIDTHS = "images => Promise.all(images.map(image => image.decode().then(() => image.naturalWidth, () => 0)))"


class Server:
    """A Jupyter server with folders of its own; nothing of the user's is read or written."""

    def __init__(self, home: Path) -> None:
        self.root = home / "notebooks"
        self.root.mkdir()
        self._set(home, "apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False})
        self._set(home, "notebook-extension/tracker", {"windowingMode": "none"})  # cells out of sight are there too
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("LLMFLOW_NB_")}
        self.env |= {
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "IPYTHONDIR": str(home / "ipython"),
        }
        self.token = "for-tests"
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            self.port = unused.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.log = home / "server.log"

    @staticmethod
    def _set(home: Path, plugin: str, settings: dict) -> None:
        path = home / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))

    @contextmanager
    def running(self) -> Iterator["Server"]:
        command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}"]
        command += [f"--ServerApp.root_dir={self.root}", "--LabApp.extension_manager=readonly"]
        command += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
        command += ["--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"]
        with self.log.open("w") as log:
            process = subprocess.Popen(
                command, env=self.env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                self._wait(process)
                yield self
            finally:
                process.terminate()  # its kernels end with it; without it, each ends by itself
                try:
                    process.wait(3)
                except subprocess.TimeoutExpired:  # it waits for a kernel that was just starting
                    process.kill()
                    process.wait()

    def _wait(self, process: subprocess.Popen) -> None:
        deadline = Timer(2 * PATIENCE, process.kill)
        deadline.start()
        try:
            while process.poll() is None:
                with suppress(OSError):
                    urllib.request.urlopen(f"{self.address}/api?token={self.token}", timeout=1).close()
                    return
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
        finally:
            deadline.cancel()
        pytest.fail(f"Jupyter did not start:\n{self.log.read_text()}")

    def write(self, name: str, cells: list[str]) -> None:
        """Write a notebook that was never run."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell)) for cell in cells])
        book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.root / name)

    def export(self, name: str) -> Path:
        """Convert a saved notebook to an HTML file, outputs as they are."""
        path = self.root / name
        with warnings.catch_warnings():  # the widget has no form in HTML; the picture beside it has
            warnings.filterwarnings("ignore", "Your element with mimetype", UserWarning)
            html, _ = HTMLExporter().from_filename(path)
        path.with_suffix(".html").write_text(html, encoding="utf-8")
        return path.with_suffix(".html")


class Lab:
    """The page with JupyterLab that the tests share, loaded when the first of them needs it."""

    def __init__(self, browser, server: Server) -> None:
        self.server = server
        self.visitor: Visitor | None = None  # who uses the page now
        self.context = browser.new_context(viewport=VIEWPORT)  # one cache for all pages
        self.context.set_default_timeout(PATIENCE * 1_000)
        self._page = None

    def enter(self, visitor: "Visitor"):
        """Return the page, empty, for this visitor's use; None if another one is using it."""
        if self.visitor is not None:
            return None
        if self._page is None:
            self._page = self.context.new_page()
            self._page.on("dialog", lambda dialog: self.visitor.dialog(dialog))
            self._page.on("request", lambda request: self.visitor and self.visitor.note(request.url))
            self._page.on("websocket", lambda socket: self.visitor and self.visitor.note(socket.url))
            self.visitor = visitor
            self._page.goto(f"{self.server.address}/lab/workspaces/shared?token={self.server.token}&reset")
            self._page.wait_for_function("window.jupyterapp")
            self._page.evaluate("window.jupyterapp.restored.then(() => {})")
        self.visitor = visitor
        return self._page

    def leave(self) -> None:
        """Close what was opened. If that fails, the next test loads the page again."""
        page, self._page = self._page, None
        try:
            page.evaluate(CLOSE)
            page.set_viewport_size(VIEWPORT)
            self._page = page
        finally:
            self.visitor = None
            if self._page is None:
                page.close()


class Visitor:
    """Opens notebooks, and notes what their pages ask for and what they pop up."""

    def __init__(self, browser, server: Server, lab: Lab) -> None:
        self.browser = browser
        self.server = server
        self.lab = lab
        self.outside: list[str] = []
        self.dialogs: list[str] = []
        self._opened = []  # pages and contexts

    def close(self) -> None:
        for opened in self._opened:
            opened.close()
        if self.lab.visitor is self:
            self.lab.leave()

    def _new_page(self, **options):
        if options:
            context = self.browser.new_context(viewport=VIEWPORT, **options)
            context.set_default_timeout(PATIENCE * 1_000)
            self._opened.append(context)
            page = context.new_page()
        else:
            page = self.lab.context.new_page()
            self._opened.append(page)
        page.on("dialog", self.dialog)
        return page

    def dialog(self, dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.accept()

    def note(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.outside.append(url)

    def look(self, name: str) -> "Notebook":
        """Open a notebook as it is, without running anything."""
        page = self.lab.enter(self)
        if page is None:
            return self.load(name)
        page.evaluate(OPEN, name)
        page.evaluate(LOADED)
        return Notebook(page)

    def load(self, name: str, app: str = "lab", **options) -> "Notebook":
        """Do the same in a page that is loaded for it."""
        page = self._new_page(**options)
        page.on("request", lambda request: self.note(request.url))
        page.on("websocket", lambda socket: self.note(socket.url))
        # A workspace of its own, or Lab brings back the tabs of the test before.
        where = f"lab/workspaces/{Path(name).stem}/tree" if app == "lab" else "notebooks"
        page.goto(f"{self.server.address}/{where}/{name}?token={self.server.token}&reset")
        page.wait_for_function("window.jupyterapp")
        page.evaluate(LOADED)
        return Notebook(page)

    def open(self, name: str, *cells: str, app: str = "lab") -> "Notebook":
        """Write a notebook of these cells and open it, with a kernel that is ready."""
        self.server.write(name, list(cells))
        notebook = self.look(name) if app == "lab" else self.load(name, app)
        notebook.page.evaluate(READY)
        return notebook

    def offline(self, path: Path):
        """Open a file with no network at all. What is asked for is not noted: exported pages ask for MathJax."""
        page = self._new_page(offline=True)
        local = ("file:", "data:")
        page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(local) else route.abort())
        page.goto(path.as_uri(), wait_until="domcontentloaded")
        return page


class Notebook:
    """A notebook in a page."""

    def __init__(self, page) -> None:
        self.page = page

    def command(self, name: str, **arguments) -> None:
        """Run one of the front end's commands, and wait for its end."""
        self.page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments])

    def run(self) -> None:
        """Run the selected cell and select the next, without waiting for the end."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell-and-select-next') }")

    def run_all(self) -> None:
        """Run all cells to their end."""
        self.command("notebook:run-all-cells")
        assert self.page.evaluate(ERRORS) == []

    def wait(self, i: int) -> None:
        """Wait until cell ``i`` has ended."""
        self.page.wait_for_function(ENDED, arg=i)

    def output(self, i: int):
        """What cell ``i`` shows: one element for each output."""
        return self.page.locator(f".jp-Notebook [data-windowed-list-index='{i}'] .jp-OutputArea-output")

    def save(self) -> None:
        self.command("docmanager:save")


def widths(locator) -> list[int]:
    """The widths that the pictures have by themselves; 0 of one that is not shown."""
    locator.first.wait_for()
    return locator.evaluate_all(WIDTHS)


@pytest.fixture(scope="package")
def browser():
    program = shutil.which("chromium")
    if program is None:
        reason = "chromium is not installed (make system-deps)"
        if os.environ.get("LLMFLOW_NB_BROWSER") == "require":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


def npm_script(name: str) -> str:
    """Return a script that `make browser` has fetched from npm. Skips the test if it was not fetched."""
    path = npm.FOLDER / name
    if not path.exists():
        pytest.skip(f"{npm.SCRIPTS[name].package} was not fetched (make browser, with npm and its registry)")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="package")
def server(browser, tmp_path_factory):
    with Server(tmp_path_factory.mktemp("jupyter")).running() as server:
        yield server


@pytest.fixture(scope="package")
def lab(browser, server):
    return Lab(browser, server)


@pytest.fixture(scope="package")
def visit(browser, server, lab):
    """For fixtures that several tests share: ``with visit() as visitor``."""

    @contextmanager
    def visit():
        visitor = Visitor(browser, server, lab)
        try:
            yield visitor
        finally:
            visitor.close()
        assert visitor.outside == [], "requests that left the machine"

    return visit


@pytest.fixture
def visitor(visit):
    with visit() as visitor:
        yield visitor
