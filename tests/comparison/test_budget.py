"""A budget of a comparison: it bounds all its runs, and what was finished is used again."""

import pytest

from llmflow_nb import BatchNode, Budget, BudgetError
from tests.comparison.helpers import CALLS, TEXTS, flow_of

VARIANTS = {"old": {}, "new": {"Label.prompt": "title"}}


def test_a_budget_bounds_all_runs():
    """Clean and two labels for each text are nine calls: the last is refused, and then the only one to make."""
    flow, budget = flow_of(), Budget(calls=8)
    with pytest.raises(BudgetError, match="run the cell of the comparison again") as raised:
        flow.compare({"texts": TEXTS}, budget=budget, **VARIANTS)
    assert not any("last_run" in note for note in raised.value.__notes__)
    assert len(CALLS.take()) == 8
    budget.calls = 9
    found = flow.compare({"texts": TEXTS}, budget=budget, **VARIANTS)
    assert len(CALLS.take()) == 1
    assert found.df["new"].tolist() == ["Ant", "Bee", "Cat"]


def test_a_score_function_is_free():
    """Its calls do not count, and those of a judge do."""

    class Judge(BatchNode):
        def exec(self, pair):
            return 1

    flow, budget = flow_of(), Budget(calls=9)
    found = flow.compare({"texts": TEXTS}, budget=budget, score=lambda item, result: 1, **VARIANTS)
    assert found.df["score.new"].tolist() == [1, 1, 1]
    with pytest.raises(BudgetError):
        flow.compare({"texts": TEXTS}, budget=Budget(calls=9), score=Judge(), **VARIANTS)
