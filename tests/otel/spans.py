"""The spans that a test has collected, and how they nest."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmflow_nb.otel import OpenTelemetry
from tests.engine.helpers import InterruptAt


class InterruptWithin(InterruptAt):
    """Interrupts a run before its end is told: what is interrupted there keeps others from being told."""

    def handle(self, event):
        if event.kind != "run_finished":
            super().handle(event)


class Spans:
    """A provider of spans that keeps them.

    Attributes:
        provider: The provider.
        started: How many spans were started.
    """

    def __init__(self):
        spans = self
        self.started = 0

        class Counting(SimpleSpanProcessor):
            def on_start(self, span, parent_context=None):
                spans.started += 1

        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(Counting(self._exporter))
        self.tracer = self.provider.get_tracer("user")

    def subscriber(self, **options):
        return OpenTelemetry(self.provider, **options)

    @property
    def ended(self):
        """All spans that have ended, in the order in which they started."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)

    def parent(self, span):
        """The span around another one; None: it is the root, or its parent has not ended."""
        by_id = {other.context.span_id: other for other in self.ended}
        return None if span.parent is None else by_id[span.parent.span_id]

    def of(self, kind):
        return [span for span in self.ended if span.attributes.get("llmflow_nb.kind") == kind]

    def named(self, name):
        return [span for span in self.ended if span.name == name]

    def lines(self):
        """A line for each span: its name, indented by its depth, with its position and status."""
        children = {}
        for span in self.ended:
            children.setdefault(None if span.parent is None else span.parent.span_id, []).append(span)

        def below(parent, indent):
            for span in children.get(parent, ()):
                position = span.attributes.get("llmflow_nb.position")
                which = "" if position is None else f" [{position}]"
                yield f"{indent}{span.name}{which} {span.attributes.get('llmflow_nb.status', '')}".rstrip()
                yield from below(span.context.span_id, indent + "  ")

        return list(below(None, ""))


def check(spans, record):
    """Every span has ended, once; each is within its parent's time; there are as many as the record says."""
    ended = spans.ended
    assert len({span.context.span_id for span in ended}) == len(ended) == spans.started
    (root,) = spans.of("run")
    assert {span.context.trace_id for span in ended} == {root.context.trace_id}
    for span in ended:
        if span is not root:
            parent = spans.parent(span)
            assert parent.start_time <= span.start_time <= span.end_time <= parent.end_time, (parent, span)
    assert sorted(span.attributes["llmflow_nb.path"] for span in spans.of("visit")) == sorted(
        visit.path for visit in record.visits
    )
