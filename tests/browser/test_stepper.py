"""The stepper's widget in a real JupyterLab: by mouse and keyboard, with failures, edits and hostile state."""

import math
import os

import pytest
from playwright.sync_api import expect

FLOW = """
    from llmflow_nb import BatchNode, Flow, Node

    class Load(Node):
        def exec(self, _):
            return ["one", "two", "three"]
        def post(self, shared, prep_res, exec_res):
            shared["items"] = exec_res

    class Upper(BatchNode):
        def prep(self, shared):
            return shared["items"]
        def exec(self, item):
            print("calling", item)
            return item.upper()
        def post(self, shared, prep_res, exec_res):
            shared["upper"] = exec_res

    class Judge(Node):
        def prep(self, shared):
            return shared["upper"]
        def exec(self, texts):
            if "TWO" in texts:
                raise ValueError("two is too much")
            return len(texts)
        def post(self, shared, prep_res, exec_res):
            shared["verdict"] = exec_res
            return "accept" if exec_res > 2 else "revise"

    load, upper, judge = Load(), Upper(), Judge()
    load >> upper
    inner = Flow(upper, name="inner")
    load.successors.clear()
    load >> inner >> judge
    judge - "revise" >> load
    judge - "accept" >> Node(name="Publish")
    flow = Flow(load, name="Story")
    stepper = flow.stepper({"n": 1})
    stepper
"""


class Widget:
    """A widget in the output of a cell, the first one by default."""

    def __init__(self, notebook, i, n=0):
        self.page = notebook.page
        self.root = notebook.output(i).locator(".llmflow-step-stepper").nth(n)
        self.root.wait_for()
        self.answers = int(self.root.get_attribute("data-answers"))

    def button(self, name):
        return self.root.locator(f".llmflow-step-bar .llmflow-step-{name}")

    def tab(self, name):
        self.root.get_by_role("tab", name=name).click()

    def press(self, key):
        """Press a key and wait until the command has ended."""
        self.root.focus()
        self.page.keyboard.press(key)
        self.idle()

    def click(self, name):
        self.button(name).click()
        self.idle()

    def idle(self):
        """Wait until what was asked for last has been answered and done."""
        done = "([e, n]) => Number(e.dataset.answers) > n && e.getAttribute('aria-busy') === 'false'"
        self.page.wait_for_function(done, arg=[self.root.element_handle(), self.answers])
        self.answers = int(self.root.get_attribute("data-answers"))

    def place(self):
        return self.root.locator(".llmflow-step-place").inner_text()

    def message(self):
        return self.root.locator(".llmflow-step-message").inner_text()

    def counts(self):
        return self.root.locator(".llmflow-step-counts").inner_text()


def picture(widget, name):
    folder = os.environ.get("LLMFLOW_NB_PICTURES")
    if folder:
        widget.root.screenshot(path=f"{folder}/{name}.png")


@pytest.fixture
def opened(lab):
    """Open a notebook of these cells, run the first, and return the notebook with the widget of that cell."""

    def open_(*cells):
        notebook = lab.open(*cells)
        notebook.run()
        return notebook, Widget(notebook, 0)

    return open_


def test_by_keyboard_into_a_nested_flow_and_back(opened):
    """Arrow keys step into a flow and into the items of a batch, and back again, and nothing is called twice."""
    _, widget = opened(FLOW)
    for _ in range(6):
        widget.press("ArrowRight")
    assert widget.place().startswith("Story/inner/Upper visit 1, item 1 of 3 after exec")
    assert widget.counts() == "called 2, replayed 0"
    widget.tab("Output")
    assert "calling one" in widget.root.locator(".llmflow-step-output").inner_text()
    widget.tab("shared")
    picture(widget, "item")
    for _ in range(3):
        widget.press("ArrowLeft")
    assert widget.place().startswith("Story/inner visit 1 before prep")
    widget.press("ArrowDown")
    assert widget.place().startswith("Story/Judge visit 1 before prep")
    assert widget.counts() == "called 4, replayed 0"
    assert widget.root.locator("[data-key=upper]").inner_text().startswith("upper new\n['ONE', 'TWO', 'THREE']")


def test_a_failure_is_corrected_and_rerun(opened):
    """The failed node and its error are seen; after its cell was run again, rerun continues and calls nothing twice."""
    notebook, widget = opened(
        FLOW,
        """
        class Judge(Judge):
            def exec(self, texts):
                return len(texts)
        """,
        "shared = stepper.shared; print(sorted(shared), stepper.called, stepper.record.action)",
    )
    widget.click("run")
    assert "failed: ValueError: two is too much" in widget.place()
    failed = widget.root.locator("g.llmflow-step-current.failed")
    assert failed.get_attribute("data-path") == "Story/Judge"
    assert "failed" in failed.get_attribute("aria-label")
    said = widget.root.locator(".llmflow-step-now").inner_text().split("\n")
    assert {"input of exec", "['ONE', 'TWO', 'THREE']", "error", "ValueError: two is too much"} <= set(said)
    picture(widget, "failed")
    notebook.run_cell(1)
    widget.press("e")
    assert "code changed: Judge" in widget.root.inner_text()
    widget.press("r")
    assert widget.place().startswith("Story visit 1 at the end action None")
    assert widget.counts() == "called 6, replayed 0"  # Load, three items, Judge twice
    picture(widget, "end")
    notebook.run_cell(2)
    assert notebook.output(2).inner_text().split("]")[1].split() == ["6", "None"]


def test_an_edit_opens_a_branch(opened):
    """A key is edited as JSON, wrong JSON is refused with its line, and the places from before can be gone back to."""
    _, widget = opened(FLOW)
    widget.press("ArrowDown")
    widget.root.locator("[data-key=items] button", has_text="edit").click()
    text = widget.root.locator("[data-key=items] textarea")
    text.fill('["four",]')
    widget.root.locator("[data-key=items] button", has_text="save").click()
    widget.idle()
    assert "this is not JSON" in widget.message()
    assert "in line 1, column" in widget.message()
    text.fill('["four"]')
    widget.root.locator("[data-key=items] button", has_text="save").click()
    widget.idle()
    assert "edited items" in widget.place()
    widget.press("ArrowDown")
    assert "FOUR" in widget.root.locator("[data-key=upper]").inner_text()
    picture(widget, "branch")
    widget.tab("History")
    widget.root.locator(".llmflow-step-go").nth(1).click()
    widget.idle()
    widget.tab("shared")
    assert "'one', 'two', 'three'" in widget.root.locator("[data-key=items]").inner_text()
    assert widget.root.locator("[data-key=upper]").count() == 0


def test_a_breakpoint_at_a_node(opened):
    """A click on a node's margin stops a run there, and another one takes it back."""
    _, widget = opened(FLOW)
    dot = widget.root.locator("[data-path='Story/inner/Upper'] .llmflow-step-dot")
    dot.click()
    widget.idle()
    node = widget.root.locator("[data-path='Story/inner/Upper']")
    expect(node).to_have_attribute("aria-label", "Story/inner/Upper ≡ for each item, not visited, breakpoint")
    widget.click("run")
    assert widget.place().startswith("Story/inner/Upper visit 1 before prep")
    node.press("Enter")
    widget.idle()
    widget.root.get_by_role("button", name="do not break here").press("Enter")
    widget.idle()
    expect(node).to_have_attribute("aria-label", "Story/inner/Upper ≡ for each item, here, running")


def test_another_action_and_another_result(opened):
    """A result replaces a call, and an action replaces the one that post chose."""
    _, widget = opened(FLOW)
    for _ in range(2):
        widget.press("ArrowDown")
    widget.root.locator("summary", has_text="change what comes next").click()
    widget.root.locator("[aria-label=result]").fill("1")
    widget.root.locator("button", has_text="mock exec").click()
    widget.idle()
    assert widget.place().startswith("Story/Judge visit 1 after exec")
    widget.press("ArrowRight")
    assert "action 'revise'" in widget.place()
    widget.root.locator("summary", has_text="change what comes next").click()
    widget.root.locator("[aria-label=action]").fill("accept")
    widget.root.locator("button", has_text="force action").click()
    widget.idle()
    assert "action 'accept'" in widget.place()
    widget.press("ArrowRight")
    assert widget.place().startswith("Story/Publish")


SLOW = """
    import threading
    from llmflow_nb import BatchNode, Flow

    go_on = threading.Semaphore(3)

    class Wait(BatchNode):
        def prep(self, shared):
            return range(1000)
        def exec(self, item):
            go_on.acquire()
            return item

    stepper = Flow(Wait(), name="Slow").stepper({})
    stepper
"""


def test_quick_taps_are_steps(opened):
    """Taps of a key, quicker than the steps, are as many steps, also with the focus on a button."""
    _, widget = opened(FLOW)
    widget.click("into")
    for _ in range(6):
        widget.page.keyboard.press("ArrowRight")
    expect(widget.root.get_by_role("tab", name="History 8")).to_be_visible()
    widget.idle()
    assert widget.place().startswith("Story/inner/Upper visit 1, item 2 of 3 after exec")


def test_the_interrupt_button_stops_a_step(opened):
    """JupyterLab's own interrupt ends a step of the widget, and no call follows it."""
    notebook, widget = opened(SLOW, "go_on.release(); print('let one through')")
    widget.button("run").click()
    expect(widget.root).to_have_attribute("aria-busy", "true")
    notebook.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:interrupt-kernel') }")
    expect(widget.root.locator(".llmflow-step-message")).to_have_text("stopping …")
    notebook.run_cell(1)
    widget.idle()
    assert widget.place().startswith("Slow/Wait visit 1 before prep")
    assert widget.counts() in {f"called {calls}, replayed 0" for calls in (1, 2, 3, 4)}


def test_stop_in_the_middle_of_a_batch(opened):
    """Progress is shown; stop is seen between two items; other cells run meanwhile; nothing is paid for twice."""
    notebook, widget = opened(SLOW, "print('still there'); go_on.release()", "print(stepper.called)")
    widget.button("run").click()
    expect(widget.root.locator(".llmflow-step-work")).to_contain_text("Wait  3/1,000 items, 1 running")
    picture(widget, "work")
    widget.root.focus()
    widget.page.keyboard.press("s")
    notebook.run_cell(1)
    assert "still there" in notebook.output(1).inner_text()
    widget.idle()
    assert widget.place().startswith("Slow/Wait visit 1 before prep")
    notebook.run_cell(2)
    assert int(notebook.output(2).inner_text()) in (1, 2, 3, 4, 5)


HOSTILE = """
    import socket, threading
    from llmflow_nb import Flow, Node

    class Loud:
        def __repr__(self):
            raise ValueError("no")

    def endless():
        while True:
            yield 1

    class Step(Node):
        def post(self, shared, prep_res, exec_res):
            shared["<img src=x onerror=alert(1)>"] = "<script>alert(2)</script>"
            shared["lock"].acquire(blocking=False)

    first, second = Step(name="<script>alert(3)</script>"), Step(name="two")
    first - "<b>x</b>" >> second
    first >> second
    shared = {"lock": threading.Lock(), "socket": socket.socket(), "generator": endless(), "loud": Loud()}
    shared["long"] = "A" * 10_000_000
    stepper = Flow(first, name="</text><script>alert(4)</script>").stepper(shared)
    stepper
"""


def test_hostile_state(lab, opened):
    """Nothing that a value, a key or a name says is run; what cannot be copied is marked; stepping works."""
    _, widget = opened(HOSTILE)
    for _ in range(3):
        widget.press("ArrowRight")
    widget.press("ArrowLeft")
    widget.press("r")
    assert "at the end" in widget.place()
    text = widget.root.inner_text()
    assert "not restorable: lock" in text
    assert "<script>alert(2)</script>" in text
    assert widget.root.locator("script, img, iframe").count() == 0
    assert lab.dialogs == []


def test_two_views_of_one_stepper(opened):
    """A stepper that is shown twice is one: what is done in one place is seen in the other, and in Python."""
    notebook, widget = opened(FLOW, "stepper", "stepper.over()")
    notebook.run_cell(1)
    other = Widget(notebook, 1)
    widget.press("ArrowRight")
    assert other.place() == widget.place()
    notebook.run_cell(2)
    widget.page.wait_for_function(
        "([e, text]) => e.innerText.includes(text)", arg=[widget.root.element_handle(), "Story/inner visit 1"]
    )
    assert other.place() == widget.place()


def test_after_a_restart_of_the_kernel_it_says_so(opened):
    """Without the kernel that it belongs to, the widget does not pretend to work."""
    notebook, widget = opened(FLOW)
    notebook.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    widget.button("into").click(no_wait_after=True)
    widget.page.wait_for_function(
        "e => e.innerText.includes('The kernel does not answer')", arg=widget.root.element_handle()
    )


def test_while_another_cell_is_busy_it_says_so(opened, gate):
    """A step that was asked for meanwhile is done when the kernel is free again, and the words go away."""
    notebook, widget = opened(FLOW, "open('gate').read()")
    notebook.page.evaluate("() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1 }")
    notebook.run()
    widget.button("into").click(no_wait_after=True)
    said = "e => e.innerText.includes('busy with another cell')"
    widget.page.wait_for_function(said, arg=widget.root.element_handle())
    gate.close()
    notebook.wait(1)
    expect(widget.root.locator(".llmflow-step-place")).to_contain_text("Story/Load visit 1 after exec")
    expect(widget.root).not_to_contain_text("busy with")


def test_dark_and_narrow(opened):
    """In a dark theme, and 600 pixels wide, all of it is there."""
    notebook, widget = opened(FLOW)
    notebook.use("JupyterLab Dark")
    widget.click("run")
    picture(widget, "dark")
    notebook.page.set_viewport_size({"width": 760, "height": 1200})
    widget.press("ArrowLeft")
    picture(widget, "narrow")
    box = widget.root.bounding_box()
    assert widget.root.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), box


LONG = """
    from itertools import pairwise
    from llmflow_nb import Flow, Node

    class Step(Node):
        def post(self, shared, prep_res, exec_res):
            shared[self.name] = "x" * 50

    steps = [Step(name=f"Step {i}") for i in range(60)]
    for a, b in pairwise(steps):
        a >> b
    stepper = Flow(steps[0], name="Long").stepper({})
    stepper
"""
SEEN = """e => {
    const pane = e.querySelector('.llmflow-step-graph').getBoundingClientRect();
    const node = e.querySelector('.llmflow-step-current > rect:last-of-type').getBoundingClientRect();
    return node.left >= pane.left && node.right <= pane.right && node.top >= pane.top && node.bottom <= pane.bottom;
}"""
SCALE = "e => e.querySelector('.llmflow-step-graph svg').getScreenCTM().a"


def test_the_graph_follows_in_a_box_that_never_grows(opened):
    """In a flow of 60 nodes the current node is always in view and readable, and the cell keeps its height."""
    _, widget = opened(LONG)
    height = widget.root.bounding_box()["height"]
    for _ in range(25):
        widget.press("ArrowDown")
        assert widget.root.evaluate(SEEN), widget.place()
    assert widget.place().startswith("Long/Step 25")
    assert widget.root.evaluate(SCALE) >= 0.8
    assert widget.root.bounding_box()["height"] == height
    widget.page.keyboard.press("2")
    picture(widget, "long")
    here = widget.root.locator(".llmflow-step-here")
    expect(here).to_be_in_viewport()
    widget.root.locator(".llmflow-step-go").nth(20).click()
    widget.idle()
    expect(here.locator("button")).to_be_focused()
    widget.root.page.keyboard.press("ArrowLeft")
    widget.idle()
    assert widget.place().startswith("Long/Step 19")
    assert widget.root.evaluate(SEEN)


def test_zoom_and_drag(opened):
    """The buttons, the wheel with Ctrl and dragging choose what is seen of the graph; a step keeps the scale."""
    _, widget = opened(LONG)
    graph = widget.root.locator(".llmflow-step-graph")
    widget.root.get_by_label("show the whole graph").click()
    whole = widget.root.evaluate(SCALE)
    assert widget.root.evaluate(
        """e => {
            const pane = e.querySelector('.llmflow-step-graph').getBoundingClientRect();
            const all = e.querySelector('.llmflow-graph > g > .cluster > rect').getBoundingClientRect();
            return all.width <= pane.width + 1 && all.height <= pane.height + 1;
        }"""
    )
    widget.root.get_by_label("zoom in").click()
    assert widget.root.evaluate(SCALE) == pytest.approx(1.25 * whole, rel=1e-3)
    graph.hover()
    widget.page.keyboard.down("Control")
    widget.page.mouse.wheel(0, -400)
    widget.page.keyboard.up("Control")
    # The browser may deliver one turn of the wheel as several events, so wait for the scale of the whole turn.
    scale = 1.25 * whole * math.e
    reached = f"e => Math.abs(({SCALE})(e) / {scale} - 1) < 1e-4"
    widget.page.wait_for_function(reached, arg=widget.root.element_handle())
    first = graph.locator("text").get_by_text("Step 0", exact=True)
    before = first.bounding_box()
    box = graph.bounding_box()
    widget.page.mouse.move(box["x"] + 200, box["y"] + 100)
    widget.page.mouse.down()
    widget.page.mouse.move(box["x"] + 150, box["y"] + 80, steps=3)
    widget.page.mouse.up()
    moved = first.bounding_box()
    assert (moved["x"] - before["x"], moved["y"] - before["y"]) == pytest.approx((-50, -20), abs=1.5)
    widget.press("ArrowDown")
    assert widget.root.evaluate(SCALE) == pytest.approx(scale, rel=1e-3)
    assert widget.root.evaluate(SEEN)


SUPPORT = """
    from itertools import pairwise
    from llmflow_nb import BatchNode, Flow, Node

    class Step(Node):
        def prep(self, shared):
            return shared["question"]
        def exec(self, question):
            return f"{self.name} of {question}"
        def post(self, shared, prep_res, exec_res):
            shared[self.name] = exec_res

    class Decide(Step):
        def prep(self, shared):
            return [{"role": "system", "content": "Decide."}, {"role": "user", "content": shared["question"]}]
        def exec(self, messages):
            return {"action": "search", "reason": "nothing is known about it yet", "confidence": 0.7}
        def post(self, shared, prep_res, exec_res):
            shared["rounds"] = shared.get("rounds", 0) + 1
            return "search" if shared["rounds"] < 2 else "answer"

    class Label(BatchNode):
        def prep(self, shared):
            return [{"ticket": n, "prompt": shared["prompt"]} for n in range(1, 13)]
        def exec(self, ticket):
            if ticket["ticket"] == 8 and "one word" not in ticket["prompt"]:
                raise ValueError("the model answered 'refund or bug', which is no label")
            return {"ticket": ticket["ticket"], "label": "refund"}
        def post(self, shared, prep_res, exec_res):
            shared["labels"] = exec_res

    def chain(*nodes):
        for a, b in pairwise(nodes):
            a >> b
        return nodes

    load = chain(*[Step(name=n) for n in ("Load", "Clean", "Split", "Embed", "Index")])
    decide, search, read, note, answer = Decide(), *[Step(name=n) for n in ("Search", "Read", "Note", "Answer")]
    decide - "search" >> search
    chain(search, read, note, decide)
    decide - "answer" >> answer
    label = chain(Label(), *[Step(name=n) for n in ("Sample", "Grade", "Explain")])
    report = chain(*[Step(name=n) for n in ("Outline", "Intro", "Body", "End", "Review", "Revise", "Set", "Publish")])
    tail = [Step(name=n) for n in ("Archive", "Notify", "Bill", "Clean up")]
    chain(*load, Flow(decide, name="research"), Flow(label[0], name="labelling"), Flow(report[0], name="report"), *tail)
    flow = Flow(load[0], name="Support")
    prompt = "You label support tickets.\\n\\nLabels: refund, bug, praise.\\nAnswer with a label."
    stepper = flow.stepper({"question": "Why twice?", "prompt": prompt, "log": "line\\n" * 900})
    stepper
"""


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_a_prompt_is_mended_in_a_flow_of_30_nodes(opened, how):
    """The failed item is named and shown, the prompt is edited as text, and the run goes on to its end."""
    notebook, widget = opened(SUPPORT)
    press, type_ = widget.page.keyboard.press, widget.page.keyboard.type
    if how == "mouse":
        widget.click("run")
    else:
        notebook.use("JupyterLab Dark")
        widget.press("r")
    assert widget.place().startswith("Support/labelling/Label visit 1 before prep")
    assert "failed at item 8: ValueError: the model answered" in widget.place()
    assert widget.root.evaluate(SEEN)
    now = widget.root.locator(".llmflow-step-now").inner_text()
    assert "ticket\t8\nprompt\tYou label support tickets." in now[now.index("item 8") :]
    picture(widget, f"mend_{how}")
    if how == "mouse":
        row = widget.root.locator("[data-key=prompt]")
        row.hover()
        row.get_by_role("button", name="edit prompt").click()
        text = row.get_by_label("Text of prompt")
        assert text.input_value().endswith("Labels: refund, bug, praise.\nAnswer with a label.")
        text.fill(text.input_value() + " Answer in one word.")
        picture(widget, "mend_edit")
        row.get_by_role("button", name="save").click()
        widget.idle()
        widget.click("run")
    else:
        press("/")
        type_("prompt")
        press("Enter")
        press("Control+End")
        type_(" Answer in one word.")
        press("Control+Enter")
        widget.idle()
        press("r")
        widget.idle()
        assert widget.place().startswith("Support visit 1 at the end")
    assert "refund" in widget.root.locator("[data-key=labels]").inner_text()


def test_a_node_is_looked_at(opened):
    """By mouse and by keyboard: its code, its last visit, a breakpoint, its frame folded; Esc shows the place again."""
    _, widget = opened(SUPPORT)
    press, now = widget.page.keyboard.press, widget.root.locator(".llmflow-step-now")
    widget.click("over")
    widget.root.locator("[data-path='Support/Load']").click()
    widget.idle()
    assert now.locator("h4").inner_text() == "Node Load"
    text = now.inner_text()
    for words in ("1 visit", "Load of Why twice?", "code: Cell In[", 'return f"{self.name} of {question}"'):
        assert words in text
    picture(widget, "look")
    now.get_by_role("button", name="go to its last visit").click()
    widget.idle()
    assert widget.place().startswith("Support/Load visit 1 before prep")
    expect(now.locator("h4")).to_have_text("This node")
    widget.root.locator("[data-path='Support/Clean']").press("Enter")
    expect(now.locator("h4")).to_have_text("Node Clean")
    press("Escape")
    expect(now.locator("h4")).to_have_text("This node")
    widget.answers = int(widget.root.get_attribute("data-answers"))
    widget.root.locator("[data-path='Support/research']").press("Enter")
    widget.idle()
    now.get_by_role("button", name="fold").press("Enter")
    expect(widget.root.locator("[data-path='Support/research/Decide']")).to_have_count(0)
    picture(widget, "folded")
    widget.root.get_by_label("show the whole graph").click()
    widget.root.locator("[data-path='Support/research'].closed").dblclick()
    expect(widget.root.locator("[data-path='Support/research/Decide']")).to_have_count(1)


def test_two_places_are_compared(opened):
    """A place of the history is compared with the current one: each key of shared that differs, with both values."""
    _, widget = opened(SUPPORT)
    for _ in range(3):
        widget.press("ArrowDown")
    widget.page.keyboard.press("2")
    places = widget.root.locator(".llmflow-step-places li")
    number, node, phase, how, _ = places.nth(1).inner_text().split("\n")
    assert (number, node, phase) == ("1", "Clean", "before prep")
    assert (how.split(" · ")[0], how.split(" · ")[-1]) == ("Load called", "Load")
    picture(widget, "history")
    places.nth(1).get_by_role("button", name="compare").press("Enter")
    widget.idle()
    shared = widget.root.get_by_role("tabpanel", name="shared")
    expect(shared).to_contain_text("place 1 and place 3")
    expect(widget.root).to_be_focused()
    assert [row.split("\n")[0] for row in shared.locator("[data-key]:visible").all_inner_texts()] == [
        "Clean new",
        "Split new",
    ]
    picture(widget, "compared")
    shared.get_by_role("button", name="close").click()
    expect(shared.locator("[data-key=question]")).to_be_visible()


# Keeps each text that an element shows, as "copied" does not stay.
NOTE_TEXTS = """e => {
    e.texts = [];
    new MutationObserver(() => e.texts.push(e.textContent)).observe(e, { childList: true, characterData: true });
}"""


def test_a_long_value_is_read_whole(opened):
    """It is folded, unfolded on demand, and copied as it is."""
    _, widget = opened(SUPPORT)
    widget.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    row = widget.root.locator("[data-key=log]")
    row.hover()
    row.locator("pre").click()
    expect(row.locator("pre")).to_have_text("line\n" * 900)
    copy = row.get_by_role("button", name="copy").element_handle()
    copy.evaluate(NOTE_TEXTS)
    copy.click()
    widget.page.wait_for_function("e => e.texts.includes('copied')", arg=copy)
    assert widget.page.evaluate("navigator.clipboard.readText()") == "line\n" * 900
    widget.page.context.clear_permissions()


def test_keys_work_at_once(lab):
    """In the selected cell the widget has the focus, elsewhere it says how to get it; ? lists the keys, Esc leaves."""
    notebook = lab.open(SUPPORT, "1")
    notebook.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell') }")
    widget = Widget(notebook, 0)
    hint = widget.root.get_by_text("click here, then use the keys")
    expect(widget.root).to_be_focused()
    expect(hint).to_be_hidden()
    widget.page.keyboard.press("ArrowDown")
    widget.idle()
    assert widget.place().startswith("Support/Clean")
    widget.page.keyboard.press("?")
    keys = widget.root.get_by_role("note", name="Keys")
    expect(keys).to_contain_text("run to the next breakpoint, or to the end")
    picture(widget, "keys")
    widget.page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    widget.page.keyboard.press("Escape")
    expect(hint).to_be_visible()
    widget.root.click(position={"x": 5, "y": 5})
    expect(hint).to_be_hidden()


def test_a_saved_notebook_shows_the_picture(lab, opened):
    """With no kernel that knows the widget, exported and in JupyterLab, there is the picture and the place."""
    notebook, widget = opened(FLOW)
    assert notebook.page.locator(".llmflow-step-still").is_hidden()
    widget.press("ArrowRight")
    notebook.page.wait_for_function(
        "() => document.querySelector('.llmflow-step-still').textContent.includes('after exec')"
    )
    lab.save("step_saved.ipynb")
    page = lab.offline(lab.server.export("step_saved.ipynb"))
    assert "Story/Load  visit 1  after exec" in page.content()
    assert page.locator("img[alt^='Graph of Story']").count() == 1
    saved = lab.look("step_saved.ipynb", own_kernel=True)
    still = saved.output(0).locator(".llmflow-step-still")
    still.locator("img[alt^='Graph of Story']").wait_for()
    assert "Story/Load  visit 1  after exec" in still.inner_text()
    if os.environ.get("LLMFLOW_NB_PICTURES"):
        saved.page.screenshot(path=f"{os.environ['LLMFLOW_NB_PICTURES']}/saved.png")
