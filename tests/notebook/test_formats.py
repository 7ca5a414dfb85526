"""The formats of each display in a kernel. A front end shows the first format that it knows."""

from html.parser import HTMLParser

import nbformat
import pytest
from nbclient import NotebookClient

SETUP = """
import os
from llmflow_nb import BatchNode, Flow

class Double(BatchNode):
    def prep(self, shared):
        return range(3)
    def exec(self, n):
        if n == 2:
            raise ValueError("2 is too much")
        return 2 * n

flow = Flow(Double(on_error="keep"), name="F")
"""
SHOW = {
    "flow": "flow",
    "graph": "flow.graph()",
    "progress": "flow.run({}, progress=True)",
    "run": "flow.last_run",
    "batch": "flow.last_run.batch('Double')",
    "submitted": "handle = flow.submit({}); handle.wait(); handle",
    "stepper": "flow.stepper({})",
}
WIDGET, HTML, SVG, TEXT = "application/vnd.jupyter.widget-view+json", "text/html", "image/svg+xml", "text/plain"
ONLY_TABLES = {name: [[HTML, TEXT]] for name in SHOW}
DRAWN = {"flow": [[HTML, SVG, TEXT]], "graph": [[HTML, SVG, TEXT]]}
AS_SVG = {"flow": [[SVG, TEXT]], "graph": [[SVG, TEXT]]}
# Beside a widget there is what a saved notebook shows. Below a batch there is room for the stepper of a row.
LIVE = {"stepper": [[WIDGET], [HTML, TEXT]], "batch": [[WIDGET], [HTML, TEXT], [HTML, TEXT], [HTML, TEXT]]}
EXPECTED = {
    "": {**ONLY_TABLES, **DRAWN, **LIVE},
    "static": {**ONLY_TABLES, **DRAWN},
    "svg": {**ONLY_TABLES, **AS_SVG, **LIVE},
    "static, svg": {**ONLY_TABLES, **AS_SVG},
}


@pytest.fixture(scope="module")
def outputs():
    """What each cell of ``SHOW`` publishes, for each value of LLMFLOW_NB_DISPLAY: a dict of formats for each output."""
    cells = [SETUP]
    for words in EXPECTED:
        first, *rest = SHOW.values()
        cells += [f"os.environ['LLMFLOW_NB_DISPLAY'] = {words!r}\n{first}", *rest]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(book, timeout=60).execute()
    shown = iter([[output.data for output in cell.outputs] for cell in book.cells[1:]])
    return {words: {name: next(shown) for name in SHOW} for words in EXPECTED}


@pytest.mark.parametrize("words", EXPECTED)
def test_each_display_has_its_formats(outputs, words):
    """A widget comes with an output that needs no kernel; `static` has no widget, `svg` no HTML around a graph."""
    found = {name: [list(data) for data in cell] for name, cell in outputs[words].items()}
    assert found == EXPECTED[words]


def test_what_is_beside_a_widget_is_hidden_while_the_widget_is_there(outputs):
    """It has the class by which the style sheet of the widget finds it."""
    for name in ("stepper", "batch"):
        assert outputs[""][name][1][HTML].startswith('<div class="llmflow-step-still">')


class Inert(HTMLParser):
    """Notes what an HTML text does beyond being read."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "svg", "iframe", "object", "embed", "link", "form", "a"):
            self.found.append(tag)
        for name, value in attributes:
            is_picture = (tag, name) == ("img", "src") and value.startswith("data:image/svg+xml;base64,")
            if name == "id" or name.startswith("on") or (("src" in name or "href" in name) and not is_picture):
                self.found.append(f"{tag} {name}={value[:80]}")

    def handle_data(self, data):
        if "url(" in data or "@import" in data:
            self.found.append(data[:80])


def test_html_does_nothing(outputs):
    """It has no script, no id and no address; a drawing is an image, which a notebook that is not trusted shows."""
    for words, cells in outputs.items():
        for name, cell in cells.items():
            for data in cell:
                parser = Inert()
                parser.feed(data.get(HTML, ""))
                parser.close()
                assert parser.found == [], (words, name)
