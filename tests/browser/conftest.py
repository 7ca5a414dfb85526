"""A real JupyterLab in a real browser: one server and one headless Chromium for all tests of a process.

Loading JupyterLab and starting a kernel take seconds, so the tests share one loaded page with one notebook. Each test
gives that notebook cells of its own. Tests of reloading, and of Notebook 7, load pages of their own.

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
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Timer
from urllib.parse import urlsplit

import nbformat
import pytest
from nbconvert import HTMLExporter

from tests.browser import npm

SHARED = "shared.ipynb"  # the notebook whose cells the tests replace
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"  # of the current tab
CELL = PANEL + " [data-windowed-list-index='{}']"
VIEWPORT = {"width": 1280, "height": 1600}
PATIENCE = 60  # seconds after which a test that waits for something gives up: loading JupyterLab takes 8 s of work
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
RESTORED = "async () => { await window.jupyterapp.restored }"
LOADED = "() => window.jupyterapp.shell.currentWidget?.context?.isReady"
# The toolbar says "idle" before a kernel is connected, and cells that are run then are not run.
READY = """() => {
    const { sessionContext } = window.jupyterapp.shell.currentWidget, kernel = sessionContext.session?.kernel;
    return sessionContext.isReady && kernel?.status === 'idle' && kernel.connectionStatus === 'connected';
}"""
FILL = """sources => {
    const { content } = window.jupyterapp.shell.currentWidget, { sharedModel } = content.model;
    const empty = { cell_type: 'code', metadata: {}, outputs: [], execution_count: null };
    const cells = sources.map(source => ({ ...empty, source }));
    sharedModel.transact(() => {
        sharedModel.deleteCellRange(0, sharedModel.cells.length);
        sharedModel.insertCells(0, cells);
    });
    content.activeCellIndex = 0;
    content.mode = 'command';
}"""
# Opens a notebook in a tab of its own. Without a kernel of its own it takes the one of the current notebook.
OPEN = """async ([path, ownKernel]) => {
    const { commands, shell } = window.jupyterapp;
    const kernel = ownKernel ? undefined : { id: shell.currentWidget.sessionContext.session.kernel.id };
    await commands.execute('docmanager:open', { path, factory: 'Notebook', kernel });
}"""
# Closes the current tab, which does not ask whether to save, and shows another one.
CLOSE = """async path => {
    const { shell } = window.jupyterapp, widgets = [...shell.widgets('main')];
    shell.currentWidget.dispose();
    shell.activateById(widgets.find(widget => widget.context?.path === path).id);
}"""
RESET = """async () => {
    const { commands, shell } = window.jupyterapp;
    if (document.body.dataset.jpThemeName !== 'JupyterLab Light')
        await commands.execute('apputils:change-theme', { theme: 'JupyterLab Light' });
    const { kernel } = shell.currentWidget.sessionContext.session;
    if (kernel.status === 'busy') await kernel.restart();
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
        deadline = Timer(PATIENCE, process.kill)
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
    """JupyterLab in a page, with one notebook whose kernel runs the cells of all tests.

    Attributes:
        outside: What pages asked for that is not on this machine.
        dialogs: What they popped up.
    """

    def __init__(self, browser, server: Server) -> None:
        self.server = server
        self.outside: list[str] = []
        self.dialogs: list[str] = []
        self._browser = browser
        self._context = self._new_context()  # one cache for all pages
        self._page = None
        self._pages = count(1)
        self._visits: list[ExitStack] = []  # what each closes at its end

    @contextmanager
    def visit(self) -> Iterator["Lab"]:
        """Close at the end what is opened meanwhile, and check that nothing left the machine."""
        self.outside.clear()
        self.dialogs.clear()
        with ExitStack() as opened:
            self._visits.append(opened)
            try:
                yield self
            finally:
                self._visits.pop()
                opened.close()
                if self._page is not None and not self._visits:
                    self._reset()
        assert self.outside == [], "requests that left the machine"

    def _reset(self) -> None:
        """Set the page back for the next test. If that fails, the next one loads the page again."""
        page, self._page = self._page, None
        try:
            page.evaluate(RESET)
            page.set_viewport_size(VIEWPORT)
            self._page = page
        finally:
            if self._page is None:
                page.close()

    def _new_context(self, **options):
        context = self._browser.new_context(viewport=VIEWPORT, **options)
        context.set_default_timeout(PATIENCE * 1_000)
        return context

    def _new_page(self, context):
        page = context.new_page()
        page.on("dialog", self._accept)
        return page

    def _accept(self, dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.accept()

    def _note(self, asked) -> None:
        parts = urlsplit(asked.url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.outside.append(asked.url)

    def _load(self, name: str, app: str = "lab"):
        """Load a notebook in a new page."""
        page = self._new_page(self._context)
        page.on("request", self._note)
        page.on("websocket", self._note)
        # A workspace of its own: Lab brings back the tabs of one that was open before, and leaves for another address
        # while it loads if one is open in another page.
        where = f"lab/workspaces/page-{next(self._pages)}/tree" if app == "lab" else "notebooks"
        page.goto(f"{self.server.address}/{where}/{name}?token={self.server.token}")
        page.wait_for_function("window.jupyterapp")
        page.evaluate(RESTORED)
        page.wait_for_function(LOADED)
        return page

    @property
    def page(self):
        """The page that the tests share, loaded when the first of them needs it."""
        if self._page is None:
            self.server.write(SHARED, [""])
            self._page = self._load(SHARED)
            self._page.wait_for_function(READY)
        return self._page

    def open(self, *cells: str) -> "Notebook":
        """Give the shared notebook these cells. The kernel is ready, and keeps what the tests before have defined."""
        notebook = Notebook(self.page)
        notebook.fill(*cells)
        return notebook

    def save(self, name: str = SHARED) -> None:
        """Save the shared notebook, and copy the file to one of this name."""
        Notebook(self.page).command("docmanager:save")
        if name != SHARED:
            shutil.copyfile(self.server.root / SHARED, self.server.root / name)

    @contextmanager
    def pixels(self, number: int) -> Iterator[None]:
        """Draw each pixel of the page as ``number`` by ``number`` pixels."""
        session = self._context.new_cdp_session(self.page)

        def draw(factor):
            metrics = VIEWPORT | {"deviceScaleFactor": factor, "mobile": False}
            session.send("Emulation.setDeviceMetricsOverride", metrics)

        draw(number)
        yield
        draw(1)

    def load(self, name: str, app: str = "lab") -> "Notebook":
        """Open a notebook in a page that is loaded for it."""
        page = self._load(name, app)
        self._visits[-1].callback(page.close)
        return Notebook(page)

    def look(self, name: str, own_kernel: bool = False) -> "Notebook":
        """Open a notebook in a tab beside the shared one, without running anything."""
        self.page.evaluate(OPEN, [name, own_kernel])
        self._visits[-1].callback(self.page.evaluate, CLOSE, SHARED)
        self.page.wait_for_function(LOADED)
        return Notebook(self.page)

    def offline(self, path: Path):
        """Open a file with no network at all. What is asked for is not noted: exported pages ask for MathJax."""
        context = self._new_context(offline=True)
        self._visits[-1].callback(context.close)
        page = self._new_page(context)
        local = ("file:", "data:")
        page.route("**/*", lambda route: route.continue_() if route.request.url.startswith(local) else route.abort())
        page.goto(path.as_uri(), wait_until="domcontentloaded")
        return page


class Notebook:
    """A notebook in a page."""

    def __init__(self, page) -> None:
        self.page = page
        self.panel = page.locator(PANEL)

    def fill(self, *cells: str) -> None:
        """Replace the cells, and wait for the kernel."""
        self.page.evaluate(FILL, [textwrap.dedent(cell).strip() for cell in cells])
        self.page.wait_for_function(READY)

    def command(self, name: str, **arguments) -> None:
        """Run one of the front end's commands, and wait for its end."""
        self.page.evaluate("([name, args]) => window.jupyterapp.commands.execute(name, args)", [name, arguments])

    def use(self, theme: str) -> None:
        """Choose a theme, and wait until it is there."""
        self.command("apputils:change-theme", theme=theme)
        self.page.locator(f"body[data-jp-theme-name='{theme}']").wait_for(state="attached")

    def run(self) -> None:
        """Run the selected cell and select the next, without waiting for the end."""
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell-and-select-next') }")

    def run_cell(self, i: int) -> None:
        """Run cell ``i`` to its end."""
        self.page.evaluate("i => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = i }", i)
        self.run()
        self.wait(i)

    def run_all(self) -> None:
        """Run all cells to their end."""
        self.command("notebook:run-all-cells")
        assert self.page.evaluate(ERRORS) == []

    def wait(self, i: int) -> None:
        """Wait until cell ``i`` has ended."""
        self.page.wait_for_function(ENDED, arg=i)

    def output(self, i: int):
        """What cell ``i`` shows: one element for each output."""
        return self.page.locator(f"{CELL.format(i)} .jp-OutputArea-output")


class Gate:
    """What cells wait for that read ``gate``: a byte lets one go on, and closing it all of them."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path, self.file = path, os.open(path, os.O_RDWR)

    def let(self, items):
        os.write(self.file, b"." * items)

    def close(self):
        if self.file is not None:
            os.close(self.file)
            self.path.unlink()
            self.file = None


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
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE * 1_000)
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
def jupyter(browser, server):
    """For fixtures that several tests share: ``with jupyter.visit() as lab``."""
    return Lab(browser, server)


@pytest.fixture
def lab(jupyter):
    with jupyter.visit() as lab:
        yield lab


@pytest.fixture
def gate(server):
    gate = Gate(server.root / "gate")
    yield gate
    gate.close()
