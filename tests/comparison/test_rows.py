"""Which rows are compared, and which of them belong together."""

import pandas as pd
import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Journal, Node, SettingError
from tests.comparison.helpers import TEXTS, Label, flow_of, is_upper

OLD, NEW = {}, {"Label.prompt": "title"}


def test_labels_of_the_input():
    """Rows are known by the labels of a pandas input, also if a variant has them in another order."""

    class Turned(Label):
        def prep(self, shared):
            return pd.Series(["ant", "bee"], index=pd.Index(["a", "b"], name="key"))

    class TurnedBack(Turned):
        def prep(self, shared):
            return super().prep(shared)[::-1]

    flow = Flow(start=Turned(name="Label"))
    found = flow.compare({}, old={}, new={"Label": TurnedBack})
    assert found.df["changed"].to_dict() == {"a": False, "b": False}
    assert found.df.index.name == "key"


def test_labels_of_several_levels(tmp_path):
    """The index has the levels of the input, also in a run that is read from a journal."""

    class Levels(Label):
        def prep(self, shared):
            keys = pd.MultiIndex.from_tuples([("a", 1), ("a", 1), ("b", 2)], names=["letter", "n"])
            return pd.Series(["x", "y", "z"], index=keys)

    flow = Flow(start=Levels(name="Label"))
    found = flow.compare({}, old={}, new={"Label.prompt": "lower"}, journal=tmp_path / "runs.db")
    assert found.df.loc[("b", 2), "old"] == "Z"
    assert found.df["new"].tolist() == ["x", "y", "z"]
    assert list(Journal(tmp_path / "runs.db")[-1].batch("Label").df.index.names) == ["letter", "n"]


def test_items_are_kept_for_the_score():
    """Also of a node that does not keep them, since a score needs them."""
    found = flow_of(keep_items=False).compare({"texts": TEXTS}, old=OLD, new=NEW, score=is_upper)
    assert found.df["item"].tolist() == ["ant", "bee", "Cat"]


def test_rows_that_one_variant_does_not_have():
    """A row that only one of the variants has is in the table."""

    class Fewer(Label):
        def prep(self, shared):
            return shared["clean"][:1]

    found = flow_of().compare({"texts": TEXTS}, old={}, new={"Label": Fewer})
    assert found.df["status.new"].fillna("none").tolist() == ["ok", "none", "none"]
    assert found.df["changed"].tolist() == [False, True, True]
    assert any("2 rows missing" in text for text in found.verdict)


def test_rows_that_fail():
    """A row that fails has no score, is shown as failed, and comes first among the regressions."""
    flow = flow_of(on_error="keep")
    found = flow.compare({"texts": TEXTS}, old={}, new={"Label.prompt": "fail"}, score=is_upper)
    assert found.df["status.new"].tolist() == ["ok", "failed", "ok"]
    assert found.df["score.new"].isna().tolist() == [False, True, False]
    assert found.regressions["item"].tolist() == ["bee"]
    assert found.tidy["error"].dropna().tolist() == ["no bees"]
    assert found.summary["failed"].tolist() == [0, 1]
    assert any("new: 1 row failed" in text for text in found.verdict)


def test_param_sets_of_a_batch_flow():
    """A flow without a batch node is compared by the param sets of its batch flow."""

    class Add(Node):
        by = 1

        def prep(self, shared):
            return self.params["n"]

        def exec(self, n):
            return n + self.by

    class Sweep(BatchFlow):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}]

    found = Sweep(start=Add()).compare({}, one={}, ten={"Add.by": 10})
    assert found.df[["one", "ten"]].to_numpy().tolist() == [[2, 11], [3, 12]]
    assert found.path == "Sweep"


def test_rows_in_param_sets():
    """Rows of a batch node inside a batch flow belong together by their params, which are columns of the tidy table."""

    class Times(BatchNode):
        factor = 1

        def prep(self, shared):
            return range(self.params["n"])

        def exec(self, item):
            return item * self.factor

    class Sweep(BatchFlow):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}]

    found = Sweep(start=Times()).compare({}, one={}, two={"Times.factor": 2}, score=lambda item, result: result)
    assert found.df[["one", "two"]].to_numpy().tolist() == [[0, 0], [0, 0], [1, 2]]
    pivot = found.tidy.pivot_table(index="n", columns="variant", values="score", aggfunc="sum")
    assert pivot.to_numpy().tolist() == [[0, 0], [1, 2]]


def test_the_result_of_a_plain_flow():
    """A flow without batches has one row: the result of its last exec."""

    class Ask(Node):
        prompt = "a"

        def exec(self, _):
            return self.prompt

    found = Flow(start=Ask()).compare({}, old={}, new={"Ask.prompt": "b"}, score=lambda item, result: result == "b")
    assert found.df[["old", "new", "delta"]].to_numpy().tolist() == [["a", "b", 1.0]]


def test_the_last_batch_is_compared():
    """Of several batch nodes, the rows of the last one are compared, unless ``of`` names another."""
    shared = {"texts": TEXTS}
    assert flow_of().compare(shared, old=OLD, new=NEW).path == "labels/Label"
    assert flow_of().compare(shared, old=OLD, new=NEW, of="Clean").path == "labels/Clean"


class Ask(Node):
    """Returns its prompt; whatever follows has no ``exec``."""

    prompt = "short"

    def exec(self, prepared):
        return self.prompt


@pytest.mark.parametrize("of", [None, "Ask"])
def test_a_flow_that_ends_in_a_node_without_an_exec(of):
    """Its result is that of the last node that has an ``exec`` of its own, or of the node that is named."""
    ask = Ask()
    ask >> Node(name="Save")
    found = Flow(ask).compare({}, old={}, new={"Ask.prompt": "LONG"}, of=of)
    assert found.df[["old", "new"]].to_numpy().tolist() == [["short", "LONG"]]
    assert found.verdict[0] == "new differs from old on 1 of 1 row"


def test_a_plain_node_before_the_last_one():
    """With ``of=``, its last result is the row."""

    class After(Node):
        def exec(self, prepared):
            return "the same"

    ask = Ask()
    ask >> After()
    variants = {"old": {}, "new": {"Ask.prompt": "LONG"}}
    assert Flow(ask).compare({}, **variants).df["new"].tolist() == ["the same"]
    assert Flow(ask).compare({}, **variants, of="Ask").df["new"].tolist() == ["LONG"]


def test_of_a_node_without_an_exec():
    """It has no result to compare."""
    ask = Ask()
    ask >> Node(name="Save")
    with pytest.raises(SettingError, match="no exec of its own"):
        Flow(ask).compare({}, old={}, new={"Ask.prompt": "LONG"}, of="Save")


def test_the_result_of_a_flow_that_ends_in_a_batch_node():
    """If the flow is named, its result is the list of the last batch node, also if a node without ``exec`` follows."""
    flow = flow_of()
    flow.start_node.successors["default"] >> Node(name="Save")
    found = flow.compare({"texts": TEXTS}, old={}, new=NEW, of="labels")
    assert found.df["new"].tolist() == [["Ant", "Bee", "Cat"]]


class Opaque:
    """No data: each copy is another object."""

    __slots__ = ("__weakref__",)


def test_items_that_differ():
    """If a variant has other items in the same rows, the verdict and a column say so."""

    class Turned(Label):
        def prep(self, shared):
            return super().prep(shared)[::-1]

    found = flow_of().compare({"texts": TEXTS}, old={}, new={"Label": Turned})
    assert "items differ from those of old on 2 rows, paired by position: new" in found.verdict
    assert found.df["same_item"].tolist() == [False, True, False]


def test_items_that_are_copies():
    """Copies of objects that are not data are no other items."""

    class Same(Label):
        def prep(self, shared):
            return shared["texts"]

        def exec(self, item):
            return self.prompt

    flow = Flow(start=Same(name="Label"))
    found = flow.compare({"texts": [Opaque(), {"a": object()}, ("b", 1)]}, old={}, new=NEW)
    assert "same_item" not in found.df
