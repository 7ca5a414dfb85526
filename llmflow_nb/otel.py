"""Write the spans of a run with OpenTelemetry: ``flow.run(shared, subscribers=[OpenTelemetry()])``.

A run is a trace, or a part of the trace that is current where the run starts. Its spans nest like this, and each has
the attribute ``llmflow_nb.kind``:

    run            the run of a node or flow
      visit        a visit of a node or flow; those of the steps of a flow are in that of the flow
        param_set  a param set of a batch flow, around the visits of its steps
        call       one use of ``exec``: of a batch node there is one for each item
          attempt  only if there was more than one
          model    the tokens that one model has used in the call, as `llmflow_nb.spend` has reported them

Spans that are opened in a hook, such as those of an instrumented client, are in the span of the visit, and in ``exec``
in the span of the call. A subscriber is not there when an attempt starts in its thread or task. So the context that is
attached for the hooks of a visit (`_HookContext`) looks up the span of the call whenever it is asked for the current
span. The engine tells it which call that is: by `METER`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from time import time_ns
from typing import Any
from urllib.parse import urlsplit

from .core.prices import cost_of
from .core.spend import METER
from .core.statuses import HAS_RESULT
from .core.text import characters, class_name, quoted, shown, text_of
from .core.traversal import last_name
from .core.usage import Usage, merged
from .engine.batch import positions_of
from .engine.calls import SETTLED, Call
from .engine.events import Event

try:
    from opentelemetry import context as contexts
    from opentelemetry import trace
except ModuleNotFoundError as exc:
    raise ImportError('Spans of runs need OpenTelemetry: pip install "llmflow_nb[otel]".') from exc

__all__ = ["OpenTelemetry"]

# ---- names -----------------------------------------------------------------------------------------------------------
#
# The GenAI semantic conventions, version 0.1.0: docs/gen-ai/client-inference.md and docs/gen-ai/gen-ai-agent-spans.md
# in github.com/open-telemetry/semantic-conventions-genai. They are in development, and may change their names.
OPERATION = "gen_ai.operation.name"
AGENT = "gen_ai.agent.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
TOKENS_IN = "gen_ai.usage.input_tokens"  # cached ones included
TOKENS_CACHED = "gen_ai.usage.cache_read.input_tokens"
TOKENS_OUT = "gen_ai.usage.output_tokens"
MESSAGES_IN = "gen_ai.input.messages"  # JSON
MESSAGES_OUT = "gen_ai.output.messages"
WORKFLOW, CHAT = "invoke_workflow", "chat"  # operations
# The semantic conventions, version 1.44.
ERROR_TYPE = "error.type"
EXCEPTION = "exception"  # an event, with these attributes
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
SERVER = "server.address"
PORT = "server.port"
# What no convention has a name for.
KIND = "llmflow_nb.kind"
PATH = "llmflow_nb.path"
PARAMS = "llmflow_nb.params"
POSITION = "llmflow_nb.position"
ATTEMPT = "llmflow_nb.attempt"
ATTEMPTS = "llmflow_nb.attempts"
STATUS = "llmflow_nb.status"
ACTION = "llmflow_nb.action"
REPLAYED = "llmflow_nb.replayed"
COST = "llmflow_nb.cost"  # US dollars

NAME_ENDS = {"visit": "", "param_set": " param set", "call": " call"}
"""What follows the name of the node or flow in the name of a span."""

PROVIDERS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.x.ai": "x_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
}
"""The names that the conventions have for providers, by the host of the API."""

TEXT_LENGTH = 500
"""The number of characters of a text, such as that of an error."""
CONTENT_LENGTH = 10_000
"""The number of characters of an item or a result."""

(_SPAN,) = trace.set_span_in_context(trace.INVALID_SPAN, contexts.Context())  # the key of the current span

_Key = tuple[str, str, tuple[int, ...], int | None]


@dataclass(slots=True)
class _Attempt:
    started: int
    ended: int = 0
    status: str = ""
    error: BaseException | None = None


@dataclass(slots=True)
class _Open:
    """A span that has not ended.

    Attributes:
        span: The span.
        started: When it started, in nanoseconds since 1970.
        attempts: The attempts of a call.
        outer: The context that was current before the span of a run or a visit.
        context: The context that is attached for its hooks.
    """

    span: trace.Span
    started: int
    attempts: list[_Attempt] = field(default_factory=list)
    outer: contexts.Context = field(default_factory=contexts.Context)
    context: contexts.Context = field(default_factory=contexts.Context)


class OpenTelemetry:
    """Write a span for each visit, param set, call and repeated attempt of a run, and for the tokens of each model.

    Make one for each run. Texts of errors, params and actions are cut, and secrets in params are masked.

    Args:
        tracer_provider: Where the spans go. None: the global provider of OpenTelemetry.
        content: Whether the spans of calls have the item and the result. They are confidential, and may be long.

    Example:
        >>> from llmflow_nb import Node
        >>> Node().run({}, subscribers=[OpenTelemetry()])  # without a provider, no span goes anywhere
    """

    def __init__(self, tracer_provider: trace.TracerProvider | None = None, *, content: bool = False) -> None:
        self._tracer = trace.get_tracer("llmflow_nb", tracer_provider=tracer_provider)
        self._content = content
        self._in_use = Lock()
        self._run: _Open | None = None
        self._open: dict[_Key, _Open] = {}  # within the run

    def handle(self, event: Event) -> None:
        """Start or end a span.

        Raises:
            RuntimeError: A run starts while another one has not ended.
        """
        kind, _, step = event.kind.rpartition("_")
        key = (kind, event.path, event.param_sets, event.position)
        if kind == "run":
            if step == "started":
                self._start_run(event)
            else:
                self._end_run(event)
        elif kind == "attempt":
            self._note_attempt(step, self._open.get(("call", *key[1:])), event)
        elif step == "started":
            self._open[key] = self._start(kind, event)
        elif key in self._open:  # otherwise it is the late result of a call that was cancelled
            self._end(kind, self._open.pop(key), event)

    # ---- starting ----------------------------------------------------------------------------------------------------

    def _start_run(self, event: Event) -> None:
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("it follows another run; write subscribers=[OpenTelemetry()] for each run")
        name = shown(event.path)
        attributes = {KIND: "run", OPERATION: WORKFLOW, AGENT: name}
        self._run = _Open(self._tracer.start_span(f"{WORKFLOW} {name}", attributes=attributes), time_ns())
        self._attach(self._run)

    def _start(self, kind: str, event: Event) -> _Open:
        name = shown(last_name(event.path))
        attributes: dict[str, Any] = {KIND: kind, PATH: shown(event.path, TEXT_LENGTH)}
        if event.position is not None:
            attributes[POSITION] = event.position
        params = quoted(event.value if kind == "param_set" else event.params, TEXT_LENGTH)
        if params not in ("None", "{}"):
            attributes[PARAMS] = params
        if kind == "call" and self._content:
            attributes[MESSAGES_IN] = _messages("user", event.value)
        within = trace.set_span_in_context(self._parent(kind, event).span)
        opened = _Open(self._tracer.start_span(f"{name}{NAME_ENDS[kind]}", within, attributes=attributes), time_ns())
        if kind == "visit":
            self._attach(opened)
        return opened

    def _parent(self, kind: str, event: Event) -> _Open:
        """Return what a visit, a param set or a call is in."""
        path, around = event.path, event.param_sets
        if kind == "visit":
            path = path.rpartition("/")[0]
        param_set = self._open.get(("param_set", path, around[:-1], around[-1])) if around else None
        parent = param_set or self._open.get(("visit", path, around, None)) or self._run
        assert parent is not None
        return parent

    def _attach(self, opened: _Open) -> None:
        """Make a span the current one for the hooks that follow in this context."""
        opened.outer = contexts.get_current()
        opened.context = _HookContext(self._open, trace.set_span_in_context(opened.span))
        contexts.attach(opened.context)

    def _note_attempt(self, step: str, call: _Open | None, event: Event) -> None:
        if call is None:
            return
        if step == "started":
            call.attempts.append(_Attempt(time_ns()))
        elif call.attempts:
            attempt = call.attempts[-1]
            attempt.ended, attempt.status, attempt.error = time_ns(), event.status, event.error

    # ---- ending ------------------------------------------------------------------------------------------------------

    def _end_run(self, event: Event) -> None:
        run, self._run = self._run, None
        if run is None:  # an interrupt came before its start
            return
        while self._open:  # left by an interrupt; the innermost first
            _, opened = self._open.popitem()
            _set_outcome(opened.span, "cancelled", None)
            opened.span.end()
        if event.value is not None:
            run.span.set_attribute(ACTION, shown(event.value))
        _set_outcome(run.span, event.status, event.error)
        run.span.end()
        current = contexts.get_current()
        if isinstance(current, _HookContext) and current.calls is self._open:
            contexts.attach(run.outer)
        self._in_use.release()

    def _end(self, kind: str, opened: _Open, event: Event) -> None:
        span = opened.span
        if kind == "call":
            self._end_call(opened, event)
        for usage in merged(event.usage):
            if not usage.replayed:
                self._write_usage(usage, opened)
        if kind == "visit":
            if event.value is not None:
                span.set_attribute(ACTION, shown(event.value))
            if contexts.get_current() is opened.context:  # not if a stop ends the visit from outside of its context
                contexts.attach(opened.outer)
        _set_outcome(span, event.status, event.error)
        span.end()

    def _end_call(self, call: _Open, event: Event) -> None:
        span, attempts = call.span, call.attempts
        span.set_attribute(ATTEMPTS, len(attempts))
        if not attempts and event.status in HAS_RESULT:
            span.set_attribute(REPLAYED, True)
        if self._content:
            span.set_attribute(MESSAGES_OUT, _messages("assistant", event.value))
        if len(attempts) > 1:
            within = trace.set_span_in_context(span)
            for n, attempt in enumerate(attempts, 1):
                attributes: dict[str, Any] = {KIND: "attempt", ATTEMPT: n}
                inner = self._tracer.start_span("attempt", within, attributes=attributes, start_time=attempt.started)
                _set_outcome(inner, attempt.status or event.status, attempt.error)
                inner.end(attempt.ended or time_ns())

    def _write_usage(self, usage: Usage, opened: _Open) -> None:
        """Write the span of a model. When the requests were made is unknown: it starts and ends with the attempts."""
        attributes = dict(_of_usage(usage))
        name = f"{CHAT} {attributes[REQUEST_MODEL]}" if usage.model else CHAT
        within = trace.set_span_in_context(opened.span)
        started = opened.attempts[0].started if opened.attempts else opened.started
        self._tracer.start_span(name, within, trace.SpanKind.CLIENT, attributes, start_time=started).end()


class _HookContext(contexts.Context):
    """The context of the hooks of a visit. In an attempt of a call, the span of that call is the current one.

    Attributes:
        calls: The open spans of the run, those of its calls among them.
    """

    def __init__(self, calls: dict[_Key, _Open], values: contexts.Context) -> None:
        super().__init__(values)
        self.calls = calls

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value. The current span depends on the call that asks."""
        value = super().get(key, default)
        call = METER.get() if key == _SPAN else None
        if not isinstance(call, Call) or call.state is SETTLED:
            return value
        around = positions_of(call.branch.position.param_set())
        found = self.calls.get(("call", call.plan.path, around, call.item_index))
        return value if found is None else found.span

    def copy(self) -> Any:
        """Return the values as they are now: what is opened in a call does not ask again."""
        return {**self, _SPAN: self.get(_SPAN)}


def _set_outcome(span: trace.Span, status: str, error: BaseException | None) -> None:
    span.set_attribute(STATUS, status)
    if error is None or status == "ok":  # an earlier attempt has failed
        return
    name, text = class_name(error), shown(text_of(error), TEXT_LENGTH)
    span.add_event(EXCEPTION, {EXCEPTION_TYPE: name, EXCEPTION_MESSAGE: text})
    if status == "failed":
        span.set_attribute(ERROR_TYPE, name)
        span.set_status(trace.StatusCode.ERROR, f"{name}: {text}")


def _of_usage(usage: Usage) -> Iterable[tuple[str, Any]]:
    yield KIND, "model"
    yield OPERATION, CHAT
    if usage.model:
        yield REQUEST_MODEL, shown(usage.model)
        yield RESPONSE_MODEL, shown(usage.model)
    yield TOKENS_IN, usage.input
    yield TOKENS_OUT, usage.output
    if usage.cached:
        yield TOKENS_CACHED, usage.cached
    cost = cost_of(usage)
    if cost is not None:
        yield COST, cost
    if usage.provider is not None:
        host, port = _server(usage.provider)
        if host:
            yield SERVER, shown(host)
            yield PORT, port
        yield PROVIDER, shown(PROVIDERS.get(host, host or usage.provider))


def _server(provider: str) -> tuple[str, int]:
    """Return the host and the port of an address, without the login that it may have; "" and 0 if it is a name."""
    try:
        parts = urlsplit(provider)
        return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)
    except ValueError:
        return "", 0


def _messages(role: str, value: Any) -> str:
    """Return a value as the messages of the conventions: JSON, with the text as one part."""
    if issubclass(type(value), str):
        text = shown(characters(value), CONTENT_LENGTH, keep_lines=True)
    else:
        text = quoted(value, CONTENT_LENGTH, elements=100)
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}], ensure_ascii=False)
