"""The displays in VS Code's widget manager, which is on npm: in a document like its webview, with its themes."""

import os
import re
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import npm_script, widths

ANYWIDGET = Path(sys.prefix) / "share/jupyter/nbextensions/anywidget/index.js"
PAGE = '<html><body><div id="container"></div></body></html>'
USE_THEME = """([name, colours]) => {
    document.body.className = `vscode-body ${name}`;
    document.documentElement.style = colours;
    document.body.style = 'background: var(--vscode-editor-background); color: var(--vscode-foreground)';
}"""
THEMES = {
    "vscode-dark": "--vscode-foreground: #cccccc; --vscode-descriptionForeground: #9d9d9d; "
    "--vscode-editor-background: #1f1f1f; --vscode-editorWidget-background: #202020; --vscode-panel-border: #2b2b2b; "
    "--vscode-focusBorder: #0078d4; --vscode-errorForeground: #f85149; ",
    "vscode-light": "--vscode-foreground: #3b3b3b; --vscode-descriptionForeground: #3b3b3b; "
    "--vscode-editor-background: #ffffff; --vscode-editorWidget-background: #f8f8f8; --vscode-panel-border: #e5e5e5; "
    "--vscode-focusBorder: #005fb8; --vscode-errorForeground: #f85149; ",
}
OPEN = """html => new Promise(done => {
    const frame = document.createElement('iframe');
    frame.id = 'vscode';
    frame.style = 'position: fixed; inset: 0; width: 100%; height: 100%; z-index: 100000; border: 0';
    frame.srcdoc = html;
    frame.onload = () => done();
    document.body.append(frame);
})"""
START = """async () => {
    const kernel = await window.jupyterapp.serviceManager.kernels.startNew({ name: 'python3' });
    const frame = document.querySelector('#vscode');
    frame.kernel = kernel;
    await frame.contentWindow.startVSCode(kernel);
}"""
CLOSE = """async () => {
    const frame = document.querySelector('#vscode');
    frame.remove();
    await frame.kernel?.shutdown();
}"""
FLOW = """
from llmflow_nb import BatchNode, Flow, Node

class Load(Node):
    def post(self, shared, prep_res, exec_res):
        shared["texts"] = ["one", "two"]

class Shout(BatchNode):
    def prep(self, shared):
        return shared["texts"]
    def exec(self, text):
        return text.upper()
    def post(self, shared, prep_res, exec_res):
        shared["loud"] = exec_res

load = Load()
load >> Shout()
flow = Flow(load, name="Story")
"""


class Cells:
    """The cells that were run in the document."""

    def __init__(self, page, frame):
        self.page, self.frame = page, frame

    def use_theme(self, name):
        self.frame.evaluate(USE_THEME, [name, THEMES[name]])

    def run(self, code):
        """Run a cell to its end and return its element."""
        assert self.frame.evaluate("code => window.runCell(code)", code) == "ok"
        cells = self.frame.locator(".cell_container")
        return cells.nth(cells.count() - 1)


@pytest.fixture
def cells(lab):
    """A document of VS Code, with a kernel of its own."""
    manager = npm_script("ipywidgets.js")
    page = lab.page
    page.evaluate(OPEN, PAGE)
    frame = page.frame_locator("#vscode").owner.element_handle().content_frame()
    frame.add_script_tag(content=Path(__file__).with_name("vscode.js").read_text())
    frame.add_script_tag(content=f"{manager}\nactivate();", type="module")
    frame.wait_for_function("() => window.vscIPyWidgets8")
    page.evaluate(START)
    frame.add_script_tag(content=ANYWIDGET.read_text())
    yield Cells(page, frame)
    page.evaluate(CLOSE)


def picture(cells, name):
    if folder := os.environ.get("LLMFLOW_NB_PICTURES"):
        cells.page.screenshot(path=f"{folder}/{name}.png")


def test_the_stepper_steps_edits_and_follows(cells):
    """By keys and buttons; each theme of the editor gives it its colours, and the picture beside it is hidden."""
    cells.use_theme("vscode-dark")
    cells.run(FLOW)
    (width,) = widths(cells.run("flow").locator("img"))
    assert width > 0
    cell = cells.run("stepper = flow.stepper({}); stepper")
    root = cell.locator(".llmflow-step-root")
    place = root.locator(".llmflow-step-place")
    expect(place).to_contain_text("Story/Load visit 1 before prep")
    expect(cell.locator(".llmflow-step-still")).to_be_hidden()
    root.focus()
    cells.frame.evaluate("() => { window.addEventListener('keydown', event => { window.heard = event.key }) }")
    for key in ("d", "d", "ArrowDown"):  # VS Code would delete the cell
        cells.page.keyboard.press(key)
    assert cells.frame.evaluate("window.heard") is None
    expect(place).to_contain_text("Story/Shout visit 1 before prep")
    expect(root.locator("g.llmflow-step-current")).to_have_attribute("data-path", "Story/Shout")
    row = root.locator("[data-key=texts]")
    row.hover()
    row.get_by_role("button", name="edit texts").click()
    row.locator("textarea").fill('["three"]')
    row.get_by_role("button", name="save").click()
    expect(place).to_contain_text("edited texts")
    root.locator(".llmflow-step-run").click()
    expect(place).to_contain_text("at the end")
    expect(root.locator("[data-key=loud]")).to_contain_text("THREE")
    for code in ("stepper.record", "stepper.record.batch('Shout')"):
        expect(cells.run(code).locator("table").first).to_be_visible()
    colours = "e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]"
    for theme in THEMES:
        cells.use_theme(theme)
        picture(cells, theme)
        assert root.evaluate(colours) == cells.frame.locator("body").evaluate(colours)
        expect(root).to_have_class(re.compile("llmflow-step-dark" if "dark" in theme else "^(?!.*llmflow-step-dark)"))
