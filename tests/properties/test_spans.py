"""The spans of random flows: each visit, param set and call has one, it is in its parent's, and all have ended."""

import asyncio
import warnings
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from llmflow_nb import FlowError, spend
from tests.otel.spans import InterruptWithin, Spans, check
from tests.properties.flows import Boom, Step, World, build, flows
from tests.properties.test_laws import laws

DRIVERS = ["run", "run_async", "submit"]


def run(driver: str, node, subscribers) -> None:
    """Run a node, whatever its hooks raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if driver == "run":
                node.run({"marker": "shared"}, subscribers=subscribers)
            elif driver == "run_async":
                asyncio.run(node.run_async({"marker": "shared"}, subscribers=subscribers))
            else:
                node.submit({"marker": "shared"}, subscribers=subscribers).wait()
        except (Boom, FlowError, KeyboardInterrupt):
            pass


def check_parents(spans: Spans) -> None:
    """The parent of a visit is of the flow around it; the parent of a call or a param set, of the same path."""
    for kind in ("visit", "param_set", "call"):
        for span in spans.of(kind):
            parent = spans.parent(span)
            path = span.attributes["llmflow_nb.path"]
            around = path.rpartition("/")[0] if kind == "visit" else path
            assert parent.attributes.get("llmflow_nb.path", "") == around


class Spending(World):
    """Every hook spends a token before it does what it does."""

    def prep(self, *args):
        spend(model="m", input=1)
        return super().prep(*args)

    def exec(self, *args):
        spend(model="m", input=1)
        return super().exec(*args)

    def post(self, *args):
        spend(model="m", input=1)
        return super().post(*args)


@laws
@given(flows(), st.sampled_from(DRIVERS), st.sampled_from([None, 1, 3]))
def test_spans_of_random_flows(step: Step, driver: str, width: int | None) -> None:
    """There are as many spans as the record has visits, param sets and items, and as many tokens."""
    spans, world = Spans(), Spending(most_at_once=2)
    node = build(step, world, width)
    current = trace.get_current_span()
    run(driver, node, [spans.subscriber()])
    record = node.last_run
    assert trace.get_current_span() is current
    check(spans, record)
    check_parents(spans)
    rows = Counter()
    for batch in record.batches:
        statuses = Counter(item.status for item in batch)
        rows["param_set" if batch.is_of_params else "items"] += statuses.total() - statuses["pending"]
    assert len(spans.of("param_set")) == rows["param_set"]
    calls = [span for span in spans.of("call") if "llmflow_nb.position" in span.attributes]
    assert len(calls) == rows["items"]
    attempts = [span.attributes["llmflow_nb.attempts"] for span in spans.of("call")]
    assert len(spans.of("attempt")) == sum(n for n in attempts if n > 1)
    tokens = sum(span.attributes["gen_ai.usage.input_tokens"] for span in spans.of("model"))
    assert tokens == record.usage.tokens_in


@laws
@given(flows(), st.sampled_from(DRIVERS[:2]), st.integers(2, 60), st.booleans())
def test_interrupted_flows(step: Step, driver: str, n: int, before: bool) -> None:
    """Wherever an interrupt comes, every span ends once, and none after the run's."""
    spans, world = Spans(), World(most_at_once=2)
    subscribers = [InterruptWithin(n), spans.subscriber()] if before else [spans.subscriber(), InterruptWithin(n)]
    current = trace.get_current_span()
    run(driver, build(step, world), subscribers)
    assert trace.get_current_span() is current
    assert len({span.context.span_id for span in spans.ended}) == len(spans.ended) == spans.started
    (root,) = spans.of("run")
    assert max(span.end_time for span in spans.ended) == root.end_time
