"""``flow.plan``: what a run with a journal will do, before it does it."""

import asyncio
import sqlite3
import threading
from itertools import pairwise

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Journal, JournalError, Node, SettingError, WiringError
from llmflow_nb import pocketflow as pf
from tests.journal.helpers import Aside
from tests.stepper.helpers import Cells

made, posted, bad = Aside(), Aside(), Aside()


class Load(Node):
    def prep(self, shared):
        return self.params.get("text", shared.get("text", "t"))

    def exec(self, text):
        made.append(f"load {text}")
        return [text, text.upper()]

    def post(self, shared, prep_res, texts):
        posted.append("Load")
        shared.setdefault("loaded", []).append(texts)


class Label(BatchNode):
    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        made.append(text)
        if text in bad:
            raise ValueError(text)
        return f"label of {text}"

    def post(self, shared, texts, labels):
        posted.append("Label")
        shared["labels"] = labels


class Judge(Node):
    def prep(self, shared):
        return shared["labels"]

    def exec(self, labels):
        made.append("judge")
        return len(labels)

    def post(self, shared, labels, count):
        shared["count"] = count


class OverTexts(BatchFlow):
    def prep(self, shared):
        return [{"text": text} for text in shared["texts"]]


@pytest.fixture
def file(tmp_path):
    for each in (made, posted, bad):
        each.clear()
    return tmp_path / "runs.db"


def chained(*nodes, name="flow"):
    """Return a flow of these nodes, one after the other."""
    for node, following in pairwise(nodes):
        node >> following
    return Flow(start=nodes[0], name=name)


def run(flow, shared, file, **options):
    flow.run(shared, journal=file, progress=False, **options)
    made.clear()
    posted.clear()


def rows(plan):
    """The table: names, answered, to call, unknown, why."""
    assert made == []
    return [(node.path.partition("/")[2], *node[1:5]) for node in plan.nodes]


# ---- what is known ---------------------------------------------------------------------------------------------------


def test_before_the_first_run(file):
    """Without a file, the first node is to be called, the others wait for it; and there is no file afterwards."""
    plan = chained(Load(), Label(), Judge()).plan({"texts": ["a"]}, journal=file)
    assert rows(plan) == [
        ("Load", 0, 1, 0, "its first run"),
        ("Label", 0, 0, 1, "waits for Load"),
        ("Judge", 0, 0, 1, "waits for Load"),
    ]
    assert list(file.parent.iterdir()) == []


def test_all_is_answered(file):
    """After a complete run, nothing is left to call."""
    flow = chained(Load(), Label(), Judge())
    run(flow, {"texts": ["a", "b"]}, file)
    plan = flow.plan({"texts": ["a", "b"]}, journal=file)
    assert rows(plan) == [("Load", 1, 0, 0, ""), ("Label", 2, 0, 0, ""), ("Judge", 1, 0, 0, "")]
    assert plan.is_complete
    assert (plan.answered, plan.to_call) == (4, 0)
    assert plan.headline == "4 of 4 calls answered by runs.db"


def test_each_item_of_a_batch_is_looked_up(file):
    """Also those behind one that is missing; and post does not run without all results."""
    flow = chained(Label(), Judge())
    run(flow, {"texts": ["a", "b"]}, file)
    plan = flow.plan({"texts": ["new", "a", "b", "other"]}, journal=file)
    assert rows(plan) == [("Label", 2, 2, 0, "new input or params"), ("Judge", 0, 0, 1, "waits for Label")]
    assert posted == []
    assert not plan.is_complete
    assert plan.headline == (
        "2 of 4 calls answered by runs.db; Label: 2 to call, new input or params; not known yet: Judge"
    )


def test_the_table_of_calls(file):
    """A row for each call that is known, with its params and its input."""
    flow = OverTexts(start=chained(Load(), Label(), name="one"), name="flow")
    run(flow, {"texts": ["a"]}, file)
    df = flow.plan({"texts": ["a", "b"]}, journal=file).df
    assert list(df.columns) == ["path", "text", "position", "item", "status", "why"]
    assert df.astype(object).fillna("").to_numpy().tolist() == [
        ["flow/one/Load", "a", "", "a", "answered", ""],
        ["flow/one/Label", "a", 0, "a", "answered", ""],
        ["flow/one/Label", "a", 1, "b", "to call", "new input or params"],
        ["flow/one/Load", "b", "", "b", "to call", "new input or params"],
    ]


@pytest.mark.parametrize("at_once", [1, 3])
def test_each_param_set_goes_on_to_its_own_gap(at_once, file):
    """One that is missing does not end those beside it; what comes after all of them waits."""
    inner = OverTexts(start=chained(Load(), Judge(), name="one"), name="all", max_concurrency=at_once)
    flow = chained(inner, Label())
    run(flow, {"texts": ["a", "c"], "labels": []}, file)
    plan = flow.plan({"texts": ["a", "b", "c"], "labels": []}, journal=file)
    assert rows(plan) == [
        ("all/one/Load", 2, 1, 0, "new input or params"),
        ("all/one/Judge", 2, 0, 1, "waits for Load"),
        ("Label", 0, 0, 1, "waits for Load"),
    ]


def test_failures_that_are_kept(file):
    """With ``on_error="keep"``, post does not run on a gap either."""
    flow = chained(OverTexts(start=Load(), name="all", on_error="keep"), Label(on_error="keep"), Judge())
    run(flow, {"texts": ["a"]}, file)
    assert flow.plan({"texts": ["a"]}, journal=file).is_complete
    posted.clear()
    plan = flow.plan({"texts": ["a", "b"]}, journal=file)
    assert rows(plan)[1:] == [("Label", 0, 0, 1, "waits for Load"), ("Judge", 0, 0, 1, "waits for Load")]
    assert posted == ["Load"]


def test_a_nested_batch_flow(file):
    """The elements that an exec returned are param sets of their own."""

    class Splits(BatchFlow):
        def prep(self, shared):
            return shared["texts"]

        def exec(self, text):
            made.append(f"split {text}")
            return [{"text": part} for part in text.split()]

    flow = Splits(start=Load(), name="flow", item_key="all")
    run(flow, {"texts": ["a b", "c"]}, file)
    plan = flow.plan({"texts": ["a b", "c", "d"]}, journal=file)
    assert [(node.path, *node[1:5]) for node in plan.nodes] == [
        ("flow", 2, 1, 0, "new input or params"),
        ("flow/Load", 3, 0, 1, "waits for flow"),
    ]
    assert made == []


def test_a_loop(file):
    """Each round is looked up, and the rest of the loop waits for the first that is missing."""

    class Count(Node):
        def prep(self, shared):
            return shared["n"]

        def exec(self, n):
            made.append(n)
            return n + 1

        def post(self, shared, n, following):
            shared["n"] = following
            return "again" if following < shared["last"] else "done"

    count = Count()
    count - "again" >> count
    count - "done" >> Load()
    flow = Flow(start=count, name="flow")
    run(flow, {"n": 0, "last": 3}, file)
    assert rows(flow.plan({"n": 0, "last": 3}, journal=file)) == [("Count", 3, 0, 0, ""), ("Load", 1, 0, 0, "")]
    assert rows(flow.plan({"n": 0, "last": 5}, journal=file)) == [
        ("Count", 3, 1, 1, "new input or params; waits for Count"),
        ("Load", 0, 0, 1, "waits for Count"),
    ]


def test_the_same_input_twice(file):
    """The second call with the same input needs a second result."""
    flow = chained(Label())
    run(flow, {"texts": ["a", "a"]}, file)
    plan = flow.plan({"texts": ["a", "a", "a"]}, journal=file)
    assert rows(plan)[0][1:3] == (2, 1)


def test_a_single_node(file):
    """A node that is run by itself has a plan too."""
    node = Load()
    run(node, {"text": "a"}, file)
    assert [tuple(each[:5]) for each in node.plan({"text": "a"}, journal=file).nodes] == [("Load", 1, 0, 0, "")]


def test_nodes_without_exec_are_no_calls(file):
    """They run, and are not in the table."""

    class Opens(Node):
        def post(self, shared, prep_res, exec_res):
            shared["texts"] = ["a"]

    flow = chained(Opens(), Label())
    run(flow, {}, file)
    assert rows(flow.plan({}, journal=file)) == [("Label", 1, 0, 0, "")]


# ---- why -------------------------------------------------------------------------------------------------------------

ASK = """
from llmflow_nb import BatchNode
class Ask(BatchNode):
    def prep(self, shared):
        return ["a", "b"]
    def exec(self, text):
        return text + "!"
"""


def test_code_that_was_edited(file):
    """The plan is of the new class, and leaves the node with its old one until a run takes it over."""
    with Cells("a_cell_that_is_planned") as cells:
        flow = Flow(start=cells.run(ASK).Ask(), name="flow")
        run(flow, {}, file)
        old = type(flow.start_node)
        cells.run(ASK.replace("!", "?"))
        plan = flow.plan({}, journal=file)
        assert rows(plan) == [("Ask", 0, 2, 0, "its code has changed")]
        assert type(flow.start_node) is old
        assert plan.headline == "0 of 2 calls answered by runs.db; Ask: 2 to call, its code has changed"


def test_an_attribute_that_was_edited(file):
    """It is named; and once it is set back, the results are found again."""
    flow = chained(Label())
    run(flow, {"texts": ["a"]}, file)
    flow.start_node.prompt = "short"
    assert rows(flow.plan({"texts": ["a"]}, journal=file)) == [("Label", 0, 1, 0, "changed: self.prompt")]
    del flow.start_node.prompt
    assert flow.plan({"texts": ["a"]}, journal=file).to_call == 0


def test_several_reasons(file):
    """Each has its number of calls."""
    bad.append("b")
    flow = chained(Label(on_error="keep"))
    run(flow, {"texts": ["a", "b"]}, file)
    plan = flow.plan({"texts": ["a", "b", "c", "d"]}, journal=file)
    assert rows(plan) == [("Label", 1, 3, 0, "2: new input or params; 1: it had no result (failed)")]


def test_fresh(file):
    """The calls of that node are made anyway."""
    flow = chained(Load(), Label())
    run(flow, {"texts": ["a"]}, file)
    plan = flow.plan({"texts": ["a"]}, journal=file, fresh="Label")
    assert rows(plan) == [("Load", 1, 0, 0, ""), ("Label", 0, 1, 0, "fresh='Label'")]
    with pytest.raises(SettingError, match="did you mean 'Label'"):
        flow.plan({"texts": ["a"]}, journal=file, fresh="Labels")


def test_volatile(file):
    """A volatile node is called each time."""
    flow = chained(Label(volatile=True), Judge())
    run(flow, {"texts": ["a"]}, file)
    plan = flow.plan({"texts": ["a"]}, journal=file)
    assert rows(plan)[0] == ("Label", 0, 1, 0, "volatile=True, so it is called each time")


def test_an_input_that_cannot_be_compared(file):
    """The plan says so."""
    flow = chained(Label())
    plan = flow.plan({"texts": [threading.Lock()]}, journal=file)
    assert "its input cannot be compared (lock)" in rows(plan)[0][4]


def test_why_is_what_the_journal_says_afterwards(file):
    """The reasons of a plan are those that ``Journal.why`` gives after the run."""
    flow = chained(Label())
    run(flow, {"texts": ["a", "b"]}, file)
    flow.start_node.prompt = "short"
    plan = flow.plan({"texts": ["a", "b", "c"]}, journal=file)
    flow.run({"texts": ["a", "b", "c"]}, journal=file, progress=False)
    assert Journal(file).why()["why"].tolist() == [plan.nodes[0].why]


# ---- what cannot be known --------------------------------------------------------------------------------------------


def test_a_generator(file):
    """The items of a generator are read to the end; a run then reads a new one."""

    class Reads(Label):
        def prep(self, shared):
            yield from shared["texts"]

    flow = chained(Reads())
    run(flow, {"texts": ["a"]}, file)
    plan = flow.plan({"texts": ["a", "b"]}, journal=file)
    assert rows(plan) == [("Reads", 1, 1, 0, "new input or params")]


def endless():
    n = 0
    while True:
        n += 1
        yield n


@pytest.mark.parametrize("kind", [BatchNode, BatchFlow])
def test_an_endless_input(kind, file):
    """It is read up to a bound, and the plan says so."""

    class Counts(kind):
        def prep(self, shared):
            return endless()

        if kind is BatchNode:

            def exec(self, n):
                made.append(n)

    node = Counts() if kind is BatchNode else Counts(start=Load(), item_key="text")
    plan = chained(node, Judge()).plan({}, journal=file)
    assert plan.to_call == 10_000
    assert plan.ended_by == "flow/Counts is not read after item 10,000, since its input has no length"
    assert rows(plan)[-1] == ("Judge", 0, 0, 1, f"waits for {'Counts' if kind is BatchNode else 'Load'}")


def test_a_generator_in_shared_is_left_to_the_run(file):
    """To read it would take its values from the run."""
    shared = {"texts": (text for text in "ab")}
    plan = chained(Label(), Judge()).plan(shared, journal=file)
    assert rows(plan) == [
        ("Label", 0, 0, 1, "shared has a generator, which can be read only once, so the run reads it"),
        ("Judge", 0, 0, 1, "waits for Label"),
    ]
    assert list(shared["texts"]) == ["a", "b"]


def test_a_hook_that_raises(file):
    """The run would end there, and the plan says what it knows until then."""
    flow = chained(Label(), Judge())
    run(flow, {"texts": ["a"]}, file)
    plan = chained(Label(), Load(), name="flow").plan({"texts": ["a"], "text": 1, "loaded": 0}, journal=file)
    assert plan.nodes[0].answered == 1
    plan = flow.plan({}, journal=file)
    assert plan.headline == "0 of 0 calls answered by runs.db; flow/Label ends the run: KeyError: 'texts'"
    assert not plan.is_complete


def test_an_override_of_pocketflow(file):
    """A method around the hooks may call anything, so it is not called, and its calls are not known."""

    class Traces(pf.Node):
        def exec(self, prep_res):
            made.append("traced")
            return 1

        def _exec(self, prep_res):
            made.append("before")
            return super()._exec(prep_res)

    flow = pf.Flow(start=Traces())
    plan = flow.plan({}, journal=file)
    assert [(node.path, *node[1:5]) for node in plan.nodes] == [
        ("Flow/Traces", 0, 0, 1, "its own _exec decides what is called")
    ]
    assert made == []


@pytest.mark.parametrize("in_loop", [False, True])
def test_async_hooks(in_loop, file):
    """They are awaited, also if the cell has a running event loop; an async exec is not called."""

    class Asks(Node):
        async def prep(self, shared):
            await asyncio.sleep(0)
            return "a"

        async def exec(self, text):
            made.append(text)
            return text

        async def post(self, shared, prep_res, exec_res):
            await asyncio.sleep(0)
            shared["texts"] = [exec_res]

    flow = chained(Asks(), Label(max_concurrency=4))
    assert rows(flow.plan({}, journal=file)) == [
        ("Asks", 0, 1, 0, "its first run"),
        ("Label", 0, 0, 1, "waits for Asks"),
    ]
    run(flow, {}, file)

    async def cell():
        return flow.plan({}, journal=file)

    plan = asyncio.run(cell()) if in_loop else flow.plan({}, journal=file)
    assert (plan.answered, plan.to_call, plan.is_complete) == (2, 0, True)


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_journal(file):
    """It is an error, before any hook runs."""
    file.write_text("something else")
    with pytest.raises(JournalError, match="is not a journal"):
        chained(Label()).plan({}, journal=file)
    with pytest.raises(SettingError, match="journal=None: it must be a file name"):
        chained(Label()).plan({}, journal=None)


def test_a_result_that_cannot_be_read(file):
    """It is the error that the run would raise."""
    flow = chained(Label())
    run(flow, {"texts": ["a"]}, file)
    with sqlite3.connect(file) as db:
        db.execute("UPDATE call SET result = '{'")
    db.close()
    with pytest.raises(JournalError, match=r"item 1: its result in .* cannot be read"):
        flow.plan({"texts": ["a"]}, journal=file)


def test_a_table_that_somebody_has_changed(file):
    """It is an error too, and no reason."""
    flow = chained(Label())
    run(flow, {"texts": ["a"]}, file)
    with sqlite3.connect(file) as db:
        db.execute("UPDATE code SET attributes = 'x'")
    db.close()
    flow.start_node.prompt = "short"
    for act in (flow.plan, flow.run):
        with pytest.raises(JournalError, match="its table of code cannot be read"):
            act({"texts": ["a"]}, journal=file)


def test_a_setting_that_makes_no_sense(file):
    """It is the error of a run, and nothing is wrong with the journal."""
    flow = chained(Label())
    run(flow, {"texts": ["a"]}, file)
    flow.start_node.max_retries = 0
    plan = flow.plan({"texts": ["a"]}, journal=file)
    assert "ends the run: SettingError: " in plan.ended_by
    with pytest.raises(SettingError, match="max_retries"):
        flow.start_node.plan({"texts": ["a"]}, journal=file)


def test_a_flow_without_a_start(file):
    """It is refused as by a run."""
    with pytest.raises(WiringError):
        Flow().plan({}, journal=file)


# ---- what is shown ---------------------------------------------------------------------------------------------------


def test_the_table_of_nodes(file):
    """Text and HTML have the same rows."""
    flow = chained(Label(), Judge())
    run(flow, {"texts": ["a", "b"]}, file)
    plan = flow.plan({"texts": ["a", "c"]}, journal=file)
    assert repr(plan).splitlines() == [
        "<plan of flow: 1 of 2 calls answered by runs.db; Label: 1 to call, new input or params; not known yet: Judge>",
        "  path        answered  to call  unknown  why",
        "  flow/Label  1         1                 new input or params",
        "  flow/Judge                     1        waits for Label",
    ]
    bundle = plan._repr_mimebundle_()
    assert "flow/Label" in bundle["text/html"]
    assert "<td" in bundle["text/html"]
    assert bundle["text/plain"].splitlines()[3:] == [
        "  node        answered  to call  unknown  why",
        "  flow/Label         1        1           new input or params",
        "  flow/Judge                           1  waits for Label",
    ]


def test_a_name_with_control_characters(file):
    """It is shown with escapes, in every form."""
    node = Label(name="a\x1b[31mb")
    flow = chained(node)
    run(flow, {"texts": ["a"]}, file)
    setattr(node, "evil\x07", 1)
    plan = flow.plan({"texts": ["a"]}, journal=file)
    bundle = plan._repr_mimebundle_()
    for text in (plan.headline, repr(plan), bundle["text/plain"], bundle["text/html"]):
        assert "\x1b" not in text
        assert "\x07" not in text
        assert r"a\x1b[31mb" in text


def test_many_nodes(file):
    """The first line names three of them."""
    nodes = [Label(name=f"Label{n}") for n in range(6)]
    flow = chained(*nodes)
    run(flow, {"texts": ["a"]}, file)
    for node in nodes:
        node.prompt = "short"
    headline = flow.plan({"texts": ["a"]}, journal=file).headline
    assert headline.endswith("not known yet: Label1, Label2, Label3 and 2 more")
