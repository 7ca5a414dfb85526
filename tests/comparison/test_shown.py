"""What a cell shows of a comparison, and the steppers that it opens."""

import re

import pytest
from IPython.lib.pretty import pretty

from llmflow_nb import RowError, SettingError
from llmflow_nb.notebook.marked import differing
from tests.comparison.helpers import CALLS, TEXTS, Label, flow_of, is_upper

SHARED = {"texts": TEXTS}
VARIANTS = {"old": {}, "new": {"Label.prompt": "title"}}


def forms(comparison):
    """Return the HTML and the text of a comparison."""
    bundle = comparison._repr_mimebundle_()
    return bundle["text/html"], bundle["text/plain"]


def words(html):
    """Return the text of HTML without its markup and styles."""
    text = re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", " ", text)


def test_the_verdict_comes_first():
    """It is the first sentence of both forms."""
    html, text = forms(flow_of().compare(SHARED, **VARIANTS, score=is_upper))
    sentence = "too few rows to tell whether new differs from old: -1 on average; better on 0 rows, worse on 3"
    assert sentence in words(html)
    assert text.splitlines()[2].strip().startswith(sentence)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"old": 0, "new": 1}, "new is better than old: +1 on average"),
        ({"old": 1, "new": 0}, "new is worse than old: -1 on average"),
        ({"old": 1, "new": 1}, "new scores the same as old on all 12 rows (12 results differ)"),
        ({}, "score returned None or NaN for all rows: is a return missing?"),
    ],
)
def test_verdicts(scores, expected):
    """The words say which is better, or that none is."""

    def score(item, result):
        return scores.get("old" if result.isupper() else "new")

    texts = [f"{letter}{letter}" for letter in "abcdefghijkl"]
    found = flow_of().compare({"texts": texts}, **VARIANTS, score=score)
    assert found.verdict[0].startswith(expected)
    assert expected in repr(found)


def test_differences_are_marked():
    """In HTML by elements, in text as ``wdiff`` does."""

    class Longer(Label):
        def exec(self, text):
            return f"a {text} sat"

    html, text = forms(flow_of(Longer(name="Label")).compare(SHARED, old={}, new={"Label": Again}))
    assert re.search(r"a <del [^>]*>ant</del> sat", html)
    assert re.search(r"a <ins [^>]*>ANT</ins> sat", html)
    assert "a [-ant-] sat" in text
    assert "a {+ANT+} sat" in text


class Again(Label):
    def exec(self, text):
        return f"a {text.upper()} sat"


def test_long_texts_are_cut_around_a_difference():
    """Words that are far from it are left out."""
    same = "the same " * 100
    before, after = differing(f"{same}old {same}", f"{same}new {same}")
    assert [part.text for part in after if part.is_marked] == ["new"]
    assert all(len(part.text) < 200 for part in (*before, *after))
    assert after[0].text.startswith("… ")


@pytest.mark.parametrize("text", ["", "one", "one  two", "\n", "a" * 5_000])
def test_equal_texts_have_no_marks(text):
    """Nor are they changed."""
    before, after = differing(text, text)
    assert before == after
    assert "".join(part.text for part in before) == text


def test_nothing_is_markup():
    """Names, labels, results and errors are escaped, in both marked and plain cells."""
    evil = "<img src=x onerror=alert(1)>"

    class Evil(Label):
        def exec(self, text):
            return evil + text

    class Worse(Label):
        def exec(self, text):
            if text == "bee":
                raise ValueError(evil)
            return text + evil

    label = Evil(name="Label", on_error="keep")
    found = flow_of(label).compare({"texts": [*TEXTS, evil]}, **{evil: {}, "b": {"Label": Worse}}, score=is_upper)
    html, _ = forms(found)
    assert "<img" not in html
    assert "&lt;img" in html


def test_names_that_cannot_be_encoded():
    """A lone surrogate, a control character and a change of the reading direction are shown as escapes."""
    flow = flow_of()
    flow.name = "x\ud800"
    found = flow.compare({"texts": ["\ud800", "\x1b[1m", "\u202eabc"]}, **{"a\ud800": {}, "\x1b": VARIANTS["new"]})
    html, text = forms(found)
    html.encode()
    text.encode()
    assert "\\u202e" in text


def test_worst_rows_first():
    """Rows that got worse come first, and `regressions` has them in this order."""

    def score(item, result):
        return {"ANT": 1, "BEE": 1, "CAT": 0, "Ant": 1, "Bee": 0, "Cat": 1}[result]

    found = flow_of().compare(SHARED, **VARIANTS, score=score)
    _, text = forms(found)
    rows = text.partition("Rows, those that got worse first")[2].splitlines()[2:5]
    assert [row.split()[1] for row in rows] == ["bee", "Cat", "ant"]
    assert found.regressions["item"].tolist() == ["bee"]


def test_many_rows_and_variants_are_cut():
    """The cell says what is left out, and stays small."""
    variants = {f"v{n}": {"Label.note": n} for n in range(8)}
    label = Label()
    label.note = None
    found = flow_of(label).compare({"texts": ["x" * 3_000] * 30}, **variants, score=lambda item, result: 1)
    html, text = forms(found)
    assert "20 more rows: .df has them all" in text
    assert "5 more variants in .df" in text
    assert len(html) < 200_000


def test_a_display_stays_small():
    """Also if all texts are long and consist of characters that are escaped."""
    found = flow_of().compare({"texts": ["<" * 3_000 + str(n) for n in range(12)]}, **VARIANTS)
    assert len(forms(found)[0]) < 200_000


def test_the_verdict_on_many_variants():
    """One sentence is about all of them, and one about the best."""
    scores = {"upper": 0, "title": 1, "lower": -1, "swapcase": 1, "capitalize": 1}
    texts = [f"{letter}{letter} b" for letter in "abcdefghijklmno"]
    variants = {name: {"Label.prompt": name} for name in scores}

    def score(item, result):
        return scores[next(name for name in scores if getattr(item, name)() == result)]

    found = flow_of().compare({"texts": texts}, **variants, score=score)
    assert found.verdict[0] == "compared with upper: 2 better (title, capitalize), 1 worse, 1 not clearly different"
    assert found.verdict[1].startswith("title is better than upper: +1 on average")
    assert len(found.verdict) == 2
    unscored = flow_of().compare({"texts": texts}, **variants)
    assert unscored.verdict[0] == "3 of 4 variants have other results than upper"


def test_static_displays_have_no_times(monkeypatch):
    """Nor has the table of variants, so that a saved notebook compares equal."""
    monkeypatch.setenv("LLMFLOW_NB_DISPLAY", "static")
    html, text = forms(flow_of().compare(SHARED, **VARIANTS))
    assert "seconds" not in text
    assert not re.search(r"\d ms", words(html))


def test_no_rows():
    """An empty batch is no error."""
    found = flow_of().compare({"texts": []}, **VARIANTS, score=is_upper)
    assert found.verdict == ["there are no rows to compare"]
    assert len(found.df) == 0
    assert "0 rows" in forms(found)[1]
    assert found.summary["rows"].tolist() == [0, 0]


# ---- steppers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_kept", [False, True])
def test_steppers_at_a_row(is_kept, tmp_path):
    """Both variants are opened before exec of this row, and its result is not asked for again."""
    journal = tmp_path / "runs.db" if is_kept else None
    found = flow_of().compare(SHARED, **VARIANTS, journal=journal)
    CALLS.clear()
    steppers = found.debug(1)
    assert list(steppers) == ["old", "new"]
    for name, result in (("old", "BEE"), ("new", "Bee")):
        stepper = steppers[name]
        assert stepper.title == f"{name}: row 1 of labels/Label"
        stepper.over()
        assert stepper.record.batch("Label").results == [result]
    assert CALLS.take() == []


def test_the_worst_variant_of_a_row_is_opened():
    """Of many variants, the one that is worst in this row; or those that are named."""
    scores = {"ANT": 3, "Ant": 2, "ant": 1}
    found = flow_of().compare(
        SHARED, **VARIANTS, low={"Label.prompt": "lower"}, score=lambda item, result: scores.get(result, 0)
    )
    assert list(found.debug(0)) == ["old", "low"]
    assert list(found.debug(0, "new")) == ["new"]
    with pytest.raises(SettingError, match=r"no variant 'nwe' \(did you mean 'new'\?\)"):
        found.debug(0, "nwe")
    with pytest.raises(RowError, match="7"):
        found.debug(7)


def test_steppers_without_a_kernel():
    """They are shown as pictures, one after the other."""
    steppers = flow_of().compare(SHARED, **VARIANTS).debug(0)
    bundle = steppers._repr_mimebundle_()
    assert pretty(steppers) == bundle["text/plain"]  # IPython asks for that of a dict
    assert "old: row 0 of labels/Label" in bundle["text/plain"]
    assert "new: row 0 of labels/Label" in bundle["text/plain"]
    assert bundle["text/html"].count("llmflow-step-still") == 2


def test_a_plot():
    """There is a line for each variant; without scores an error says what to give."""
    pytest.importorskip("matplotlib").use("agg")
    flow = flow_of()
    axes = flow.compare(SHARED, **VARIANTS, score=is_upper).plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["new"]
    assert len(axes.collections[0].get_offsets()) == 3
    with pytest.raises(SettingError, match="no scores to plot"):
        flow.compare(SHARED, **VARIANTS).plot()


def test_the_verdict_of_a_sweep_names_what_is_clearly_better():
    """A noisy variant with a higher mean comes after it."""

    def score(item, result):
        kind, n = result[0], int(item)
        return {"b": 0.5, "s": 0.6, "t": 0.55}.get(kind, 0.65 + (3 if n % 2 else -3))

    class Marked(Label):
        mark = "b"

        def exec(self, text):
            return self.mark + text

    names = {"base": "b", "n1": "x", "n2": "y", "n3": "z", "small": "t", "sure": "s"}
    variants = {name: {"Label.mark": mark} for name, mark in names.items()}
    texts = [str(n) for n in range(40)]
    found = flow_of(Marked(name="Label")).compare({"texts": texts}, **variants, score=score)
    assert found.verdict[0] == "compared with base: 2 better (sure, small), 3 not clearly different"
    assert found.verdict[1].startswith("sure is better than base: +0.1 on average")
