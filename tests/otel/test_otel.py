"""The spans of a run: which there are, how they nest, and what they say."""

import asyncio
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from opentelemetry import trace

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowWarning, Journal, Node, spend
from tests.engine.helpers import MODES, Signal, go, items_node
from tests.otel.spans import InterruptWithin, Spans, check


class Sets(BatchFlow):
    def prep(self, shared):
        return [{"n": 0}, {"n": 1}]


class Ask(Node):
    def exec(self, prep_res):
        if self.params["n"] == 1 and self.cur_retry == 0:
            raise ValueError("busy")
        return self.params["n"] * 10

    def post(self, shared, prep_res, exec_res):
        return "asked"


@pytest.fixture
def spans():
    return Spans()


def values(span):
    """The attributes without the prefix of this library."""
    return {name.removeprefix("llmflow_nb."): value for name, value in span.attributes.items()}


# ---- which spans there are, and how they nest ------------------------------------------------------------------------


def test_spans_of_a_batch_flow(spans):
    """A run has its visits, a batch flow its param sets, these the visits of the steps, and a visit its calls."""
    flow = Sets(Ask(max_retries=2))
    flow.run({}, subscribers=[spans.subscriber()])
    assert spans.lines() == [
        "invoke_workflow Sets ok",
        "  Sets ok",
        "    Sets param set [0] ok",
        "      Ask ok",
        "        Ask call ok",
        "    Sets param set [1] ok",
        "      Ask ok",
        "        Ask call ok",
        "          attempt failed",
        "          attempt ok",
    ]
    check(spans, flow.last_run)


def test_attributes(spans):
    """A span has the path, the params and the outcome of what it stands for."""
    Sets(Ask(max_retries=2)).run({}, subscribers=[spans.subscriber()])
    (run,), visit = spans.of("run"), spans.of("visit")[-1]
    assert values(run) == {
        "kind": "run",
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": "Sets",
        "status": "ok",
    }
    assert values(spans.of("param_set")[1]) == {
        "kind": "param_set",
        "path": "Sets",
        "position": 1,
        "params": "{'n': 1}",
        "status": "ok",
    }
    of_visit = {"path": "Sets/Ask", "params": "{'n': 1}", "status": "ok"}
    assert values(visit) == {"kind": "visit", "action": "asked", **of_visit}
    assert values(spans.of("call")[-1]) == {"kind": "call", "attempts": 2, **of_visit}
    assert values(spans.of("attempt")[0]) == {
        "kind": "attempt",
        "attempt": 1,
        "status": "failed",
        "error.type": "ValueError",
    }
    assert {span.instrumentation_scope.name for span in spans.ended} == {"llmflow_nb"}


@pytest.mark.parametrize("mode", MODES)
def test_walks_side_by_side(spans, mode):
    """Each call is in the span of its own visit, also if the params of all walks are equal."""

    class Equal(BatchFlow):
        def prep(self, shared):
            return [{}, {}, {}]

    flow = Equal(items_node(mode, lambda node, item: item, name="Map"), max_concurrency=3)
    go(mode, flow, {"items": [1, 2]}, subscribers=[spans.subscriber()])
    visits = [spans.parent(call).context.span_id for call in spans.of("call")]
    sets = [spans.parent(span).context.span_id for span in spans.of("visit")[1:]]
    assert sorted(visits.count(visit) for visit in set(visits)) == [2, 2, 2]
    assert sorted(sets.count(one) for one in set(sets)) == [1, 1, 1]
    assert {span.name for span in map(spans.parent, spans.of("call"))} == {"Map"}
    assert {span.name for span in map(spans.parent, spans.of("visit")[1:])} == {"Equal param set"}
    check(spans, flow.last_run)


def test_one_for_each_run(spans):
    """One that follows a run is unsubscribed from another run, with advice; one that is free follows the next run."""
    subscriber, outer = spans.subscriber(), Node()

    class Inside(Node):
        def exec(self, prep_res):
            outer.run({}, subscribers=[subscriber])

    with pytest.warns(FlowWarning, match=r"write subscribers=\[OpenTelemetry\(\)\] for each run"):
        Inside().run({}, subscribers=[subscriber])
    outer.run({}, subscribers=[subscriber])
    assert [span.name for span in spans.of("run")] == ["invoke_workflow Inside", "invoke_workflow Node"]


# ---- the current span ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sets_at_once", [1, 2])
@pytest.mark.parametrize("hooks_are_async", [False, True])
def test_spans_of_the_user_nest(spans, mode, sets_at_once, hooks_are_async):
    """A span that a hook opens is in the visit's span; one that exec opens is in that of its call."""
    tracer = spans.tracer

    def work(node, item):
        with tracer.start_as_current_span(f"client {node.params['n']} {item}"):
            tracer.start_span("inner").end()
        if item == 1 and node.cur_retry == 0:
            raise ValueError(item)
        return item

    class Map(type(items_node(mode, work))):
        def prep(self, shared):
            with tracer.start_as_current_span(f"prep {self.params['n']}"):
                return iter(shared["items"])

        def post(self, shared, prep_res, exec_res):
            tracer.start_span(f"post {self.params['n']}").end()

    class AsyncMap(Map):
        async def prep(self, shared):
            return super().prep(shared)

        async def post(self, shared, prep_res, exec_res):
            super().post(shared, prep_res, exec_res)

    limit = 1 if mode == "inline" else 3
    node = (AsyncMap if hooks_are_async else Map)(name="Map", max_retries=2, max_concurrency=limit)
    flow = Sets(node, max_concurrency=sets_at_once)
    before = trace.get_current_span()
    go(mode, flow, {"items": [0, 1, 2]}, subscribers=[spans.subscriber()])

    assert trace.get_current_span() is before
    opened = [span for span in spans.ended if span.name.startswith("client")]
    assert len(opened) == 8
    for span in opened:
        _, n, item = span.name.split()
        call = spans.parent(span)
        assert call.name == "Map call"
        assert (values(call)["position"], values(call)["params"]) == (int(item), f"{{'n': {n}}}")
    assert {spans.parent(span).name.split()[0] for span in spans.named("inner")} == {"client"}
    for hook in ("prep", "post"):
        for n in (0, 1):
            (span,) = spans.named(f"{hook} {n}")
            visit = spans.parent(span)
            assert (visit.name, values(visit)["params"]) == ("Map", f"{{'n': {n}}}")


def test_attributes_that_exec_adds(spans):
    """In exec, the current span is that of the call, so the user can add attributes to it."""

    class Ask(Node):
        def exec(self, prep_res):
            trace.get_current_span().set_attribute("mine", 1)

    Ask().run({}, subscribers=[spans.subscriber()])
    assert values(spans.of("call")[0])["mine"] == 1


@pytest.mark.parametrize("drive", ["run", "submit"])
def test_a_run_in_a_span(spans, drive):
    """A run is in the span that is current where it is started, and leaves that span current."""
    with spans.tracer.start_as_current_span("request") as request:
        if drive == "run":
            Node().run({}, subscribers=[spans.subscriber()])
        else:
            Node().submit({}, subscribers=[spans.subscriber()]).wait()
        assert trace.get_current_span() is request
    assert spans.lines()[:2] == ["request", "  invoke_workflow Node ok"]


@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_a_run_in_a_call(spans, max_concurrency):
    """A run inside a call is in the span of that call."""

    class Inner(BatchNode):
        def prep(self, shared):
            return [7, 8]

        def exec(self, item):
            spans.tracer.start_span("client").end()

    class Outer(BatchNode):
        def prep(self, shared):
            return [0, 1]

        def exec(self, item):
            Inner(max_concurrency=max_concurrency).run({}, subscribers=[spans.subscriber()])
            spans.tracer.start_span(f"after {item}").end()

    Outer(max_concurrency=max_concurrency).run({}, subscribers=[spans.subscriber()])
    inner = spans.named("invoke_workflow Inner")
    around = [spans.parent(run) for run in inner]
    # Two calls side by side start their runs in any order.
    assert sorted((span.name, values(span)["position"]) for span in around) == [("Outer call", 0), ("Outer call", 1)]
    assert [spans.parent(span).name for span in spans.named("client")] == ["Inner call"] * 4
    assert [values(spans.parent(spans.named(f"after {n}")[0]))["position"] for n in (0, 1)] == [0, 1]


# ---- failures, stops and interrupts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_failure(spans, mode):
    """What has failed has an error status, the type of the exception, and its text as an event."""

    def work(node, item):
        raise LookupError(f"item {item}")

    node = items_node(mode, work, name="Map")
    with pytest.raises(LookupError):
        go(mode, node, {"items": [3]}, subscribers=[spans.subscriber()])
    assert spans.lines() == ["invoke_workflow Map failed", "  Map failed", "    Map call [0] failed"]
    for span in spans.ended:
        assert span.status.status_code is trace.StatusCode.ERROR
        assert span.status.description == "LookupError: item 3"
        assert span.attributes["error.type"] == "LookupError"
        assert [(event.name, dict(event.attributes)) for event in span.events] == [
            ("exception", {"exception.type": "LookupError", "exception.message": "item 3"})
        ]


def test_a_fallback_is_no_error(spans):
    """A call that its fallback answered has the exception as an event, and no error status."""

    class Ask(Node):
        def exec(self, prep_res):
            raise ValueError("busy")

        def exec_fallback(self, prep_res, exc):
            return "made up"

    Ask().run({}, subscribers=[spans.subscriber()])
    (call,) = spans.of("call")
    assert values(call)["status"] == "fallback"
    assert [event.name for event in call.events] == ["exception"]
    assert {span.status.status_code for span in spans.ended} == {trace.StatusCode.UNSET}


@pytest.mark.parametrize("sets_at_once", [1, 2])
@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_cancelled_run(spans, sets_at_once, concurrency):
    """A run that is cancelled has ended all of its spans, as cancelled or interrupted, which is no error."""
    begun = Signal()

    class Map(BatchNode):
        def prep(self, shared):
            return [0, 1, 2]

        async def exec(self, item):
            if item:
                begun.set()
                await asyncio.Event().wait()

    async def main():
        run = asyncio.ensure_future(flow.run_async({}, subscribers=[spans.subscriber()]))
        await begun.seen()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    flow = Sets(Map(max_concurrency=concurrency), max_concurrency=sets_at_once)
    asyncio.run(main())
    check(spans, flow.last_run)
    assert values(spans.of("run")[0])["status"] == "interrupted"
    assert {values(span)["status"] for span in spans.ended} == {"ok", "cancelled", "interrupted"}
    assert {span.status.status_code for span in spans.ended} == {trace.StatusCode.UNSET}


def test_a_stopped_run(spans):
    """So has a run that is stopped."""
    begun, go_on = Signal(), Signal()

    class Wait(Node):
        def exec(self, prep_res):
            begun.set()
            go_on.wait()

    submitted = Wait().submit({}, subscribers=[spans.subscriber()])
    begun.wait()
    submitted.stop()
    go_on.set()
    assert submitted.wait()
    check(spans, submitted.run)
    assert values(spans.of("run")[0])["status"] == "stopped"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("before", [False, True])
def test_interrupts_at_events(mode, before):
    """Wherever an interrupt comes, before or after a span starts or ends, all spans have ended."""
    n = 0
    while True:
        n += 1
        spans, interrupt = Spans(), InterruptWithin(n)
        flow = Sets(items_node(mode, lambda node, item: item), max_concurrency=2)
        subscribers = [interrupt, spans.subscriber()] if before else [spans.subscriber(), interrupt]
        current = trace.get_current_span()
        with suppress(KeyboardInterrupt):
            go(mode, flow, {"items": [0, 1]}, subscribers=subscribers)
        assert trace.get_current_span() is current
        assert len(spans.ended) == spans.started
        if interrupt.n:
            break
    assert n > 20


# ---- models ----------------------------------------------------------------------------------------------------------

OF_GPT = {
    "kind": "model",
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 30,
    "gen_ai.usage.output_tokens": 3,
    "cost": 0.5,
}


def usage_of(spans, *reports):
    class Ask(Node):
        def exec(self, prep_res):
            for report in reports:
                spend(**report)

    Ask().run({}, subscribers=[spans.subscriber()])
    assert {spans.parent(span).name for span in spans.of("model")} <= {"Ask call"}
    return [values(span) for span in spans.of("model")]


def test_tokens(spans):
    """What a model has used in a call is a span of its own, named and attributed as the conventions say."""
    once = {"model": "gpt-4o", "input": 15, "cost": 0.25}
    assert usage_of(spans, {**once, "output": 1}, {**once, "output": 2}) == [OF_GPT]
    (span,) = spans.of("model")
    assert (span.name, span.kind) == ("chat gpt-4o", trace.SpanKind.CLIENT)


def test_several_models(spans):
    """Each model of a call has a span."""
    found = usage_of(spans, {"model": "gpt-4o", "input": 1}, {"input": 2, "cached": 1, "provider": "mine"})
    assert [span.name for span in spans.of("model")] == ["chat gpt-4o", "chat"]
    assert found[1] == {
        "kind": "model",
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 0,
        "gen_ai.usage.cache_read.input_tokens": 1,
        "gen_ai.provider.name": "mine",
    }


@pytest.mark.parametrize(
    ("provider", "name", "server"),
    [
        ("openai", "openai", (None, None)),
        ("https://api.openai.com/v1", "openai", ("api.openai.com", 443)),
        ("http://localhost/v1", "localhost", ("localhost", 80)),
        ("https://me:secret@models.example:8000/v1", "models.example", ("models.example", 8000)),
        ("http://[", "http://[", (None, None)),
        ("http://host:port", "http://host:port", (None, None)),
    ],
)
def test_providers(spans, provider, name, server):
    """The address of an API becomes the name that the conventions have for it, or its host, without a login."""
    (found,) = usage_of(spans, {"model": "m", "provider": provider})
    assert found["gen_ai.provider.name"] == name
    assert (found.get("server.address"), found.get("server.port")) == server


def test_tokens_of_prep_and_post(spans):
    """What prep and post have reported is in the span of the visit: so the spans have the sums of the run."""

    class Ask(BatchNode):
        def prep(self, shared):
            spend(model="a", input=1)
            return [1, 2]

        def exec(self, item):
            spend(model="b", input=10)
            if item == 2:
                raise ValueError

        def post(self, shared, prep_res, exec_res):
            spend(model="c", input=100)

    flow = Flow(Ask(on_error="keep"))
    flow.run({}, subscribers=[spans.subscriber()])
    assert [(span.name, spans.parent(span).name) for span in spans.of("model")] == [
        ("chat a", "Ask"),
        ("chat c", "Ask"),
        ("chat b", "Ask call"),
        ("chat b", "Ask call"),
    ]
    tokens = sum(values(span)["gen_ai.usage.input_tokens"] for span in spans.of("model"))
    assert tokens == flow.last_run.usage.tokens_in == 121


def test_tokens_of_a_hook_that_fails(spans):
    """So is what was reported before a hook failed."""

    class Ask(Node):
        def prep(self, shared):
            spend(model="a", input=1)
            raise LookupError

    with pytest.raises(LookupError):
        Ask().run({}, subscribers=[spans.subscriber()])
    assert [(span.name, spans.parent(span).name) for span in spans.of("model")] == [("chat a", "Ask")]


def test_replayed_calls(spans, tmp_path):
    """A call that a journal answers has no tokens, and says that it was replayed."""

    class Ask(Node):
        def exec(self, prep_res):
            spend(model="gpt-4o", input=10)
            return 1

    journal = Journal(tmp_path / "journal.db")
    Ask().run({}, journal=journal)
    Ask().run({}, journal=journal, subscribers=[spans.subscriber()])
    assert spans.of("model") == []
    (call,) = spans.of("call")
    assert (values(call)["attempts"], values(call)["replayed"]) == (0, True)


def test_calls_in_an_executor(spans):
    """Calls that an executor makes have their spans, with their tokens."""

    class Ask(BatchNode):
        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            spend(model="m", input=item)

    with ThreadPoolExecutor(2) as pool:
        Ask(max_concurrency=2).run({}, executor=pool, subscribers=[spans.subscriber()])
    assert sorted(values(span)["gen_ai.usage.input_tokens"] for span in spans.of("model")) == [1, 2]


# ---- texts and content -----------------------------------------------------------------------------------------------


def content_of(spans, item, result, **options):
    node = items_node("inline", lambda node, _: result, name="Map")
    node.run({"items": [item]}, subscribers=[spans.subscriber(**options)])
    (call,) = spans.of("call")
    names = ("gen_ai.input.messages", "gen_ai.output.messages")
    return [json.loads(call.attributes[name]) for name in names if name in call.attributes]


def test_content_is_left_out(spans):
    """Items and results are in no span."""
    assert content_of(spans, "my prompt", "my answer") == []
    assert not [span for span in spans.ended if "my" in span.to_json()]


def test_content(spans):
    """With ``content=True`` they are in the span of the call, as messages."""
    assert content_of(spans, "my\nprompt", {"answer": 1, "api_key": "sk-1"}, content=True) == [
        [{"role": "user", "parts": [{"type": "text", "content": "my\nprompt"}]}],
        [{"role": "assistant", "parts": [{"type": "text", "content": "{'answer': 1, 'api_key': ***}"}]}],
    ]


class Strange:
    """Everything that one can ask of it raises."""

    def __repr__(self):
        raise ValueError("no repr")

    __str__ = __repr__

    def __eq__(self, other):
        raise ValueError("no comparison")

    __hash__ = None


@pytest.mark.parametrize("value", [Strange(), "\ud800", "x" * 1_000_000, {"a": "\ud800" * 9}, b"\xff", float("nan")])
def test_strange_values(spans, value):
    """No value makes it raise, and every text can be encoded and is cut."""
    names = Flow(items_node("inline", lambda node, item: item, name="\ud800 map"), name="y" * 100_000)
    names.params = {"value": value}
    names.run({"items": [value]}, subscribers=[spans.subscriber(content=True)])
    assert [span.attributes["llmflow_nb.status"] for span in spans.ended] == ["ok"] * 4
    for span in spans.ended:
        span.to_json().encode()
        texts = [span.name, *(text for text in span.attributes.values() if isinstance(text, str))]
        assert max(map(len, map(str.encode, texts))) < 50_000


def test_strange_errors(spans):
    """So it is with exceptions."""

    class Odd(Exception):
        def __str__(self):
            raise ValueError

    class Ask(Node):
        def exec(self, prep_res):
            raise Odd

    with pytest.raises(Odd):
        Ask().run({}, subscribers=[spans.subscriber()])
    assert spans.of("call")[0].events[0].attributes["exception.type"] == "Odd"


def test_secrets_in_params(spans):
    """The values of params that are named like secrets are masked."""

    class Keys(BatchFlow):
        def prep(self, shared):
            return [{"api_key": "sk-1", "n": 1}]

    Keys(Node()).run({}, subscribers=[spans.subscriber()])
    assert {values(span).get("params") for span in spans.ended} == {None, "{'api_key': ***, 'n': 1}"}


# ---- the package -----------------------------------------------------------------------------------------------------


def test_without_opentelemetry():
    """Without OpenTelemetry, the import says which extra to install."""
    code = "import sys; sys.modules['opentelemetry'] = None; import llmflow_nb.otel"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'ImportError: Spans of runs need OpenTelemetry: pip install "llmflow_nb[otel]".' in done.stderr


def test_spans_of_a_comparison(spans):
    """Each variant is a trace of its own."""

    class Say(Node):
        word = "yes"

        def exec(self, prep_res):
            return self.word

    Flow(start=Say()).compare({}, old={}, new={"Say.word": "no"}, subscribers=[spans.subscriber()])
    lines = ["  Flow ok", "    Say ok", "      Say call ok"]
    assert spans.lines() == ["invoke_workflow Flow (old) ok", *lines, "invoke_workflow Flow (new) ok", *lines]


@pytest.mark.parametrize("at_once", [1, 2])
def test_spans_of_a_resumed_run(spans, at_once):
    """What was in progress has a span again, around what is run from then on, and each token has one span."""
    broken = [True]

    class Outer(Flow):
        def prep(self, shared):
            spend(model="m", input=1)

        def post(self, shared, prep_res, exec_res):
            spend(model="m", input=10)

    class First(Node):
        def exec(self, _):
            spend(model="m", input=100)

    class Second(BatchNode):
        def prep(self, shared):
            return [0, 1]

        def exec(self, item):
            spend(model="m", input=1000)
            if broken and item == self.params["n"] == 1:
                raise ValueError(broken.pop())
            return trace.get_current_span().set_attribute("mine", True)

    first = First()
    first >> Second()
    flow = Outer(Sets(start=first, max_concurrency=at_once))
    with pytest.raises(ValueError, match="True"):
        flow.run({}, subscribers=[spans.subscriber()])
    resumed = Spans()
    flow.last_run.resume(subscribers=[resumed.subscriber()])
    assert resumed.lines() == [
        "invoke_workflow Outer ok",
        "  Outer ok",
        "    chat m",
        "    Sets ok",
        "      Sets param set [1] ok",
        "        Second ok",
        "          Second call [1] ok",
        "            chat m",
    ]
    assert resumed.named("Second call")[0].attributes["mine"]
    tokens = sum(span.attributes["gen_ai.usage.input_tokens"] for both in (spans, resumed) for span in both.of("model"))
    assert tokens == flow.last_run.usage.tokens_in == 5211


def test_spans_of_a_batch_that_is_resumed(spans):
    """What is called again, and what follows."""

    class Rows(BatchNode):
        def prep(self, shared):
            return [0, 1]

        def exec(self, item):
            return 1 // item

    rows = Rows(on_error="keep")
    rows >> Ask(name="Next", max_retries=2)
    flow = Flow(rows, name="flow")
    flow.set_params({"n": 1})
    flow.run({})
    flow.last_run.batch("Rows").resume(subscribers=[spans.subscriber()])
    assert spans.lines() == [
        "invoke_workflow flow ok",
        "  flow ok",
        "    Rows ok",
        "      Rows call [0] failed",
        "    Next ok",
        "      Next call ok",
        "        attempt failed",
        "        attempt ok",
    ]
