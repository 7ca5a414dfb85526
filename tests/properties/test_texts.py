"""Whatever text a user or a model puts in, what the library shows of it is harmless, bounded, and without secrets."""

import asyncio
import re
import warnings

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmflow_nb import BatchFlow, BatchNode, Node

# Line ends and tabs stay where a text has several lines by design.
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
SECRET = "sk-5ecre7"
MOST_OF_A_LINE, MOST = 5_000, 400_000
WORDS = [
    *(
        "\x1b[31mred\x1b[0m",
        "\x9b31m",
        "bell\x07",
        "\x00",
        "a\u202eb\u2066c",
        "\u200e\u200f\u061c",
        "zero\u200bwidth\ufeff",
    ),
    *("lone\ud800", "two\nlines", "a\r\rb", "a\u2028b\u2029c\x85d", "</script><script>alert(1)</script>", "__proto__"),
    *("{0} %s {x!r}", "\\x1b", "'\"`", " ", "a/b", "a#2", "x" * 1_000_000, "\x1b" * 300_000, "\U000e0041\u3164"),
]
hostile = st.one_of(st.sampled_from(WORDS), st.text(st.characters(), min_size=1, max_size=12))
secret_names = st.sampled_from(
    ["api_key", "OPENAI_API_KEY", "token", "accessToken", "password", "Authorization", "client_secret", "cookie"]
)


class Ask(BatchNode):
    """Fails on its last item."""

    def __init__(self, words):
        super().__init__(name=words["node"], on_error="keep")
        self.words = words

    def prep(self, shared):
        return [self.words["item"], {self.params["secret"]: SECRET, self.words["key"]: [self.words["item"]]}, None]

    def exec(self, item):
        if item is None:
            raise ValueError(self.words["error"])
        return self.words["result"] if isinstance(item, str) else item

    def post(self, shared, prep_res, exec_res):
        shared[self.words["key"]] = self.words["result"]
        shared[self.params["secret"]] = SECRET
        return self.words["action"]


class Fails(Node):
    """Raises."""

    def exec(self, prep_res):
        raise ValueError(self.text)


def flow_of(words, secret):
    ask = Ask(words)
    ask - "known" >> Node(name="Known")
    each = BatchFlow(ask, name=words["flow"], on_error="keep")
    each.prep = lambda shared: [{"secret": secret, secret: SECRET, words["param"]: words["value"]}]
    return each


def told(errors):
    return [note for error in errors for note in getattr(error, "__notes__", ())]


def shown_of_runs(words, secret):
    """Every public text of a run that came to its end, of one that failed, and of one in the background."""
    flow = flow_of(words, secret)
    flow.run({})
    run = flow.last_run
    model, graph = flow.graph(), run.graph()
    lines = [repr(run), *map(repr, run.batches), *map(repr, run.visits), *run.problems, *map(str, flow.check())]
    lines += [repr(item) for batch in run.batches for item in batch]
    lines += [repr(flow), repr(flow.start_node), repr(flow.start_node - words["action"]), repr(model)]
    lines += told(error for _, _, error in run.failures)
    pages = [data for thing in (run, flow, *run.batches) for data in thing._repr_mimebundle_().values()]
    pages += [text for one in (model, graph) for text in (one.outline(), one.dot(), one.mermaid(), one.svg())]
    failing = Fails(name=words["node"])
    failing.text = words["error"]
    failing.set_params({secret: SECRET, words["param"]: words["value"]})
    try:
        failing.run({})
    except ValueError as error:
        lines += told([error])
    flow.start_node.strict = flow.strict = True
    handle = flow.submit({}, subscribers=[(seen := Seen())])
    handle.wait()
    lines += [repr(handle), *seen.events]
    lines += [str(handle.run.error)] if handle.run.error is not None else []
    try:
        asyncio.run(_awaited(handle))
    except Exception as error:
        lines += told([error])
    pages += handle._repr_mimebundle_().values()
    return lines, pages


async def _awaited(handle):
    return await handle


class Seen:
    """A subscriber that keeps what each event prints as."""

    def __init__(self):
        self.events = []

    def handle(self, event):
        self.events.append(repr(event))


def shown_of_a_stepper(words, secret):
    stepper = flow_of(words, secret).stepper({words["key"]: words["result"]})
    stepper.breakpoints.on_exception = False
    lines, pages = [], []
    for _ in range(8):
        stepper.into()
        lines += [str(stepper.place), repr(stepper), *stepper.notes]
    stepper.back()
    stepper.set(words["key"], words["value"])
    pages += [str(stepper.tree), *stepper._repr_mimebundle_().values()]
    return [*lines, *stepper.history["changed"]], pages


def check(lines, pages):
    for text in lines:
        assert not CONTROL.search(text), ascii(text[:2_000])
        assert "\n" not in text, ascii(text[:2_000])
        assert len(text) < MOST_OF_A_LINE, (len(text), ascii(text[:200]))
    for text in pages:
        assert not CONTROL.search(text), ascii(CONTROL.split(text)[0][-200:])
        assert len(text) < MOST, (len(text), ascii(text[:200]))
    assert not [ascii(text[:2_000]) for text in (*lines, *pages) if SECRET in text]


PLACES = ("node", "flow", "param", "value", "item", "result", "error", "key", "action")
words_of = st.fixed_dictionaries(dict.fromkeys(PLACES, hostile)).filter(
    lambda words: words["param"] not in ("secret", "api_key")
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(words=words_of, secret=secret_names)
def test_texts_of_runs(words, secret):
    """Reprs, notes, problems, warnings, events, displays and drawings of runs."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        lines, pages = shown_of_runs(words, secret)
    check([*lines, *(str(warning.message) for warning in said)], pages)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(words=words_of, secret=secret_names)
def test_texts_of_a_stepper(words, secret):
    """The place, the tree, the notes, the history and the display of a stepper."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        lines, pages = shown_of_a_stepper(words, secret)
    check([*lines, *(str(warning.message) for warning in said)], pages)
