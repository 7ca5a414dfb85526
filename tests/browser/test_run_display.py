"""Progress in a real front end: what is drawn over, where, and what stays in the saved notebook."""

import json

from playwright.sync_api import expect

from tests.browser.conftest import ERRORS

SLOW = """
    import os
    from llmflow_nb import BatchNode, Flow

    gate = os.open("gate", os.O_RDONLY)


    class Slow(BatchNode):
        def prep(self, shared):
            return range(shared["items"])

        def exec(self, item):
            os.read(gate, 1)
            return item


    flow = Flow(Slow(), name="slow")
"""
SUBMIT = "handle = flow.submit({'items': 10_000})\nhandle"
# Keeps every text that a cell shows, one after the other.
WATCH = """i => {
    const cell = document.querySelector(`.jp-NotebookPanel:not(.lm-mod-hidden) [data-windowed-list-index='${i}']`);
    window.seen = [];
    new MutationObserver(() => {
        const text = [...cell.querySelectorAll('.jp-OutputArea-output')].map(output => output.innerText).join('\\n');
        if (text.trim() && text !== window.seen.at(-1)) window.seen.push(text);
    }).observe(cell, { childList: true, subtree: true, characterData: true });
}"""
CHANGED = "([element, before]) => element.innerText !== before"


def follow(notebook, i, gate):
    """Run cell ``i``, whose run shows itself in one output, and let its items through as that is seen to change."""
    notebook.run()
    expect(notebook.output(i)).to_contain_text("running")
    for _ in range(2):
        let_items_through(gate, notebook.output(i))
    gate.close()
    notebook.wait(i)


def let_items_through(gate, output):
    """Let four items through, and wait until the output shows something else than before."""
    element, before = output.element_handle(), output.inner_text()
    gate.let(4)
    output.page.wait_for_function(CHANGED, arg=[element, before])


def test_progress_is_drawn_over_in_place(lab, gate):
    """A run of more than a second shows how far it is in one output, which ends as, and is saved as, the last state."""
    notebook = lab.open(SLOW, "flow.run({'items': 16})")
    notebook.page.evaluate(WATCH, 1)
    notebook.run()
    follow(notebook, 1, gate)
    assert notebook.page.evaluate(ERRORS) == []
    expect(notebook.output(1)).to_have_count(1)
    expect(notebook.output(1)).to_contain_text("16/16 items")
    expect(notebook.output(1)).to_contain_text("slow ok")
    seen = notebook.page.evaluate("window.seen")
    assert len(seen) > 2, seen
    assert "running" in seen[0]

    lab.save("progress.ipynb")
    cells = json.loads((lab.server.root / "progress.ipynb").read_text())["cells"]
    (output,) = cells[1]["outputs"]
    assert "16/16 items" in "".join(output["data"]["text/html"])


def test_a_handle_goes_on_after_its_cell(lab, gate):
    """What `submit` returns is drawn over when its cell has ended, in every cell that shows it, until it is stopped."""
    notebook = lab.open(SLOW, SUBMIT, "handle", "handle.stop()")
    first, second = notebook.output(1), notebook.output(2)
    notebook.run()
    notebook.run()
    notebook.wait(1)
    expect(first).to_contain_text("running")
    let_items_through(gate, first)

    notebook.run()
    notebook.wait(2)
    for output in (second, first):
        let_items_through(gate, output)

    notebook.run()
    notebook.wait(3)
    for output in (first, second):
        expect(output).to_have_count(1)
        expect(output).to_contain_text("slow stopped")
    assert first.inner_text() == second.inner_text()
    expect(notebook.output(3)).to_have_text("True")


MATHS = """
    from llmflow_nb import BatchNode, Flow


    class Ask(BatchNode):
        def prep(self, shared):
            return ["pay $5 now and $7 later", r"\\(x^2\\) and $$y$$"]

        def exec(self, item):
            return r"$\\frac{1}{2}$"


    flow = Flow(Ask(), name="costs $1 or $2")
    flow.run({}, progress=True)
"""
DOLLARS = [
    MATHS,
    "flow.last_run.batch('Ask')",
    "flow.last_run",
    r"from IPython.display import HTML; HTML('made of $a^2$')",
]


def shows_dollars(notebook):
    """Run the cells of ``DOLLARS``: nothing in the outputs of the package is a formula, and all of it can be read."""
    notebook.run_all()
    notebook.output(3).locator("mjx-container").wait_for()  # so by now all has been typeset that will be
    for i in range(3):
        expect(notebook.output(i).locator("mjx-container")).to_have_count(0)
    batch = notebook.output(1).first.inner_text()
    assert "pay $5 now and $7 later" in batch
    assert r"$\frac{1}{2}$" in batch
    assert "costs $1 or $2" in notebook.output(0).inner_text()


def test_dollars_are_dollars(lab):
    """What a model says is never typeset as a formula: not in a batch, in a run, nor in progress."""
    shows_dollars(lab.open(*DOLLARS))
