"""Scores: by functions, judges and nodes of the flow; and what they say."""

import sys

import pytest

from llmflow_nb import BatchNode
from llmflow_nb.comparison.statistics import adjusted, difference
from tests.comparison.helpers import CALLS, TEXTS, Label, flow_of

VARIANTS = {"old": {}, "new": {"Label.prompt": "title"}}
SHARED = {"texts": TEXTS}


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (lambda item, result: len(result), 3.0),
        (lambda item, result: result == "ANT", 1.0),
        (lambda item, result: float("nan"), None),
        (lambda item, result: None, None),
    ],
)
def test_what_a_score_may_be(score, expected):
    """A number or a bool; None and NaN are no score."""
    found = flow_of().compare(SHARED, **VARIANTS, score=score)
    values = [*found.df.get("score.old", [None])]
    assert (None if values[0] is None else float(values[0])) == expected
    assert found.measures.failures == []


def test_an_async_function():
    """It is awaited."""

    async def score(item, result):
        return len(result)

    assert flow_of().compare(SHARED, **VARIANTS, score=score).df["score.new"].tolist() == [3, 3, 3]


def test_several_scores():
    """The fields of a dict are columns, and the first one decides."""

    def score(item, result):
        return {"is title": result.istitle(), "length": len(result)}

    found = flow_of().compare(SHARED, **VARIANTS, score=score)
    assert found.df["score.is title.new"].tolist() == [1, 1, 1]
    assert found.df["score.length.new"].tolist() == [3, 3, 3]
    assert found.df["delta"].tolist() == [1, 1, 1]
    assert found.summary["score.length"].tolist() == [3, 3]
    assert {"score.is title", "score.length"} < set(found.tidy)


def test_a_score_that_is_no_number():
    """The row has no score, and the verdict says why."""
    found = flow_of().compare(SHARED, **VARIANTS, score=lambda item, result: "good")
    assert "score.old" not in found.df
    assert any("3 rows could not be scored (TypeError: the score is a str; return a number" in t for t in found.verdict)


@pytest.mark.parametrize("score", [float("inf"), 10**400, 1j, b"1"])
def test_a_score_that_cannot_be_compared(score):
    """An infinite score has no mean, and other values are no numbers."""
    found = flow_of().compare(SHARED, **VARIANTS, score=lambda item, result: score)
    assert "score.old" not in found.df
    assert len(found.measures.failures) == 6


def test_a_score_that_raises():
    """A comparison is never lost because of its score: the rows have none, and the error is in the tidy table."""
    found = flow_of().compare(SHARED, **VARIANTS, score=lambda item, result: 1 / (result != "Bee"))
    assert found.df["score.new"].isna().tolist() == [False, True, False]
    assert found.tidy["error_type"].dropna().tolist() == ["ZeroDivisionError"]
    assert found.measures.failures[0][:2] == ("new", 1)
    CALLS.clear()
    flow_of().compare(SHARED, **VARIANTS, score=lambda item, result: 1)
    assert CALLS.take() == []  # the mended score is all that the next comparison calls


def test_a_score_that_always_raises():
    """Nor is it lost if no row has a score."""
    found = flow_of().compare(SHARED, **VARIANTS, score=lambda item: 1)
    assert found.df["old"].tolist() == ["ANT", "BEE", "CAT"]
    assert len(found.measures.failures) == 6
    flow_of().compare(SHARED, **VARIANTS, score=lambda item, result: 1)


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_rows_without_a_score_are_counted(nothing):
    """The verdict begins with it if they are many, and says how many they are; the summary too."""
    texts = [f"{chr(97 + n // 10)}{chr(97 + n % 10)}" for n in range(100)]

    def score(item, result):
        return nothing if result.istitle() and item >= "b" else result.istitle()

    found = flow_of().compare({"texts": texts}, **VARIANTS, score=score)
    assert found.verdict[0] == "only some rows have scores to compare with old: 10 of 100 (new)"
    assert found.verdict[1].startswith("new is better than old")
    assert "new: 90 rows have no score; not counted in the scores" in found.verdict
    assert found.summary["unscored"].tolist() == [0, 90]


def test_a_few_rows_without_a_score():
    """The verdict is about the variants first."""
    texts = [chr(97 + n) for n in range(20)]
    found = flow_of().compare({"texts": texts}, **VARIANTS, score=lambda item, result: None if item == "c" else 1)
    assert found.verdict[0].startswith("new scores the same as old on all 19 rows")
    assert "old: 1 row has no score; not counted in the scores" in found.verdict


class Judge(BatchNode):
    """Judges pairs, with a retry."""

    def exec(self, pair):
        CALLS.append(("Judge", pair["item"], pair["result"]))
        if CALLS.count(CALLS[-1]) == 1 and pair["result"] == "BEE":
            raise ConnectionError
        return len(pair["item"]) + pair["result"].isupper()


def test_a_judge():
    """A batch node gets the pairs, with its settings."""
    flow = flow_of()
    found = flow.compare(SHARED, **VARIANTS, score=Judge(max_retries=2, max_concurrency=2))
    assert found.df["delta"].tolist() == [-1, -1, -1]
    assert found.judge.batch("Judge").df["attempts"].tolist().count(2) == 1


def test_the_same_result_is_judged_once():
    """If two variants have the same result for an item, the judge is asked once; in each repeat again."""

    class Half(Label):
        def exec(self, text):
            return text.upper() if text == "ant" else text

    found = flow_of().compare(SHARED, old={}, new={"Label": Half}, score=Judge(max_retries=2), repeat=2)
    asked = [call for call in CALLS.take() if call[0] == "Judge"]
    assert asked.count(("Judge", "ant", "ANT")) == 2
    assert asked.count(("Judge", "bee", "bee")) == 2
    assert len(found.judge.batch("Judge")) == 2 * 5


def test_a_judge_is_not_changed():
    """The judge of the user stays as it is, and can be a node of a flow."""
    judge = Judge(on_error="raise")
    flow_of().compare(SHARED, **VARIANTS, score=judge)
    assert type(judge) is Judge
    assert (judge.on_error, judge.last_run) == ("raise", None)


class Rate(BatchNode):
    """Follows in the flow."""

    def prep(self, shared):
        return shared["labels"]

    def exec(self, label):
        return {"upper": sum(map(str.isupper, label))}


def test_a_node_of_the_flow():
    """The results of a batch node that follows are the scores."""
    flow = flow_of()
    flow.start_node.successors["default"] >> Rate()
    found = flow.compare(SHARED, **VARIANTS, of="Label", score="Rate")
    assert found.df["score.upper.old"].tolist() == [3, 3, 3]
    assert found.df["delta"].tolist() == [-2, -2, -2]


def test_a_node_of_the_flow_with_other_items():
    """It needs one item for each row."""

    class Some(Rate):
        def prep(self, shared):
            return shared["labels"][:2]

    flow = flow_of()
    flow.start_node.successors["default"] >> Some()
    with pytest.raises(ValueError, match="it has 2 items for 3 rows"):
        flow.compare(SHARED, **VARIANTS, of="Label", score="Some")


# ---- statistics ------------------------------------------------------------------------------------------------------


def test_counts_of_rows():
    """Rows are better, worse, the same or without a score; rounding errors are no difference."""
    found = difference([0, 1, 0.1 + 0.2, None, 1], [1, 0, 0.3, 1, None])
    assert found[:4] == (1, 1, 1, 2)
    assert found.mean == 0


def test_an_exact_test_of_yes_and_no():
    """Scores of 0 and 1 are tested with the binomial test on the rows that differ."""
    found = difference([0] * 12 + [1] * 8, [1] * 12 + [1] * 5 + [0] * 3)
    assert found.p == pytest.approx(0.03515625)  # 3 or fewer, or 12 or more, of 15 coins
    assert not found.is_noise


def test_the_interval_of_numbers():
    """It is a bootstrap of the differences, the same each time."""
    before, after = list(range(40)), [n + n % 4 - 1 for n in range(40)]
    found = difference(before, after)
    assert found == difference(before, after)
    assert found.low < found.mean == 0.5 < found.high
    assert found.high - found.low == pytest.approx(4 * 1.118 / 40**0.5, rel=0.1)
    assert found.p < 0.05


@pytest.mark.parametrize("scores", [([], []), ([None], [1]), ([1], [2])])
def test_too_few_rows(scores):
    """Fewer than two rows have no interval."""
    found = difference(*scores)
    assert (found.low, found.p) == (None, None)


def test_equal_differences():
    """Rows that all differ by the same have an interval without a width."""
    found = difference([1, 2, 3], [2, 3, 4])
    assert (found.low, found.high) == (1, 1)
    assert difference([1, 2], [1, 2])[4:] == (0, 0, 0, 1)


def test_p_values_of_several_variants():
    """They are adjusted for their number, and keep their order."""
    some = [difference([0, 1], [0, 1])._replace(p=p) for p in (0.04, 0.01, None, 0.03)]
    assert [each.p for each in adjusted(some)] == pytest.approx([0.06, 0.03, None, 0.06])


def test_one_row_with_both_scores():
    """The verdict says that one row is too few, and not that scipy is missing."""

    class Half(Label):
        def exec(self, text):
            if text != "bee":
                raise ValueError(text)
            return text

    found = flow_of(on_error="keep").compare(
        SHARED, old={}, new={"Label": Half}, score=lambda item, result: len(result)
    )
    assert "one row is too few to tell whether a difference is noise: new" in found.verdict
    assert not any("scipy" in text for text in found.verdict)


def test_without_scipy(monkeypatch):
    """There is no interval, and the verdict says what to install."""
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    found = flow_of().compare(SHARED, **VARIANTS, score=lambda item, result: result.count("T"))
    assert found.summary["low"].isna().all()
    assert "worse on 2" in found.verdict[0]
    assert 'pip install "llmflow_nb[compare]"' in found.verdict[-1]
