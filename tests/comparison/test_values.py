"""Values that a comparison refuses: scores that are no numbers, and what `debug` takes for a row."""

import numpy as np
import pandas as pd
import pytest

from llmflow_nb import RowError, SettingError
from tests.comparison.helpers import TEXTS, flow_of

VARIANTS = {"old": {}, "new": {"Label.prompt": "title"}}


def scored(value):
    """Return a comparison whose new results have a score."""
    return flow_of().compare({"texts": TEXTS}, **VARIANTS, score=lambda item, result: 0 if result.isupper() else value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1e308, "infinite, or too large"),
        (-1e200, "infinite, or too large"),
        (np.zeros(3), "a ndarray; return a number"),
    ],
)
def test_scores_that_are_refused(value, message):
    """Their sums would not be finite, or they are several numbers."""
    found = scored(value)
    assert f"the score is {message}" in " ".join(found.verdict)


def test_a_missing_value_of_pandas_is_no_score():
    """It is like None."""
    found = scored(pd.NA)
    assert "could not be scored" not in " ".join(found.verdict)
    assert found.summary["score"].isna().tolist() == [False, True]


@pytest.mark.parametrize("part", [lambda found: found.df.head(1), lambda found: found.regressions, lambda found: [0]])
def test_debug_takes_one_label(part):
    """For a part of the table, an error says what to give."""
    found = scored(-1)
    with pytest.raises(RowError, match=r"give the label of one row, such as \.regressions\.index\[0\]"):
        found.debug(part(found))
    with pytest.raises(RowError) as error:
        found.debug("none")
    assert "part of .df" not in str(error.value)


def test_a_variant_without_a_name():
    """It is refused, since tables and sentences would show nothing for it."""
    with pytest.raises(SettingError, match="a variant has the name ''; give each one a name"):
        flow_of().compare({"texts": TEXTS}, **{"": {}, "new": {"Label.prompt": "title"}})
