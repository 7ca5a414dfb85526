"""Laws of comparisons: the table is the pivot of independent runs, and no call is made twice."""

import itertools
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from llmflow_nb import AllFailedError, BatchNode, Flow
from tests.comparison.helpers import Calls
from tests.properties.test_laws import laws

ITEMS = st.lists(st.sampled_from("abcd"), max_size=6)
PROMPTS = st.lists(st.sampled_from(["x", "y", "z", "fails on b"]), min_size=2, max_size=3, unique=True)
NAMES = ("One", "Two", "Three")
CALLS = Calls()


class Step(BatchNode):
    """Appends its prompt, or fails on some items."""

    prompt = ""

    def prep(self, shared):
        return shared["items"]

    def exec(self, item):
        CALLS.append((self.name, self.prompt, item))
        if self.prompt == "fails on b" and item is not None and item.startswith("b"):
            raise ValueError(item)
        return f"{item}{self.prompt}"

    def post(self, shared, items, results):
        shared["items"] = results


def chain(changed=None, prompt=""):
    """Return a flow of three steps, one of them with another prompt."""
    steps = [Step(on_error="keep", name=name) for name in NAMES]
    for step, following in itertools.pairwise(steps):
        step >> following
    if changed is not None:
        steps[NAMES.index(changed)].prompt = prompt
    return Flow(start=steps[0], name="chain")


def by_hand(items, changed, prompt, of):
    """Return the results of an independent run, None where a call failed; None if a run fails as a whole."""
    flow = chain(changed, prompt)
    try:
        flow.run({"items": items})
    except AllFailedError:
        return None
    return flow.last_run.batch(of).results


@settings(laws, max_examples=25)
@given(ITEMS, PROMPTS, st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(1, 3))
def test_a_comparison_is_the_pivot_of_independent_runs(items, prompts, changed, of, repeat):
    """Results are those of runs by hand, upstream is called once, and a second comparison with the journal nothing."""
    expected = {prompt: by_hand(items, changed, prompt, of) for prompt in prompts}
    if None in expected.values():
        return
    CALLS.clear()
    variants = {f"v {prompt}": {f"{changed}.prompt": prompt} for prompt in prompts}
    with tempfile.TemporaryDirectory() as folder:
        options = {"of": of, "repeat": repeat, "journal": Path(folder) / "runs.db", "progress": False}
        flow = chain()
        found = flow.compare({"items": items}, **variants, **options, score=lambda item, result: len(result))
        calls = Counter(name for name, _, _ in CALLS)
        failing = Counter(call for call in CALLS if call[1] == "fails on b" and (call[2] or "").startswith("b"))
        CALLS.clear()
        again = flow.compare({"items": items}, **variants, **options, score=lambda item, result: len(result))
        again_called = Counter(CALLS)
    for prompt in prompts:
        assert _results(found, f"v {prompt}") == expected[prompt]
        assert _results(again, f"v {prompt}") == _results(found, f"v {prompt}")
    before = NAMES.index(changed)
    assert all(calls[name] == len(items) for name in NAMES[:before])
    assert calls[changed] == len(items) * len(prompts) * repeat
    assert again_called == failing  # a failed call is made again, and nothing else


def _results(found, variant):
    """Return the results of a variant by its rows; None where there is none."""
    cells = [row.first(variant) for row in found.measures.rows]
    return [cell.item.result if cell.has_result else None for cell in cells]
