"""A flow, its graph and its run as pictures and tables: when it is run, in a notebook that is not trusted, exported."""

import base64
import io
import re
from html import unescape
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib.image
import nbformat
import numpy as np
import pytest

from tests.browser.conftest import widths

AGENT = """
    from llmflow_nb import BatchNode, Flow, Node


    class Words(BatchNode):
        def prep(self, shared):
            return ["bee", "ant", "owl"]

        def exec(self, word):
            if word == "owl":
                raise ValueError("it flies by night")
            return word.upper()


    class Check(Node):
        def post(self, shared, prep_res, exec_res):
            shared["left"] -= 1
            return "again" if shared["left"] else "done"


    words, check = Words(on_error="keep"), Check()
    words >> check
    check - "again" >> words
    check - "done" >> Node(name="Write")
    inner = Flow(words, name="inner")
    inner >> Node(name="End")
    flow = Flow(inner, name="outer")
    flow
"""
RUN = """
    flow.run({"left": 3})
    flow.last_run
"""


def untrusted(server, name):
    """Copy a saved notebook as one from elsewhere: with a content that this server has not signed."""
    book = nbformat.read(server.root / name, as_version=4)
    book.metadata["from"] = "elsewhere"
    nbformat.write(book, server.root / f"copy-of-{name}")
    return f"copy-of-{name}"


@pytest.fixture(scope="module")
def saved(jupyter):
    """A notebook that was run and saved in Lab, with the widths that its pictures had there."""
    with jupyter.visit() as lab:
        notebook = lab.open(AGENT, RUN)
        notebook.run_all()
        seen = [widths(notebook.output(i).locator("img")) for i in range(2)]
        lab.save("saved.ipynb")
    return "saved.ipynb", seen


def has_summary(shown):
    """Whether the summary of the run can be seen, with the table of its nodes and that of its errors."""
    tables = shown.locator("table").filter(has_text="Words")
    assert [table.is_visible() for table in tables.all()] == [True, True]
    return "it flies by night" in tables.last.inner_text()


def test_a_flow_and_its_run_are_pictures(saved):
    """A nested, looping flow as the last line of a cell is a picture that loads, and so is its run."""
    _, seen = saved
    assert [len(cell) for cell in seen] == [1, 1]
    assert all(width > 0 for cell in seen for width in cell), seen


def test_a_notebook_that_is_not_trusted_shows_the_same(saved, lab):
    """A notebook that comes from elsewhere shows its pictures and table without being run."""
    name, seen = saved
    notebook = lab.look(untrusted(lab.server, name))
    assert [widths(notebook.output(i).locator("img")) for i in range(2)] == seen
    assert notebook.panel.locator(".jp-mod-trusted").count() == 0
    assert has_summary(notebook.panel)


def test_an_exported_page_needs_no_network(saved, lab):
    """Converted by nbconvert and opened as a file without any network, it shows pictures and table."""
    name, seen = saved
    page = lab.offline(lab.server.export(name))
    assert widths(page.locator("img")) == [width for cell in seen for width in cell]
    assert has_summary(page)


# ---- names that try to be more than text -----------------------------------------------------------------------------

EVIL = "<script>pwned=1</script><img src=x onerror=pwned=1;alert(1)>"
HOSTILE = f"""
    from llmflow_nb import BatchNode, Flow, Node

    EVIL = {EVIL!r}


    class Hostile(BatchNode):
        def prep(self, shared):
            return ["item" + EVIL, "fails" + EVIL]

        def exec(self, item):
            if item.startswith("fails"):
                raise ValueError("error" + EVIL)
            return "result" + EVIL

        def post(self, shared, prep_res, exec_res):
            return "action" + EVIL


    node = Hostile(name="node" + EVIL, on_error="keep")
    node - ("action" + EVIL) >> Node(name="End")
    flow = Flow(node, name="flow" + EVIL)
    flow
"""
SHOW = ["flow.run({}, progress=True)", "flow.last_run", "flow.last_run.batch(node.name)", "flow.graph()"]


def written(source):
    """All that is written in a picture, by the address that holds it."""
    kind, _, data = source.partition(",")
    svg = base64.b64decode(data).decode() if kind.endswith(";base64") else unquote(data)
    return [(element.text or "").replace("\xa0", "") for element in ElementTree.fromstring(svg).iter() if element.text]


@pytest.fixture(scope="module")
def hostile(jupyter):
    """A notebook with hostile names in every place, run and saved in Lab; what its pictures and outputs say."""
    with jupyter.visit() as lab:
        notebook = lab.open(HOSTILE, *SHOW)
        notebook.run_all()
        innocent(notebook.page, lab)
        pictures = notebook.page.locator(".jp-OutputArea-output img")
        assert all(widths(pictures))
        sources = pictures.evaluate_all("images => images.map(image => image.src)")
        texts = [" ".join(notebook.output(i).all_inner_texts()) for i in range(5)]
        lab.save("hostile.ipynb")
        innocent(notebook.page, lab)
    return sources, texts


def innocent(page, lab):
    """Nothing that a name holds has become an element, been run, or popped up."""
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert lab.dialogs == []
    assert page.locator("img[src=x], img[onerror], script:text('pwned=1')").count() == 0


def test_hostile_names_are_text_in_lab(hostile):
    """No script runs, nothing pops up, and what was meant to run can be read, in tables and in progress."""
    _, (_, progress, run, batch, _) = hostile
    assert f"flow{EVIL}" in progress
    assert f"node{EVIL}" in progress
    assert f"flow{EVIL}" in run
    assert f"node{EVIL}" in run
    for place in ("item", "fails", "result", "error"):
        assert f"{place}{EVIL}" in batch, place


def test_hostile_names_are_text_in_pictures(hostile):
    """The pictures of the flow, of its run and of its graph say the names as they are."""
    sources, _ = hostile
    assert len(sources) == 3
    for source in sources:
        texts = written(source)
        for place in ("flow", "node", "action"):
            assert any(f"{place}{EVIL}" in text for text in texts), (place, texts)


@pytest.mark.parametrize("where", ["copy", "export"])
def test_hostile_names_stay_text_in_a_saved_notebook(hostile, lab, where):
    """Neither an untrusted copy nor an exported page runs what a name holds; both say it."""
    if where == "copy":
        shown = lab.look(untrusted(lab.server, "hostile.ipynb")).panel
    else:
        shown = lab.offline(lab.server.export("hostile.ipynb")).locator("body")
    assert all(widths(shown.locator("img[alt^='Graph of']")))
    innocent(shown.page, lab)
    assert f"error{EVIL}" in shown.inner_text()


# ---- themes ----------------------------------------------------------------------------------------------------------

CONTRAST = 3
COLOURS = """elements => elements
    .filter(element => [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim()))
    .map(element => {
        const behind = [];
        for (let e = element; e; e = e.parentElement) behind.push(getComputedStyle(e).backgroundColor);
        return [element.textContent, getComputedStyle(element).color, behind];
    })"""
# Where each text of a picture is, as shares of its width and height: the picture is drawn once more, to be measured.
PLACES = """image => {
    const box = image.getBoundingClientRect(), holder = document.createElement('div');
    holder.style = 'position: fixed; top: 0; left: 0; line-height: normal';
    holder.innerHTML = atob(image.src.split(',')[1]);
    document.body.append(holder);
    const svg = holder.firstChild;
    svg.style = `width: ${box.width}px; height: ${box.height}px; max-width: none`;
    const all = svg.getBoundingClientRect();
    const found = [...svg.querySelectorAll('text')].map(text => {
        const { left, right, top, bottom } = text.getBoundingClientRect();
        const x = value => (value - all.left) / all.width, y = value => (value - all.top) / all.height;
        return [text.textContent, x(left), x(right), y(top), y(bottom)];
    });
    holder.remove();
    return found;
}"""


def luminance(rgb):
    """Relative luminance, as the accessibility guidelines define it, of colours from 0 to 1."""
    rgb = np.asarray(rgb, dtype=float)
    linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(one, other):
    darker, lighter = sorted([float(luminance(one)), float(luminance(other))])
    return (lighter + 0.05) / (darker + 0.05)


def colour(text):
    """Red, green, blue and opacity of a computed colour, from 0 to 1."""
    kind, *numbers = re.findall(r"rgba?|[\d.]+", text)
    assert kind in ("rgb", "rgba"), text
    values = [float(number) for number in numbers]
    return np.array(values[:3]) / 255, values[3] if len(values) > 3 else 1.0


def behind(colours):
    """What is seen of backgrounds that lie on each other, the uppermost first."""
    seen = np.ones(3)
    for text in reversed(colours):
        rgb, opacity = colour(text)
        seen = opacity * rgb + (1 - opacity) * seen
    return seen


@pytest.fixture(scope="module")
def sharp(jupyter, saved):
    """The saved notebook, in a page with two pixels for each of the page's own."""
    name, _ = saved
    with jupyter.visit() as lab, lab.pixels(2):
        yield lab.look(name)


@pytest.mark.parametrize("theme", ["JupyterLab Dark", "JupyterLab Light"])
def test_every_text_can_be_read(sharp, theme):
    """In a dark and in a light theme every text of picture and summary stands out from what is behind it."""
    notebook, page = sharp, sharp.page
    notebook.use(theme)
    notebook.output(1).locator("table").first.wait_for()
    texts = page.locator(".llmflow-nb *").evaluate_all(COLOURS)
    assert any("it flies by night" in text for text, *_ in texts)
    found = {text: contrast(colour(front)[0], behind(backs)) for text, front, backs in texts}

    for i in range(2):
        image = notebook.output(i).locator("img")
        pixels = matplotlib.image.imread(io.BytesIO(image.screenshot()))[..., :3]
        height, width, _ = pixels.shape
        for text, left, right, top, bottom in image.evaluate(PLACES):
            rows, columns = slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))
            part = pixels[rows, columns].reshape(-1, 3)
            kinds, counts = np.unique(part, axis=0, return_counts=True)
            back = kinds[counts.argmax()]
            found[f"{text} (cell {i})"] = max(contrast(pixel, back) for pixel in kinds)
    assert any("Check" in text for text in found)
    assert {text: round(value, 1) for text, value in found.items() if value < CONTRAST} == {}


MERMAID = """
    from IPython.display import publish_display_data
    from llmflow_nb import Flow, Node

    names = ["1. Load", "2) Ask", "- dash", "+ plus", "__init__", "**b**", "---", "# x", "> x", "`c`", "[x](y)"]
    names.append("www.a.b")
    nodes = [Node(name=name) for name in names]
    for node, following in zip(nodes, nodes[1:]):
        node - node.name >> following
    nodes[-1] >> Flow(Node(name="n"), name="3. Inner")
    publish_display_data({"text/vnd.mermaid": Flow(nodes[0], name="F").graph().mermaid()})
"""


def test_mermaid_shows_names_as_they_are(lab):
    """JupyterLab's Mermaid takes no name of a node, a flow or an action for Markdown."""
    notebook = lab.open(MERMAID)
    notebook.run()
    image = notebook.output(0).locator("img")
    image.wait_for()
    svg = unquote(image.get_attribute("src").partition(",")[2])
    texts = [unescape(text) for text in re.findall(r"<p>(.*?)</p>", svg)]
    names = ["1. Load", "2) Ask", "- dash", "+ plus", "__init__", "**b**", "---", "# x", "> x", "`c`", "[x](y)"]
    assert {name: texts.count(name) for name in names} == dict.fromkeys(names, 2)  # of the node, of the edge
    assert {"www.a.b", "3. Inner", "F", "n"} < set(texts)
