"""What is answered by an earlier result, and what is called again."""

import itertools
import textwrap
import threading

import numpy as np
import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node
from tests.stepper.helpers import Adds, Cells, Ledger, at, counts


class Asks(Node):
    """Asks with ``self.prompt`` about ``shared["text"]``; each answer is another one, as a model's would be."""

    def __init__(self, **settings):
        super().__init__(name="asks", **settings)
        self.prompt, self.asked = "sum up", Ledger()

    def prep(self, shared):
        return shared["text"]

    def exec(self, text):
        self.asked.append(text)
        return f"{self.prompt} {text}: {len(self.asked)}"

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = exec_res


def once(node, shared=None):
    """A stepper that has gone through the node once, and is back before it."""
    stepper = Flow(node).stepper({"text": "a"} if shared is None else shared)
    stepper.run()
    stepper.goto(0)
    return stepper


def again(stepper):
    """Go back to the beginning, run the whole node again, and return the calls made and replayed by it."""
    stepper.goto(0)
    before = counts(stepper)
    stepper.rerun()
    assert stepper.error is None
    return tuple(now - then for now, then in zip(counts(stepper), before, strict=True))


MADE, REPLAYED = (1, 0), (0, 1)

# ---- the first way through -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["into", "over", "run"])
def test_the_first_way_through_calls_for_every_item(way):
    """As a run does, also where items are equal: stepping never differs from running."""

    class Draws(BatchNode):
        def prep(self, shared):
            return ["same", "same", "same"]

        def exec(self, item):
            return next(numbers)

        def post(self, shared, prep_res, exec_res):
            shared["drawn"] = exec_res

    numbers = itertools.count()
    stepper = Flow(Draws()).stepper({})
    while not stepper.place.is_end:
        getattr(stepper, way)()
    assert stepper.shared == {"drawn": [0, 1, 2]}
    assert counts(stepper) == (3, 0)


@pytest.mark.parametrize("way", ["into", "over", "run"])
def test_a_loop_that_asks_until_it_likes_the_answer_ends(way):
    """Each round asks again, as in a run, although the question is the same."""

    class Tries(Node):
        def exec(self, prep_res):
            return next(answers)

        def post(self, shared, prep_res, exec_res):
            shared["answer"] = exec_res
            return "good" if exec_res == "good" else "again"

    answers = iter(["bad", "worse", "good"])
    node = Tries()
    node - "again" >> node
    node - "good" >> Node()
    stepper = Flow(node, max_steps=10).stepper({})
    while not stepper.place.is_end and stepper.error is None:
        getattr(stepper, way)()
    assert (stepper.error, stepper.shared) == (None, {"answer": "good"})
    assert counts(stepper) == (3, 0)


def test_gone_through_again_each_round_has_its_own_answer():
    """Rounds with the same question are answered in the order in which they were."""

    class Draws(Node):
        def exec(self, prep_res):
            return next(numbers)

        def post(self, shared, prep_res, exec_res):
            shared["drawn"] = [*shared["drawn"], exec_res]
            return "again" if len(shared["drawn"]) < 3 else "done"

    numbers = itertools.count()
    node = Draws()
    node - "again" >> node
    node - "done" >> Node()
    stepper = Flow(node).stepper({"drawn": []})
    stepper.run()
    assert stepper.shared["drawn"] == [0, 1, 2]
    stepper.goto(0)
    stepper.set("edited", True)
    stepper.run()
    assert stepper.shared["drawn"] == [0, 1, 2]
    assert counts(stepper) == (3, 3)


# ---- the same, and what is another input -----------------------------------------------------------------------------


def test_the_same_input_is_answered_by_the_same_result():
    """No call is made; the counters and the history say so."""
    node = Asks()
    stepper = once(node)
    assert again(stepper) == REPLAYED
    assert stepper.shared["answer"] == "sum up a: 1"
    assert node.asked == ["a"]
    assert list(stepper.history["calls"]) == ["replayed"]
    assert "called 1, replayed 1" in str(stepper.place)


def test_another_input_is_called_for():
    """And going back to the old one finds its result again."""
    node = Asks()
    stepper = once(node)
    stepper.set("text", "b")
    stepper.run()
    assert node.asked == ["a", "b"]
    assert again(stepper) == REPLAYED
    assert (stepper.shared["answer"], node.asked) == ("sum up a: 1", ["a", "b"])


@pytest.mark.parametrize(("first", "second"), [(1, True), (1, 1.0), ([1], (1,)), ({"a": 1, "b": 2}, {"b": 2, "a": 1})])
def test_equal_is_not_the_same(first, second):
    """An input of another type, or in another order, is another input."""
    node = Asks()
    stepper = once(node, {"text": first})
    stepper.set("text", second)
    stepper.run()
    assert list(map(repr, node.asked)) == [repr(first), repr(second)]


def test_what_was_not_changed_is_not_asked_again_after_an_edit():
    """Only calls that depend on the edit are made."""
    first, second = Asks(), Adds("adds")
    first >> second
    stepper = Flow(first).stepper({"text": "a", "n": 0})
    stepper.run()
    stepper.goto(0)
    stepper.set("n", 5)
    stepper.run()
    assert (first.asked, second.calls) == (["a"], [0, 5])
    assert counts(stepper) == (3, 1)


def test_items_are_answered_one_by_one():
    """A batch with one new item makes one call."""

    class Tens(BatchNode):
        def prep(self, shared):
            return shared["items"]

        def exec(self, item):
            calls.append(item)
            return item * 10

        def post(self, shared, prep_res, exec_res):
            shared["results"] = exec_res

    calls = Ledger()
    stepper = once(Tens(), {"items": [1, 2, 3]})
    stepper.set("items", [3, 4, 1])
    stepper.run()
    assert (calls, stepper.shared["results"]) == ([1, 2, 3, 4], [30, 40, 10])
    assert counts(stepper) == (4, 2)


def test_other_params_are_called_for():
    """A node that is walked with other params is asked again; with the same ones not."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"k": k} for k in shared["sets"]]

    class Leaf(Node):
        def exec(self, prep_res):
            calls.append(self.params["k"])

    calls = Ledger()
    stepper = Sets(Leaf()).stepper({"sets": [1, 2]})
    stepper.run()
    stepper.goto(0)
    stepper.set("sets", [2, 3])
    stepper.run()
    assert (calls, counts(stepper)) == ([1, 2, 3], (3, 1))


@pytest.mark.parametrize("steps", [0, 1], ids=["before prep", "after prep"])
def test_a_changed_attribute_of_the_node_is_called_for(steps):
    """``node.prompt = ...`` in a cell, and the next `rerun` asks with it."""
    node = Asks()
    stepper = Flow(node).stepper({"text": "a"})
    for _ in range(4):
        stepper.into()
    stepper.goto(steps)
    node.prompt = "list"
    stepper.rerun()
    stepper.run()
    assert stepper.shared["answer"] == "list a: 2"
    node.prompt = "sum up"
    stepper.goto(0)
    stepper.rerun()
    stepper.run()
    assert (stepper.shared["answer"], node.asked) == ("sum up a: 1", ["a", "a"])


def test_a_changed_attribute_counts_for_each_forward_command():
    """Going forward does not go along what was recorded with another prompt."""
    first, node = Adds("first"), Asks()
    first >> node
    stepper = Flow(first).stepper({"n": 0, "text": "a"})
    stepper.run()
    stepper.goto(0)
    node.prompt = "list"
    stepper.run()
    assert stepper.shared["answer"] == "list a: 2"
    assert counts(stepper) == (3, 1)


def test_a_changed_attribute_that_is_changed_in_place():
    """Examples that are appended to a list of the node are another input."""

    class Shows(Asks):
        def exec(self, text):
            return f"{len(self.examples)}: {super().exec(text)}"

    node = Shows()
    node.examples = ["one"]
    stepper = once(node)
    node.examples.append("two")
    assert again(stepper) == MADE
    assert stepper.shared["answer"].startswith("2: ")


@pytest.mark.parametrize("way", ["run", "over", "into"])
@pytest.mark.parametrize("where", ["a dict", "a list in a dict", "a plain object", "an array"])
def test_an_attribute_that_is_changed_in_place_counts_for_each_forward_command(where, way):
    """Whichever command goes forward, over a way that is recorded: it sees what the key of a call sees."""

    class Config:
        value = None

    class Shows(Asks):
        def exec(self, text):
            return super().exec(f"{text} {self.config}" if not isinstance(self.config, Config) else self.config.value)

    node = Shows()
    held = {"a dict": {}, "a list in a dict": {"values": []}, "a plain object": Config(), "an array": np.zeros(3)}
    node.config = held[where]
    stepper = once(node)
    if where == "a list in a dict":
        node.config["values"].append("new")
    elif where == "a plain object":
        node.config.value = "new"
    else:
        node.config[1] = 7
    while not stepper.place.is_end:
        getattr(stepper, way)()
    assert counts(stepper) == (2, 0)
    assert stepper.notes == ["changed: asks.config"]


def test_an_attribute_that_a_hook_changes_in_place_is_no_edit():
    """What the hooks do on the way is no change of the user's: the recorded way stays good."""

    class Remembers(Asks):
        def post(self, shared, prep_res, exec_res):
            self.memory.append(exec_res)

    node = Remembers()
    node.memory = []
    stepper = once(node)
    stepper.run()
    assert (counts(stepper), stepper.notes) == ((1, 0), [])


@pytest.mark.parametrize("way", ["run", "into"])
@pytest.mark.parametrize("what", ['TABLE["a"] = 2', "Asks.config['t'] = 1", "make.options.append('x')"])
def test_data_of_the_code_that_is_changed_in_place(cells, what, way):
    """A table of the module, of the class or of a function that a cell changes in place is an edit."""
    extra = """
            config = {"t": 0}

            def exec_fallback(self, prep_res, exc):
                return make.options
    """
    text = textwrap.dedent(CELL).replace(
        "class Asks(Node):\n",
        "make.options = []\n\nclass Asks(Node):\n" + textwrap.dedent(extra).replace("\n", "\n    "),
    )
    module = cells.run(text)
    stepper = once(module.Asks(name="asks"))
    cells.run(what)
    while not stepper.place.is_end:
        getattr(stepper, way)()
    assert (counts(stepper), module.asked) == ((2, 0), ["a", "a"])
    assert stepper.notes == ["code changed: asks"]


READS_MUCH = """
import functools
from llmflow_nb import Node

TABLE, NESTED, COUNTER = {"a": 1}, [[1], {"b": [2]}], 1

def upper(text): return text.upper()
def lower(text, *, end="."): return text.lower() + end
FUNCTIONS, CHOICES = {"first": upper}, {upper}

class Client:
    def __init__(self):
        self.model, self.lock = "small", functools.partial(print).__call__

class Says:
    model = "small"
    def __fingerprint__(self): return self.model

class Mixin:
    words = ["mixed"]

class Base(Mixin, Node):
    def exec_fallback(self, prep_res, exc): return "base"

@functools.singledispatch
def dispatched(value): return "any"

def counted():
    number = 0
    def count(): return number
    def advance():
        nonlocal number
        number += 1
    return count, advance

count, advance = counted()
client, says = Client(), Says()

class Reads(Base):
    def exec(self, x):
        return (TABLE, NESTED, COUNTER, FUNCTIONS, CHOICES, client.model, says, dispatched, count(), lower(x), later)
"""


@pytest.mark.parametrize(
    "edit",
    [
        'TABLE["a"] = 2',
        'NESTED[1]["b"].append(3)',
        "COUNTER = 2",
        'FUNCTIONS["first"] = lower',
        "CHOICES.add(print)",
        'client.model = "large"',
        'says.model = "large"',
        'Mixin.words = ["other"]',
        'Mixin.words.append("other")',
        'Base.exec_fallback = lambda self, prep_res, exc: "other"',
        "Base.__bases__ = Node,",
        'dispatched.register(int, lambda value: "int")',
        "advance()",
        'lower.__kwdefaults__ = {"end": "!"}',
        "lower.__code__ = (lambda text, *, end: end).__code__",
        'lower.extra = "new"',
        'lower.__fingerprint__ = "new"',
        "later = 1",
        "Reads.post = lambda self, shared, prep_res, exec_res: None",
    ],
)
def test_any_edit_in_place_is_noticed_once(cells, edit):
    """Code is not read again as long as it is the same; whatever is changed in it is an edit, when it is changed."""
    module = cells.run(READS_MUCH)
    stepper = once(module.Reads(name="reads"))
    for _ in range(2):
        stepper.goto(0)
    assert stepper.notes == []
    cells.run(edit)
    assert "code changed: reads" in stepper.goto(0).note
    assert stepper.goto(0).note == ""


def test_settings_are_no_input():
    """An answer does not depend on how often a call is tried, nor a setting of the class: nothing is called again."""
    node = Asks()
    stepper = once(node)
    node.max_retries = 3
    assert again(stepper) == REPLAYED
    Asks.wait = 1
    try:
        assert again(stepper) == REPLAYED
    finally:
        del Asks.wait
    assert stepper.notes == ["changed: asks.max_retries", "changed: asks.wait"]


def test_successors_and_names_are_no_input():
    """Wiring on does not make a node ask again."""
    node = Asks()
    stepper = once(node)
    node >> Node(name="more")
    assert again(stepper) == REPLAYED


# ---- code ------------------------------------------------------------------------------------------------------------

CELL = """
    from llmflow_nb import BatchNode, Flow, Node

    HEAD = "sum up"
    TABLE = {"a": 1}
    asked = []

    def helper(text):
        return f"{HEAD} {text}"

    def unrelated(text):
        return text

    def make(end):
        def closing(text):
            return text + end
        return closing

    class Style:
        end = "!"

        def close(self, text):
            return text + self.end

    class Asks(Node):
        unit = "words"

        def prep(self, shared):
            return shared["text"]

        def exec(self, text, size=3):
            asked.append(text)
            inner = [helper(part) for part in [text]]
            return inner[0] + str(size) + self.unit + str(TABLE["a"]) + Style().close("")

        def post(self, shared, prep_res, exec_res):
            shared["answer"] = exec_res
"""


@pytest.fixture
def cells():
    with Cells("cells_of_a_test") as cells:
        cells.run(textwrap.dedent(CELL))
        yield cells


EDITS = {
    "exec": (
        "            inner = [helper(part) for part in [text]]",
        '            inner = [helper(part) + "?" for part in [text]]',
    ),
    "within a comprehension": ("[helper(part) for part in", "[helper(part).upper() for part in"),
    "prep": ('return shared["text"]', 'return shared["text"] + ""'),
    "a helper that exec calls": ('return f"{HEAD} {text}"', 'return f"{HEAD}: {text}"'),
    "a constant of the module": ('HEAD = "sum up"', 'HEAD = "list"'),
    "a table of the module": ('TABLE = {"a": 1}', 'TABLE = {"a": 2}'),
    "a default argument": ("size=3", "size=4"),
    "an attribute of the class": ('unit = "words"', 'unit = "lines"'),
    "a method of a class that exec uses": ("return text + self.end", "return self.end + text"),
    "an attribute of a class that exec uses": ('end = "!"', 'end = "."'),
}


@pytest.mark.parametrize("what", EDITS)
def test_edited_code_is_called_again(cells, what):
    """A cell that is run again with other code: the node is asked again, and the notes say why."""
    old, new = EDITS[what]
    assert old in CELL
    module = cells.module
    stepper = once(module.Asks(name="asks"))
    cells.run(textwrap.dedent(CELL.replace(old, new)))
    assert again(stepper) == MADE
    assert stepper.notes == ["code changed: asks"]


SAME = {
    "the very cell": ("", ""),
    "a comment": ("    HEAD =", "    # as short as can be\n    HEAD ="),
    "lines that moved": ("    class Asks", "\n\n\n    class Asks"),
    "a docstring": ('        unit = "words"', '        """Asks."""\n\n        unit = "words"'),
    "a function that exec does not call": (
        "        return text\n\n    def make",
        "        return text * 2\n\n    def make",
    ),
}


@pytest.mark.parametrize("what", SAME)
def test_the_same_code_is_no_edit(cells, what):
    """A cell that is run again as it was changes nothing, nor does what is no code of the node."""
    old, new = SAME[what]
    assert old in CELL
    module = cells.module
    stepper = once(module.Asks(name="asks"))
    cells.run(textwrap.dedent(CELL.replace(old, new)))
    assert again(stepper) == REPLAYED
    assert module.asked == []
    assert stepper.notes == []


def test_the_same_cell_again_goes_along_what_is_known(cells):
    """Not even `prep` runs again."""
    module = cells.module
    stepper = once(module.Asks(name="asks"))
    places = len(stepper.tree.splitlines())
    cells.run(textwrap.dedent(CELL))
    stepper.run()
    assert len(stepper.tree.splitlines()) == places


def test_a_constant_that_is_set_in_another_cell(cells):
    """Without running the class's cell."""
    stepper = once(cells.module.Asks(name="asks"))
    cells.run("HEAD = 'list'")
    assert again(stepper) == MADE
    assert stepper.shared["answer"].startswith("list a")
    cells.run("HEAD = 'sum up'")
    assert again(stepper) == REPLAYED


def test_an_edit_between_two_steps_of_a_visit(cells):
    """After prep the class is edited: the exec that comes is the new one."""
    stepper = Flow(cells.module.Asks(name="asks")).stepper({"text": "a"})
    stepper.into()
    cells.run(textwrap.dedent(CELL.replace("size=3", "size=4")))
    stepper.run()
    assert stepper.shared["answer"] == "sum up a4words1!"


def test_an_edit_after_a_failure_goes_on(cells):
    """After a correction in its cell, `rerun` continues; earlier nodes are not called again."""
    broken = CELL.replace("asked.append(text)", "raise LookupError(text)")
    cells.run(textwrap.dedent(broken))
    first = Adds("first")
    first >> cells.module.Asks(name="asks")
    stepper = Flow(first).stepper({"n": 0, "text": "a"})
    stepper.run()
    assert isinstance(stepper.error, LookupError)
    cells.run(textwrap.dedent(CELL))
    assert stepper.rerun().is_end
    assert (stepper.error, first.calls) == (None, [0])
    assert stepper.shared["answer"] == "sum up a3words1!"


def test_edits_of_one_class_leave_the_others(cells):
    """Only the edited node is asked again."""
    first, last = Adds("first"), Adds("last")
    first >> cells.module.Asks(name="asks") >> last
    stepper = once(first, {"n": 0, "text": "a"})
    cells.run(textwrap.dedent(CELL.replace("size=3", "size=4")))
    stepper.run()
    assert (first.calls, last.calls, cells.module.asked) == ([0], [1], ["a"])
    assert counts(stepper) == (4, 2)


def test_what_a_closure_holds_is_code(cells):
    """A hook that was made with another value is another one."""

    def with_end(end):
        text = f"""
            def make(end):
                def exec(self, text):
                    return text + end
                return type("Ends", (Base,), {{"exec": exec, "__module__": __name__, "__qualname__": "Ends"}})

            Ends = make({end!r})
        """
        cells.run(textwrap.dedent(text))

    cells.module.Base = Asks
    with_end("!")
    stepper = once(cells.module.Ends())
    with_end("!")
    assert again(stepper) == REPLAYED
    with_end("?")
    assert again(stepper) == MADE
    assert stepper.shared["answer"] == "a?"


def test_a_log_that_hooks_append_to_is_no_edit(cells):
    """A list or a dict that is only filled is no code."""
    stepper = once(cells.module.Asks(name="asks"))
    assert cells.module.asked == ["a"]
    assert again(stepper) == REPLAYED
    assert stepper.notes == []


@pytest.mark.parametrize("how", ["of the module", "of the class"])
def test_a_counter_that_hooks_advance_is_no_edit(how):
    """A number that the code itself sets is no code either."""
    text = """
        from llmflow_nb import Node
        n = 0

        class Counts(Node):
            n = 0

            def prep(self, shared):
                return shared["text"]

            def exec(self, text):
                {advance}
                return text
    """
    advance = "global n; n += 1" if how == "of the module" else "Counts.n += 1"
    with Cells("cells_of_a_counter") as cells:
        module = cells.run(textwrap.dedent(text.replace("{advance}", advance)))
        stepper = once(module.Counts())
        assert again(stepper) == REPLAYED
        assert stepper.notes == []


def test_recursion_and_cycles_in_code_are_no_trouble():
    """Functions that call each other, a class that refers to itself, a closure over the node."""
    text = """
        from llmflow_nb import Node

        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)

        class Again(Node):
            def exec(self, prep_res):
                return even(4), Again, node
    """
    with Cells("cells_that_recur") as cells:
        module = cells.run(textwrap.dedent(text))
        module.node = module.Again()
        stepper = once(module.node)
        assert again(stepper) == REPLAYED


# ---- told to call again ----------------------------------------------------------------------------------------------


def test_volatile_nodes_are_called_each_time():
    """``volatile = True``, on the class or on the object."""

    class Draws(Asks):
        volatile = True

    assert again(once(Draws())) == MADE
    node = Asks()
    node.volatile = True
    assert again(once(node)) == MADE


def test_volatile_set_later_holds_from_then_on():
    """In a cell, between two commands."""
    node = Asks()
    stepper = once(node)
    node.volatile = True
    assert again(stepper) == MADE
    node.volatile = False
    assert again(stepper) == REPLAYED


def test_calling_again_replaces_the_result():
    """``rerun(call_again=True)``; later replays give the newer answer."""
    node = Asks()
    stepper = once(node)
    stepper.rerun(call_again=True)
    assert stepper.shared["answer"] == "sum up a: 2"
    assert again(stepper) == REPLAYED
    assert stepper.shared["answer"] == "sum up a: 2"


def test_calling_again_is_for_this_visit():
    """Other param sets, that were walked by the same node, are still answered by their results."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"k": k} for k in range(3)]

    class Leaf(Node):
        def exec(self, prep_res):
            calls.append(self.params["k"])

    calls = Ledger()
    stepper = Sets(Leaf(name="leaf")).stepper({})
    stepper.into()
    stepper.into()
    stepper.over()
    stepper.run()
    assert calls == [0, 1, 2]
    stepper.goto(3)
    assert dict(stepper.place.params) == {"k": 1}
    stepper.rerun(call_again=True)
    stepper.run()
    assert calls == [0, 1, 2, 1]


# ---- exec that takes shared ------------------------------------------------------------------------------------------


class Reads(Node):
    """Reads ``shared`` in its exec."""

    def exec(self, shared, prep_res):
        return shared["text"].upper()

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = exec_res


class Writes(Node):
    """Writes to ``shared`` in its exec."""

    def exec(self, shared, prep_res):
        shared["n"] += 1
        return shared["n"]


def test_exec_that_reads_shared_is_answered_while_it_holds_the_same():
    """Changed, also deep inside, it is called again."""
    stepper = once(Reads(), {"text": "a", "more": {"deep": [1]}})
    assert again(stepper) == REPLAYED
    stepper.goto(0)
    stepper.shared["more"]["deep"].append(2)
    stepper.run()
    assert counts(stepper) == (2, 1)
    stepper.goto(0)
    stepper.set("text", "b")
    stepper.run()
    assert stepper.shared["answer"] == "B"
    assert counts(stepper) == (3, 1)


def test_exec_that_writes_shared_is_called_again():
    """Its result alone is not what it did."""
    stepper = Flow(Writes(name="writes")).stepper({"n": 0})
    stepper.run()
    assert again(stepper) == MADE
    assert stepper.shared == {"n": 1}


def test_a_note_says_why_exec_that_writes_shared_is_called_again():
    """With the path of the node."""
    stepper = Flow(Writes(name="writes")).stepper({"n": 0})
    stepper.run()
    assert any("exec writes to shared" in note and "writes" in note for note in stepper.notes)


def test_exec_that_writes_shared_by_way_of_its_input():
    """Where ``prep`` hands on what is in ``shared`` and ``exec`` appends to it, a second time leaves the same."""

    class Chats(Node):
        def prep(self, shared):
            return shared["messages"]

        def exec(self, messages):
            messages.append(f"answer to {messages[-1]}")
            return len(messages)

        def post(self, shared, prep_res, exec_res):
            shared["n"] = exec_res, len(prep_res)

    stepper = once(Chats(), {"messages": ["hello"]})
    for _ in range(2):
        again(stepper)
        assert stepper.shared == {"messages": ["hello", "answer to hello"], "n": (2, 2)}


# ---- what has no key -------------------------------------------------------------------------------------------------


class Locks(Asks):
    """Hands a lock to its exec."""

    lock = threading.Lock()

    def prep(self, shared):
        return self.lock

    def exec(self, prep_res):
        return "done"


def test_an_input_that_cannot_be_compared_is_called_again():
    """A lock, a generator, a client."""
    assert again(once(Locks())) == MADE


def test_a_note_says_why_an_input_is_called_again():
    """Once, with the path of the node and the type."""
    stepper = once(Locks())
    again(stepper)
    again(stepper)
    [note] = stepper.notes
    assert "asks" in note
    assert "cannot be compared (lock)" in note


def test_a_client_on_the_node_does_not_hinder():
    """What cannot be compared stands for itself: the same client is the same, another one another."""
    node = Asks()
    node.client = threading.Lock()
    stepper = once(node)
    assert again(stepper) == REPLAYED
    node.client = threading.Lock()
    assert again(stepper) == MADE


def test_a_cyclic_input_is_called_again():
    """It has no key, and that is no trouble."""
    text = ["a"]
    text.append(text)

    class Cycle(Asks):
        def exec(self, text):
            return len(text)

    stepper = once(Cycle(), {"text": text})
    assert again(stepper) == MADE


# ---- results ---------------------------------------------------------------------------------------------------------


def test_a_result_that_post_changes_in_place_is_replayed_as_it_was():
    """The replay is what ``exec`` returned, without later changes to it."""

    class Lists(Node):
        def exec(self, prep_res):
            return [[1], {"a": [2]}]

        def post(self, shared, prep_res, exec_res):
            exec_res[0].append(len(exec_res[0]))
            exec_res[1]["a"].clear()
            shared["answer"] = exec_res

    stepper = once(Lists(), {})
    for _ in range(2):
        assert again(stepper) == REPLAYED
        assert stepper.shared["answer"] == [[1, 1], {"a": []}]
        stepper.shared["answer"][0].append("by the user")


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_result_that_is_stepped_over_twice_is_as_it_was(steps):
    """From after prep or after exec, post sees what it saw the first time."""

    class Lists(Node):
        def prep(self, shared):
            return [0]

        def exec(self, prep_res):
            prep_res.append("exec")
            return [1]

        def post(self, shared, prep_res, exec_res):
            prep_res.append("post")
            exec_res.append("post")
            shared["seen"] = list(prep_res), list(exec_res)

    stepper = Flow(Lists()).stepper({})
    for _ in range(3):
        stepper.into()
    assert stepper.shared["seen"] == ([0, "exec", "post"], [1, "post"])
    stepper.back(steps)
    stepper.set("edited", 1)
    stepper.run()
    assert stepper.shared["seen"] == ([0, "exec", "post"], [1, "post"])


@pytest.mark.parametrize("value", [np.float64(1.5), np.int64(2), np.float64("nan"), np.bool_(True)], ids=repr)
def test_numbers_of_numpy_are_inputs_like_others(value):
    """A result is used again for the same number of the same type, and for no other."""

    class Doubles(Node):
        def prep(self, shared):
            return {"weight": shared["weight"]}

        def exec(self, item):
            return item["weight"] * 2

    stepper = once(Doubles(), {"weight": value})
    assert again(stepper) == REPLAYED
    assert stepper.notes == []
    stepper.goto(0)
    stepper.set("weight", value.item())
    stepper.run()
    assert stepper.called == 2


def test_an_exec_that_changes_an_attribute_in_place_is_called_again():
    """A log or a memory on ``self`` is not as it was, so the answer may be another; a note names it."""

    class Remembers(Node):
        def __init__(self):
            super().__init__()
            self.seen = []

        def exec(self, item):
            self.seen.append(item)
            return len(self.seen)

    stepper = once(Remembers(), {})
    assert again(stepper) == MADE
    assert stepper.notes == ["Flow/Remembers: exec changes self.seen in place, so it is called again"]


def test_an_exec_that_changes_its_input_in_place_is_called_again():
    """What it left in its input is not known, so its result is not used again; a note says so."""

    class Pops(Node):
        def prep(self, shared):
            return [1, 2, 3]

        def exec(self, items):
            return items.pop()

    stepper = once(Pops(), {})
    assert again(stepper) == MADE
    assert any("changes its input in place" in note for note in stepper.notes)


def test_what_exec_leaves_on_the_node_is_there_on_replay():
    """``post`` finds the attribute, also if it is changed in place."""

    class Leaves(Asks):
        def exec(self, text):
            self.usage = {"tokens": [len(text)]}
            return super().exec(text)

        def post(self, shared, prep_res, exec_res):
            self.usage["tokens"].append(99)
            shared["usage"] = self.usage

    stepper = once(Leaves())
    for _ in range(2):
        assert again(stepper) == REPLAYED
        assert stepper.shared["usage"] == {"tokens": [1, 99]}
        stepper.shared["usage"]["tokens"].clear()


def test_none_is_a_result():
    """And is not asked for again."""

    class Nothing(Asks):
        def exec(self, text):
            self.asked.append(text)

    node = Nothing()
    stepper = once(node)
    assert again(stepper) == REPLAYED
    assert (stepper.shared["answer"], node.asked) == (None, ["a"])


def test_a_failed_call_is_made_again():
    """An error is no result."""

    class Fails(Asks):
        def exec(self, text):
            super().exec(text)
            if len(self.asked) == 1:
                raise LookupError("no")
            return "yes"

    node = Fails()
    stepper = Flow(node).stepper({"text": "a"})
    stepper.run()
    assert stepper.error is not None
    assert at(stepper.rerun()) == ("Flow", "at the end")
    assert (stepper.shared["answer"], counts(stepper)) == ("yes", (2, 0))


def test_one_node_at_two_places_of_a_flow():
    """Each place has its own results."""
    node = Asks()
    inner = Flow(node, name="inner")
    node2 = Asks()
    inner >> node2
    stepper = once(inner)
    stepper.set("edited", 1)
    stepper.run()
    assert (node.asked, node2.asked) == (["a"], ["a"])
    assert counts(stepper) == (2, 2)
