"""The spans of random flows: each visit, param set and call has one, it is in its parent's, and all have ended."""

import asyncio
import warnings
from collections import Counter
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace

from llmflow_nb import FlowError, spend
from llmflow_nb.core.traversal import last_name
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
    """Every hook, and every item that the generator of a prep yields, spends a token of a model named like its step."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.spent: list[tuple[str, str]] = []

    def note(self, hook, name, *entry) -> None:
        self.spent.append((hook, name))
        spend(model=name, input=1)
        super().note(hook, name, *entry)


def tokens_by_model(usages) -> Counter:
    found = Counter()
    for usage in usages:
        found[usage.model] += usage.input
    return found


def check_rows(record, world: Spending, expanding: set[str]) -> None:
    """What the hooks have spent is in the sum of the run, and in the row it belongs to.

    Args:
        record: The record of the run.
        world: The hooks.
        expanding: The batch flows that have an exec. What this spends belongs to a param set and to no visit.
    """
    assert record.usage.tokens_in == len(world.spent)
    of_visits = Counter()
    for visit in record.visits:
        used = tokens_by_model(visit.usage)
        assert used.keys() <= {visit.node}, visit
        of_visits += used
    of_sets = Counter(name for hook, name in world.spent if hook in ("exec", "fallback") and name in expanding)
    assert of_visits == Counter(name for _, name in world.spent) - of_sets
    for batch in record.batches:
        for item in batch:
            assert batch.is_of_params or tokens_by_model(item.usage).keys() <= {last_name(batch.path)}


def tokens_in_spans(spans: Spans) -> Counter:
    """The tokens in the spans, by model: each is within a span of the node that the model is named like."""
    found = Counter()
    for span in spans.of("model"):
        around, model = spans.parent(span), span.attributes["gen_ai.request.model"]
        assert last_name(around.attributes["llmflow_nb.path"]) == model
        found[model] += span.attributes["gen_ai.usage.input_tokens"]
    return found


def expanding_flows(step: Step) -> set[str]:
    own = {step.name} if step.kind == "batch_flow" and step.expand else set()
    return own.union(*map(expanding_flows, step.steps))


@laws
@given(flows(), st.sampled_from(DRIVERS), st.sampled_from([None, 1, 3]))
def test_spans_of_random_flows(step: Step, driver: str, width: int | None) -> None:
    """There are as many spans as the record has visits, param sets and items, and each token is where it belongs."""
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
    check_rows(record, world, expanding_flows(step))
    assert tokens_in_spans(spans) == Counter(name for _, name in world.spent)


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


@laws
@given(flows(), st.sampled_from(DRIVERS), st.sampled_from([None, 1, 3]))
def test_usage_of_random_flows(step: Step, driver: str, width: int | None) -> None:
    """Also without subscribers, where calls are made on the spot: each token counts once, in the row it belongs to."""
    world = Spending(most_at_once=2)
    node = build(step, world, width)
    run(driver, node, ())
    check_rows(node.last_run, world, expanding_flows(step))


@laws
@given(flows(), st.sampled_from(DRIVERS), st.sampled_from([None, 1, 3]), st.booleans())
def test_usage_of_resumed_flows(step: Step, driver: str, width: int | None, watched: bool) -> None:
    """However often a run is resumed, each token counts once, and is in a span of one of the traces."""
    traces, world = [Spans()], Spending(most_at_once=2)
    node = build(step, world, width)
    run(driver, node, [traces[0].subscriber()] if watched else ())
    record = node.last_run
    while record.status != "ok" and len(traces) < 4:
        traces.append(Spans())
        with warnings.catch_warnings(), suppress(Boom, FlowError):
            warnings.simplefilter("ignore")
            record.resume(subscribers=[traces[-1].subscriber()] if watched else (), progress=False)
    assert record.usage.tokens_in == len(world.spent)
    if watched:
        in_spans = Counter()
        for spans in traces:
            assert len(spans.ended) == spans.started
            check_parents(spans)
            in_spans += tokens_in_spans(spans)
        assert in_spans == Counter(name for _, name in world.spent)
