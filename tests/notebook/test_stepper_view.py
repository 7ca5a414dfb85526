"""The widget of a stepper without a browser: what it shows, what it is asked, and what it makes of nonsense."""

import json
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
    return {row["key"]: (row["now"].get("text", row["now"]), row["how"]) for row in view.shared}


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
    assert [(row["path"], row["phase"], row["how"], row["changed"]) for row in view.places] == [
        ("F/Load", "before prep", "", ""),
        ("F/Upper", "before prep", "Load called", "items"),
    ]
    assert (view.place["called"], view.place["replayed"]) == (1, 0)


def test_a_replayed_node_is_the_one_that_is_marked(stepper):
    """After a step over a node that was answered by an earlier call, that node is marked, and not the next one."""
    view = view_of(stepper)
    ask(view, do="over")
    ask(view, do="back")
    ask(view, do="set", key="n", json="2")
    ask(view, do="over")
    assert [path for path, mark in view.marks.items() if mark.get("replayed")] == ["F/Load"]
    assert view.places[-1]["how"] == "Load replayed"


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
    assert view.place["failure"]["text"] == "failed: ValueError: no answer"
    assert "ValueError: no answer" in view.place["failure"]["traceback"]
    assert view.place["output"] == "before\n"
    assert view.marks["F/Bad"]["state"] == "failed"


def test_texts_keep_their_lines():
    """A prompt and the messages of a chat are shown as a reader needs them."""
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi,\nwho are you?"}]
    view = view_of(Flow(Node(), name="F").stepper({"prompt": "one\n\n  two", "chat": chat}))
    assert keys(view) == {
        "prompt": ("one\n\n  two", ""),
        "chat": ({"messages": [["system", "Be brief."], ["user", "Hi,\nwho are you?"]]}, ""),
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


def test_a_prompt_is_edited_as_text(stepper):
    """A string is edited as it is, without quotes and escapes; other values as JSON."""
    stepper.set("prompt", 'Say "hi".\nBe brief.')
    view = view_of(stepper)
    rows = {row["key"]: (row["edited_as"], row["text"]) for row in view.shared}
    assert rows == {"prompt": ("text", 'Say "hi".\nBe brief.'), "n": ("json", "1")}
    ask(view, do="set", key="prompt", text="[1]\nis text")
    assert stepper.shared["prompt"] == "[1]\nis text"


def test_a_failed_item_shows_its_input():
    """The item that failed is named and shown, wherever the command began."""

    class Ask(BatchNode):
        def prep(self, shared):
            return [{"id": 1}, {"id": 2}, {"id": 3}]

        def exec(self, item):
            return 1 / (item["id"] - 2)

    view = view_of(Flow(Ask(), name="F").stepper({}))
    ask(view, do="over")
    assert view.place["failure"]["item"] == 2
    assert view.place["failure"]["text"] == "failed at item 2: ZeroDivisionError: division by zero"
    assert view.place["values"] == [["item 2", "failed", {"text": "{'id': 2}"}]]
    ask(view, do="item", number=1)
    assert [(title, value["text"]) for title, _, value in view.place["values"]][:2] == [
        ("result 1", "-1.0"),
        ("item 1", "{'id': 1}"),
    ]
    ask(view, do="mock", json="7")
    assert "item 2 of 3" in view.place["where"]


def test_looking_at_a_node(stepper):
    """A click on a node shows its code, its last visit and what that did; it stays while the stepper goes on."""
    view = view_of(stepper)
    ask(view, do="look", path="F/Upper")
    assert (view.looked["name"], view.looked["kind"], view.looked["visits"]) == ("Upper", "Upper, a batch node", 0)
    assert "return item.upper()" in view.looked["code"]
    assert view.looked["source"].startswith("tests.notebook.test_stepper_view, line ")
    ask(view, do="over")
    ask(view, do="over")
    assert view.looked["visits"] == 1
    assert [(title, value["text"]) for title, _, value in view.looked["values"]] == [
        ("exec returned", "['ONE', 'TWO']"),
        ("shared['upper']", "['ONE', 'TWO']"),
    ]
    ask(view, do="goto", number=view.looked["number"])
    assert (view.place["path"], view.place["phase"]) == ("F/Upper", "before prep")
    ask(view, do="look")
    assert view.looked == {}


def test_what_the_step_over_a_node_did_is_shown(stepper):
    """Before the next node, the results of the node before are shown, and the keys it has set."""
    view = view_of(stepper)
    assert view.place["done"] == {}
    ask(view, do="over")
    ask(view, do="over")
    assert view.place["done"]["name"] == "Upper"
    assert [(title, value["text"]) for title, _, value in view.place["done"]["values"]] == [
        ("exec returned", "['ONE', 'TWO']"),
        ("shared['upper']", "['ONE', 'TWO']"),
    ]
    ask(view, do="back")
    assert view.place["done"]["name"] == "Load"


def test_two_places_are_compared(stepper):
    """The keys of shared that differ between a chosen place and the current one, with both values."""
    view = view_of(stepper)
    ask(view, do="over")
    ask(view, do="set", key="n", json="2")
    ask(view, do="compare", number=0)
    assert (view.compared["first"], view.compared["second"]) == (0, 2)
    assert [(row["key"], row["how"], row["first"], row["second"]) for row in view.compared["keys"]] == [
        ("n", "changed", {"text": "1"}, {"text": "2"}),
        ("items", "new", None, {"text": "['one', 'two']"}),
    ]
    ask(view, do="back")
    assert [row["key"] for row in view.compared["keys"]] == ["items"]
    ask(view, do="compare")
    assert view.compared == {}


def test_a_flow_is_folded_and_marks_where_it_is():
    """A closed flow is one box, which has the mark of the node within it; another request opens it."""
    inner = Flow(Node(name="A"), name="inner")
    view = view_of(Flow(inner, name="F").stepper({}))
    ask(view, do="into")
    assert view.marks["F/inner/A"]["here"]
    ask(view, do="fold", path="F/inner")
    assert set(view.nodes.values()) == {"F", "F/inner"}
    assert view.marks["F/inner"]["here"]
    ask(view, do="fold", path="F/inner")
    assert set(view.nodes.values()) == {"F", "F/inner", "F/inner/A"}
    ask(view, do="fold", path="F")  # the outermost stays open
    assert set(view.nodes.values()) == {"F", "F/inner", "F/inner/A"}


def test_the_whole_of_a_value_is_sent(stepper):
    """A value that is shown cut can be had whole: a string as it is, others as JSON, without secrets."""
    text = "line\n" * 2_000
    stepper.set("long", text)
    stepper.set("keys", [{"api_key": "sk-1", "n": 1}])
    view, sent = view_of(stepper), []
    view.send = lambda content, buffers=None: sent.append(content)
    ask(view, do="whole", id="key:long")
    ask(view, do="whole", id="key:keys")
    ask(view, do="whole", id="nobody")
    assert sent[0] == {"whole": "key:long", "text": text}
    assert json.loads(sent[1]["text"]) == [{"api_key": "***", "n": 1}]
    assert len(sent) == 2
    assert "nobody" in view.status["message"]


def test_a_long_step_tells_its_progress():
    """While a batch runs, its items are counted; afterwards nothing is left of that."""
    reported, go_on = threading.Event(), threading.Event()

    class Ask(BatchNode):
        def prep(self, shared):
            return range(3)

        def exec(self, item):
            return item < 2 or go_on.wait(20)

    view = view_of(Flow(Ask(), name="F").stepper({}))
    works = []
    view.observe(lambda change: (works.append(change["new"]), reported.set()), "work")
    view._on_request(view, {"do": "over"}, [])
    assert reported.wait(20)
    reported.clear()
    go_on.set()
    assert reported.wait(20)
    ((name, facts, done, total),) = works[0]["lines"]
    assert (name, done, total) == ("Ask", 2, 3)
    assert facts.startswith("2/3 items, 1 running")
    while view.work:
        reported.clear()
        assert reported.wait(20)


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
    assert "item 1 of 2" in view.place["where"]
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
    assert "params {'k': 20}" in view.place["where"]
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
    assert "ValueError" in view.place["failure"]["text"]


def test_hostile_names_and_values_are_texts():
    """What is sent is text, cut to a sane length; the drawing has passed its own pass."""
    bad = "<img src=x onerror=alert(1)>"
    node = Node(name=bad)
    stepper = Flow(node, name=bad).stepper({bad: bad * 10_000, "lock": threading.Lock()})
    view = view_of(stepper)
    assert "<img" not in view.svg
    rows = {row["key"]: row for row in view.shared}
    assert len(rows[bad]["now"]["text"]) <= 2_000
    assert rows[bad]["now"]["cut"]
    assert rows["lock"]["by_reference"] == "lock"
    assert rows["lock"]["edited_as"] == ""


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
