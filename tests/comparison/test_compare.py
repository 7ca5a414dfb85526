"""`flow.compare`: which calls are made, and what the tables say."""

from threading import Lock
from types import SimpleNamespace

import pandas as pd
import pytest

from llmflow_nb import BatchNode, Flow, Limiter, Node, spend
from llmflow_nb.pocketflow import AsyncFlow, AsyncParallelBatchNode
from tests.comparison.helpers import CALLS, TEXTS, Label, flow_of, is_upper

OLD, NEW = {}, {"Label.prompt": "title"}


def test_a_row_for_each_item():
    """The table has the results of each variant beside each other, with scores and their difference."""
    found = flow_of().compare({"texts": TEXTS}, old=OLD, new=NEW, score=is_upper)
    df = found.df.drop(columns=["seconds.old", "seconds.new"])
    assert df.to_dict("list") == {
        "item": ["ant", "bee", "Cat"],
        "old": ["ANT", "BEE", "CAT"],
        "new": ["Ant", "Bee", "Cat"],
        "changed": [True, True, True],
        "score.old": [1, 1, 1],
        "score.new": [0, 0, 0],
        "delta": [-1, -1, -1],
        "status.old": ["ok"] * 3,
        "status.new": ["ok"] * 3,
    }
    assert list(df.index) == [0, 1, 2]


def test_calls_upstream_of_the_change_are_made_once():
    """Only the node that is changed is called for each variant."""
    found = flow_of().compare({"texts": TEXTS}, old=OLD, new=NEW)
    calls = CALLS.take()
    assert [call for call in calls if call[0] == "Clean"] == [("Clean", text) for text in TEXTS]
    assert sorted(call[1] for call in calls if call[0] == "Label") == ["title"] * 3 + ["upper"] * 3
    assert found.summary[["calls", "replayed"]].to_numpy().tolist() == [[6, 0], [3, 3]]


def test_nothing_of_the_user_changes():
    """Neither the flow, its nodes, ``shared`` nor ``last_run`` is changed."""
    label = Label()
    flow, shared = flow_of(label), {"texts": TEXTS}
    flow.compare(shared, old=OLD, new=NEW)
    assert "prompt" not in vars(label)
    assert shared == {"texts": TEXTS}
    assert flow.last_run is None


def test_each_variant_is_a_run():
    """The records of the variants have all tables of a run, and the changed node."""
    found = flow_of().compare({"texts": TEXTS}, old=OLD, new=NEW)
    (run,) = found.runs["new"]
    assert run.batch("Label").results == ["Ant", "Bee", "Cat"]
    assert (run.name, run.batch("Label").path) == ("labels (new)", "labels/Label")
    assert run.shared["labels"] == ["Ant", "Bee", "Cat"]


def test_the_tidy_table():
    """One row for each row of each run, with the settings of the variant: those of the flow where it has none."""
    found = flow_of().compare({"texts": TEXTS}, old=OLD, new=NEW, score=is_upper)
    assert list(found.tidy) == [
        "variant", "Label.prompt", "row", "repeat", "item", "result", "status", "score", "seconds",
        "error_type", "error",
    ]  # fmt: skip
    means = found.tidy.groupby("Label.prompt")["score"].mean()
    assert means.to_dict() == {"upper": 1, "title": 0}


def test_an_error_that_ends_a_run():
    """It is raised as by ``run``, and the next comparison makes only the calls that are missing."""
    label = Label()
    flow = flow_of(label)
    with pytest.raises(ValueError, match="no bees") as raised:
        flow.compare({"texts": TEXTS}, old={}, new={"Label.prompt": "fail"})
    assert any("labels (new)" in note for note in raised.value.__notes__)
    CALLS.clear()
    label.on_error = "keep"
    flow.compare({"texts": TEXTS}, old={}, new={"Label.prompt": "fail"})
    assert CALLS.take() == [("Label", "fail", "bee"), ("Label", "fail", "Cat")]
    flow.compare({"texts": TEXTS}, old={}, new={"Label.prompt": "fail"})
    assert CALLS.take() == [("Label", "fail", "bee")]  # it has failed again


class Fails(BatchNode):
    """Fails for each item in one of the variants."""

    number = 1
    on_error = "keep"

    def prep(self, shared):
        return shared.items

    def exec(self, item):
        CALLS.append((self.number, item))
        return 1 / self.number


FOUR = {"a": {}, "b": {"Fails.number": 2}, "bad": {"Fails.number": 0}, "d": {"Fails.number": 4}}


@pytest.mark.parametrize("score", [None, lambda item, result: result, "Rate"])
def test_all_calls_of_a_variant_fail(score):
    """Its rows are shown as failed, and the others as usual, whatever ``shared`` is."""

    class Rate(BatchNode):
        def prep(self, shared):
            return shared.items

        def exec(self, item):
            return item

    fails = Fails()
    fails >> Rate()
    found = Flow(fails).compare(SimpleNamespace(items=[1, 2]), of="Fails", score=score, **FOUR)
    assert found.df["d"].tolist() == [0.25, 0.25]
    assert found.df["status.bad"].tolist() == ["failed"] * 2
    assert found.summary["failed"].tolist() == [0, 0, 2, 0]
    assert found.verdict[0].endswith("to compare with a: 0 of 2 (bad)")
    assert any(text.startswith("bad: 2 rows failed (ZeroDivisionError: division by zero)") for text in found.verdict)
    assert not any(text.startswith("bad differs") for text in found.verdict)
    CALLS.clear()
    Flow(fails).compare(SimpleNamespace(items=[1, 2]), of="Fails", **FOUR)
    assert CALLS.take() == [(0, 1), (0, 2)]  # only the missing calls


def test_all_calls_upstream_fail():
    """The rows of the variant are missing, and the verdict says why."""

    class After(Fails):
        def exec(self, item):
            return item

    fails = Fails()
    fails >> After()
    found = Flow(fails).compare(SimpleNamespace(items=[1, 2]), **FOUR)
    assert found.df["d"].tolist() == [1, 2]
    assert "bad: 2 rows missing" in found.verdict
    assert found.verdict[-1].startswith("bad: the run ended early: AllFailedError: ")


def test_an_interrupt():
    """The next comparison makes only the calls that are missing, and the one after it makes all of them."""

    def score(item, result):
        if result == "Bee" and ARMED:
            ARMED.clear()
            raise KeyboardInterrupt
        return len(result)

    ARMED = type("Armed", (list,), {"__fingerprint__": lambda self: ""})([1])
    flow = flow_of()
    with pytest.raises(KeyboardInterrupt) as raised:
        flow.compare({"texts": TEXTS}, old=OLD, new=NEW, score=score)
    assert [note.partition(";")[0] for note in raised.value.__notes__] == ["in labels (score)"]
    CALLS.clear()
    flow.compare({"texts": TEXTS}, old=OLD, new=NEW, score=score)
    assert CALLS.take() == []
    flow.compare({"texts": TEXTS}, old=OLD, new=NEW, score=score)
    assert len(CALLS.take()) == 9


def test_a_journal_answers_the_second_time(tmp_path):
    """The same comparison calls nothing, with repeats and a judge too; a third variant calls only what is new."""
    flow, shared = flow_of(), {"texts": TEXTS}
    options = {"score": is_upper, "repeat": 2, "journal": tmp_path / "runs.db"}
    first = flow.compare(shared, old=OLD, new=NEW, **options)
    assert len(CALLS.take()) == 3 + 2 * 2 * 3
    again = flow.compare(shared, old=OLD, new=NEW, **options)
    assert CALLS.take() == []
    assert again.judge.batches[0]._replayed == len(again.judge.batches[0])
    pd.testing.assert_frame_equal(first.df.filter(regex="^[^s]"), again.df.filter(regex="^[^s]"))
    flow.compare(shared, old=OLD, new=NEW, lower={"Label.prompt": "lower"}, **options)
    assert {call[1] for call in CALLS.take()} == {"lower"}


LOG = []
"""A log that ``exec`` appends to, and that counts as data of its code."""


class Logged(BatchNode):
    """Keeps a log of its calls."""

    ending = ""

    def prep(self, shared):
        return shared["items"]

    def exec(self, item):
        LOG.append((self.name, item))
        return item + self.ending

    def post(self, shared, items, results):
        shared["items"] = results


def test_a_log_is_no_edit(tmp_path):
    """What a run changes in the data of its code is no edit for the other runs, nor for the next comparison."""
    first = Logged(name="first")
    first >> Logged(name="second")
    flow, LOG[:] = Flow(start=first), []
    for calls in (2 + 2 * 2, 0):
        flow.compare({"items": ["a", "b"]}, x={}, y={"second.ending": "!"}, journal=tmp_path / "runs.db")
        assert len(LOG) == calls
        LOG.clear()


def test_a_journal_of_earlier_runs_is_used(tmp_path):
    """The flow as it is has the results of its own runs; so has a variant that says what the flow says."""
    flow, shared = flow_of(), {"texts": TEXTS}
    flow.run(dict(shared), journal=tmp_path / "runs.db")
    CALLS.clear()
    flow.compare(shared, old={"Label.prompt": "upper"}, new=NEW, journal=tmp_path / "runs.db")
    assert {call[1] for call in CALLS.take()} == {"title"}


class Draw(BatchNode):
    """Returns another number each time it is called with the same item."""

    step = 1

    def prep(self, shared):
        return shared["items"]

    def exec(self, item):
        CALLS.append(item)
        return CALLS.count(item) * self.step


def test_repeats_are_called_again():
    """Each repeat of the changed node is called, and the mean and the spread of its scores are in the table."""
    CALLS.clear()
    flow = Flow(start=Draw())
    found = flow.compare({"items": ["a"]}, one={}, two={"Draw.step": 2}, repeat=3, score=lambda item, n: n)
    assert len(CALLS.take()) == 6
    assert found.df["score.one"].tolist() == [3]  # 1, 3 and 5: each repeat calls both variants
    assert found.df["spread.one"].tolist() == [2]
    assert found.tidy["repeat"].tolist() == [1, 2, 3] * 2
    assert found.summary["rows"].tolist() == [3, 3]


def test_upstream_is_not_repeated():
    """What comes before the changed node is called once in all, and what follows is called in each repeat."""

    class After(Clean2):
        def prep(self, shared):
            return shared["labels"]

    flow = flow_of()
    flow.start_node.successors["default"] >> After()
    flow.compare({"texts": TEXTS}, old=OLD, new=NEW, repeat=2, of="Label")
    calls = CALLS.take()
    assert sum(call[0] == "Clean" for call in calls) == 3
    assert sum(call[0] == "After" for call in calls) == 2 * 2 * 3


class Clean2(BatchNode):
    def exec(self, text):
        CALLS.append(("After", text))
        return text


def test_a_replaced_node():
    """A node takes the place of another: with its name, its edges and its own attributes."""

    class Other(BatchNode):
        def __init__(self, ending):
            super().__init__()
            self.ending = ending

        def prep(self, shared):
            return shared["clean"]

        def exec(self, text):
            return text + self.ending

    found = flow_of().compare({"texts": TEXTS}, old={}, new={"Label": Other("!"), "Label.ending": "?"})
    assert found.df["new"].tolist() == ["ant?", "bee?", "Cat?"]
    assert found.tidy["Label"].unique().tolist() == ["Label", "Other"]
    assert [visit.node for visit in found.runs["new"][0].visits] == ["Clean", "Label", "labels"]


def test_a_changed_class_keeps_the_attributes():
    """A class in place of a node has the attributes and settings of that node."""

    class Louder(Label):
        def exec(self, text):
            return super().exec(text) + "!"

    label = Label(max_retries=3)
    label.prompt = "title"
    found = flow_of(label).compare({"texts": TEXTS}, old={}, new={"Label": Louder})
    assert found.df["new"].tolist() == ["Ant!", "Bee!", "Cat!"]
    assert found.runs["new"][0].node.start_node.successors["default"].max_retries == 3


def test_settings_of_the_engine():
    """A setting is checked as in the constructor; no result depends on it, so nothing is called again."""
    flow = flow_of()
    flow.compare({"texts": TEXTS}, old={}, new={"Label.max_concurrency": 3})
    assert len(CALLS.take()) == 6
    with pytest.raises(ValueError, match="max_concurrency must be 1 or more"):
        flow.compare({"texts": TEXTS}, old={}, new={"Label.max_concurrency": 0})


def test_a_limiter_is_one_for_all_variants():
    """The copies of a node share its limiter, so its limit holds over all of them."""
    limiter = Limiter(max_concurrency=2)
    found = flow_of(limiter=limiter).compare({"texts": TEXTS}, old=OLD, new=NEW)
    nodes = [run.node.start_node.successors["default"] for (run,) in found.runs.values()]
    assert [node.limiter for node in nodes] == [limiter, limiter]


def test_a_program_of_pocketflow():
    """Flows of the compatible names are compared too."""

    class Ask(AsyncParallelBatchNode):
        prompt = "a"

        async def prep_async(self, shared):
            return shared["items"]

        async def exec_async(self, item):
            return item + self.prompt

    found = AsyncFlow(start=Ask()).compare({"items": ["x"]}, old={}, new={"Ask.prompt": "b"})
    assert found.df[["old", "new"]].to_numpy().tolist() == [["xa", "xb"]]


def test_many_variants():
    """Each is compared with the first, and the verdict names the best one first."""
    found = flow_of().compare(
        {"texts": TEXTS},
        lower={"Label.prompt": "lower"},
        title={"Label.prompt": "title"},
        upper={},
        score=lambda item, result: sum(map(str.isupper, result)),
    )
    assert {"changed.title", "changed.upper", "delta.title", "delta.upper"} < set(found.df)
    assert "upper differs from lower" in found.verdict[0]
    assert "title differs from lower" in found.verdict[1]


class Priced(BatchNode):
    """Reports what it costs."""

    dollars = 1

    def prep(self, shared):
        return shared["items"]

    def exec(self, item):
        spend(input=10, output=1, cost=self.dollars)
        return item


def test_what_each_variant_costs(tmp_path):
    """The cost of a variant has all its calls, those that were not made again too; the sum has those that were made."""
    flow = Flow(start=Priced())
    options = {"journal": tmp_path / "runs.db", "score": lambda item, result: 1}
    for spent in (2 * 1 + 2 * 3, 0):
        found = flow.compare({"items": ["a", "b"]}, one={}, three={"Priced.dollars": 3}, **options)
        assert found.usage.cost == spent
        assert found.summary["cost"].tolist() == [2, 6]
        assert found.verdict[-1] == "a run costs $2.00 (one), $6.00 (three)"
        assert found.summary["tokens_in"].tolist() == [20, 20]
        assert found.df["cost.three"].tolist() == [3, 3]
        assert found.tidy["cost"].tolist() == [1, 1, 3, 3]


def test_what_an_upstream_call_costs():
    """A call that two variants need is paid once, and is a part of the cost of both."""

    class After(Clean2):
        ending = ""

        def prep(self, shared):
            return ["a", "b"]

    first = Priced()
    first >> After()
    found = Flow(start=first).compare({"items": ["a", "b"]}, one={}, two={"After.ending": "!"})
    assert found.usage.cost == 2
    assert found.summary["cost"].tolist() == [2, 2]


class Locked(BatchNode):
    """Returns what no journal can keep."""

    number = 1

    def prep(self, shared):
        return shared["items"]

    def exec(self, item):
        return Lock()


def test_problems_of_the_runs(tmp_path):
    """The verdict has them, each once with its variants."""
    flow = Flow(start=Locked())
    options = {"journal": tmp_path / "runs.db", "repeat": 2}
    found = flow.compare({"items": [1, 2]}, one={}, two={"Locked.number": 2}, **options)
    (problem,) = [text for text in found.verdict if "was not kept" in text]
    assert problem.startswith("one, two: ")
    assert found.problems == [problem]


class Ends:
    """Keeps which runs were started and ended."""

    def __init__(self):
        self.runs = []

    def handle(self, event):
        if event.kind in ("run_started", "run_finished"):
            self.runs.append((event.kind, event.path))


class Judge(BatchNode):
    def prep(self, shared):
        return shared["pairs"]

    def exec(self, pair):
        return is_upper(pair["item"], pair["result"])


def test_subscribers_are_notified_of_each_run():
    """Of the runs of all variants, in their order, and then of the judge."""
    ends = Ends()
    flow_of().compare({"texts": TEXTS}, old=OLD, new=NEW, score=Judge(), subscribers=iter([ends]))
    names = ["labels (old)", "labels (new)", "labels (Judge)"]
    assert ends.runs == [(kind, name) for name in names for kind in ("run_started", "run_finished")]


def test_subscribers_are_notified_of_a_compared_node():
    """The same without a batch, where the last result of a node is the row."""
    ends = Ends()
    Flow(start=Say()).compare({}, old={}, new={"Say.word": "no"}, subscribers=[ends])
    assert [path for _, path in ends.runs] == ["Flow (old)", "Flow (old)", "Flow (new)", "Flow (new)"]


class Say(Node):
    word = "yes"

    def exec(self, prep_res):
        return self.word
