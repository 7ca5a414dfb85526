"""The widget of a stepper without a browser: what it shows, what it is asked, and what it makes of nonsense."""

import threading
from itertools import pairwise

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node
from llmflow_nb.notebook.display import mimebundle, view_of


class Load(Node):
    def exec(self, _):
        return ["one", "two"]

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
        return "done"


@pytest.fixture
def stepper():
    load, upper = Load(), Upper()
    load >> upper
    upper - "done" >> Node(name="End")
    return Flow(load, name="F").stepper({"n": 1})


def ask(view, **content):
    """Ask for something and wait for its end."""
    ended = threading.Event()
    view.observe(lambda change: ended.set() if not change["new"].get("busy") else None, "status")
    view._on_request(view, content, [])
    assert ended.wait(20)
    view.unobserve_all("status")
    return view


def keys(view):
    return {row["key"]: (row["now"], row["how"]) for row in view.shared}


def test_it_shows_where_the_stepper_is(stepper):
    """Place, marks, keys, places and counters are those of the stepper, after each command."""
    view = view_of(stepper)
    assert view_of(stepper) is view
    assert view.svg.startswith("<svg ")
    assert set(view.nodes.values()) == {"F", "F/Load", "F/Upper", "F/End"}
    ask(view, do="over")
    assert view.place["path"] == "F/Upper"
    assert view.marks["F/Upper"]["here"]
    assert view.marks["F/Load"]["state"] == "ok"
    assert keys(view) == {"items": ("['one', 'two']", "new"), "n": ("1", "")}
    assert [row["text"] for row in view.places][-1] == "F/Upper  visit 1  before prep"
    assert (view.place["called"], view.place["replayed"]) == (1, 0)


def test_marimo_is_given_the_widget(stepper):
    """It asks for it by a method of its own."""
    assert stepper._display_() is view_of(stepper)


def test_commands_of_python_are_seen_too(stepper):
    """Who steps in a cell sees it in the widget."""
    view = view_of(stepper)
    stepper.over()
    assert view.place["path"] == "F/Upper"


def test_what_is_printed_is_shown_and_not_printed(stepper, capsys):
    """The output of a step is in the widget."""
    view = view_of(stepper)
    ask(view, do="over")
    ask(view, do="over")
    assert "calling one" in view.place["output"]
    assert "calling" not in capsys.readouterr().out


def test_an_error_is_not_among_what_was_printed():
    """A failed step has the lines of the traceback that are the user's as its error."""

    class Bad(Node):
        def exec(self, _):
            print("before")
            raise ValueError("no answer")

    view = view_of(Flow(Bad(), name="F").stepper({}))
    ask(view, do="over")
    assert "ValueError: no answer" in view.place["traceback"]
    assert view.place["output"] == "before\n"
    assert view.marks["F/Bad"]["state"] == "failed"


def test_texts_keep_their_lines():
    """A prompt and the messages of a chat are shown as a reader needs them."""
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi,\nwho are you?"}]
    view = view_of(Flow(Node(), name="F").stepper({"prompt": "one\n\n  two", "chat": chat}))
    assert keys(view) == {
        "prompt": ("one\n\n  two", ""),
        "chat": ("system: Be brief.\n\nuser: Hi,\nwho are you?", ""),
    }


def test_editing(stepper):
    """JSON sets a key; anything else is refused with where it is wrong, and nothing changes."""
    view = view_of(stepper)
    ask(view, do="set", key="n", json='{"a": [1, null]}')
    assert stepper.shared == {"n": {"a": [1, None]}}
    assert view.status["message"] == ""
    for text, said in (("{'a': 1}", "line 1, column 2"), ("NaN", "NaN is not JSON"), ("", "line 1, column 1")):
        ask(view, do="set", key="n", json=text)
        assert said in view.status["message"]
    ask(view, do="delete", key="n")
    assert stepper.shared == {}


def test_items_breakpoints_mocks_and_forced_actions(stepper):
    """Every command of the stepper can be asked for."""
    view = view_of(stepper)
    ask(view, do="break", path="F/Upper")
    assert view.place["stops"] == ["F/Upper"]
    ask(view, do="run")
    assert view.place["path"] == "F/Upper"
    ask(view, do="break", path="F/Upper")
    assert view.place["stops"] == []
    ask(view, do="item", number=1)
    assert (view.place["item"], view.place["items"]) == (1, 2)
    ask(view, do="mock", json='"mocked"')
    ask(view, do="force", action="other")
    assert stepper.shared["upper"] == ["ONE", "mocked"]
    assert view.place["action"] == "'other'"
    ask(view, do="goto", number=0)
    assert view.place["number"] == 0


@pytest.mark.parametrize(
    "content",
    [
        {"do": "goto"},
        {"do": "goto", "number": 99},
        {"do": "goto", "number": "1"},
        {"do": "set"},
        {"do": "set", "key": ["x"], "json": "1"},
        {"do": "break", "path": "F/Nobody"},
        {"do": "unbreak", "number": 5},
        {"do": "item", "number": 1},
        {"do": "mock", "json": "["},
        {"do": "delete", "key": "nobody"},
    ],
)
def test_nonsense_is_answered_with_words(stepper, content):
    """Whatever is asked, the widget says what is wrong with it, and stays where it is."""
    view = view_of(stepper)
    place = dict(view.place)
    ask(view, **content)
    assert view.status["message"]
    assert view.place == place


def test_what_is_no_command_is_left_alone(stepper):
    """Content of another kind is not taken for a command."""
    view = view_of(stepper)
    for content in (None, [], "into"):
        view._on_request(view, content, [])
    ask(view, do="__class__")
    assert view.place["number"] == 0


class Divide(BatchNode):
    def prep(self, shared):
        return [1, 0, 2]

    def exec(self, item):
        return self.params["k"] / item


class Each(BatchFlow):
    def prep(self, shared):
        return [{"k": 10}, {"k": 20}]


@pytest.mark.parametrize(("batch", "row"), [("Divide", 4), ("each", 1)])
def test_debugging_a_row_shows_where_it_is(batch, row):
    """The graph is that of the flow, with the node marked; the row and its params are said."""
    flow = Flow(Each(Flow(Divide(on_error="keep"), name="inner"), name="each"), name="F")
    flow.run({})
    stepper = flow.last_run.batch(batch).debug(row)
    view = view_of(stepper)
    assert set(view.nodes.values()) == {"F", "F/each", "F/each/inner", "F/each/inner/Divide"}
    assert [path for path, mark in view.marks.items() if mark.get("here")] == ["F/each/inner/Divide"]
    assert view.place["params"] == "{'k': 20}"
    assert view.place["title"] == f"row {row} of {flow.last_run.batch(batch).path}"
    assert "with k=20" in str(stepper.place)
    ask(view, do="into")
    assert view.marks["F/each/inner/Divide"]["here"]
    still = mimebundle(stepper)
    assert f"row {row} of" in still["text/plain"]
    assert "the flow has changed" not in still["text/html"]


def test_commands_are_queued():
    """Six commands that are asked for at once are six steps, in that order."""
    nodes = [Node(name=f"N{i}") for i in range(9)]
    for node, following in pairwise(nodes):
        node >> following
    stepper = Flow(nodes[0], name="F").stepper({})
    view = view_of(stepper)
    ended = threading.Event()
    view.observe(lambda change: change["new"]["busy"] or ended.set(), "status")
    for _ in range(6):
        view._on_request(view, {"do": "over"}, [])
    while not stepper.place.path.endswith("N6"):
        assert ended.wait(20)
        ended.clear()
    assert len(stepper.tree.splitlines()) == 7


def test_commands_after_a_failure_are_discarded():
    """What was asked for before a step failed is not tried on the failed node."""
    calls, gate = [], threading.Event()

    class Failing(Node):
        def exec(self, _):
            calls.append(1)
            gate.wait(20)
            raise ValueError("no")

    view = view_of(Flow(Failing(), name="F").stepper({}))
    ended = threading.Event()
    view.observe(lambda change: change["new"]["busy"] or ended.set(), "status")
    view._on_request(view, {"do": "over"}, [])
    view._on_request(view, {"do": "over"}, [])
    ended.clear()
    gate.set()
    assert ended.wait(20)
    assert calls == [1]
    assert "ValueError" in view.place["error"]


def test_hostile_names_and_values_are_texts():
    """What is sent is text, cut to a sane length; the drawing has passed its own pass."""
    bad = "<img src=x onerror=alert(1)>"
    node = Node(name=bad)
    stepper = Flow(node, name=bad).stepper({bad: bad * 10_000, "lock": threading.Lock()})
    view = view_of(stepper)
    assert "<img" not in view.svg
    rows = {row["key"]: row for row in view.shared}
    assert len(rows[bad]["now"]) <= 2_000
    assert rows["lock"]["by_reference"] == "lock"
    assert rows["lock"]["json"] == ""


@pytest.mark.parametrize("node", ["Upper", "F/Upper"])
def test_a_click_on_a_breakpoint_removes_it(stepper, node):
    """The dot of a node is set for a breakpoint by name and by path. A click removes either, and another adds one."""
    view = view_of(stepper)
    stepper.breakpoints.add(node)
    view.refresh()
    assert view.place["stops"] == ["F/Upper"]
    ask(view, do="break", path="F/Upper")
    assert (view.place["stops"], len(stepper.breakpoints)) == ([], 0)
    ask(view, do="break", path="F/Upper")
    assert view.place["stops"] == ["F/Upper"]


@pytest.mark.parametrize("place", [0, 200, 499])
def test_a_long_history_shows_the_current_place(place):
    """At most 300 places are sent. They are around the current one."""

    class Count(Node):
        def post(self, shared, prep_res, exec_res):
            shared["n"] += 1
            return "again" if shared["n"] < 499 else "done"

    count = Count()
    count - "again" >> count
    count - "done" >> Node(name="End")
    stepper = Flow(count).stepper({"n": 0})
    stepper.run()
    stepper.goto(place)
    rows = view_of(stepper).places
    assert len(rows) == 300
    assert [row["number"] for row in rows if row["here"]] == [place]
