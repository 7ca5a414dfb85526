"""Texts and values of users and models, wherever the library shows them: harmless, short, and without secrets."""

import dataclasses
import re
import warnings

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowWarning, LostActionError, Node, WiringTypeError

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
EVIL = "a\x1b[31m\u202eb\x07\x9b"
SEEN = r"a\x1b[31m\u202eb\x07\x9b"


class Fails(Node):
    def exec(self, prep_res):
        raise ValueError("boom")


class NoText(str):
    """A string none of whose methods work."""

    __slots__ = ()

    def __str__(self):
        raise RuntimeError("no str")

    __repr__ = __len__ = __getitem__ = __format__ = __str__


class NoItems(dict):
    def items(self):
        raise RuntimeError("no items")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"n": 10**5000}, ", with n=<int of 16610 bits>"),
        ({"text": NoText("abc")}, ", with text=<NoText: its repr raised RuntimeError>"),
        ({"text": "x" * 1_000_000}, f", with text='{'x' * 39}…'"),
        (NoItems(a=1), ""),
    ],
    ids=["huge number", "broken string", "long string", "broken dict"],
)
def test_a_param_without_a_text_does_not_hide_the_error(params, said):
    """The user's own error comes out, with a note that says of the params what can be said."""
    node = Fails()
    node.set_params(params)
    with pytest.raises(ValueError, match=r"^boom\n") as caught:
        node.run({})
    assert caught.value.__notes__[0].startswith(f"in Fails{said}; ")


def secrets_batch():
    class Ask(BatchNode):
        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            if item == 1:
                raise ValueError("boom")

    flow = BatchFlow(Ask(on_error="keep"), name="Each", on_error="keep")
    flow.prep = lambda shared: [{"api_key": "sk-123", "max_tokens": 77, "headers": {"Authorization": "Bearer sk-456"}}]
    return flow


def test_a_secret_param_is_masked_in_notes_and_displays():
    """Notes on errors, summaries, and the reprs of rows and visits show that there is a key, and not which."""
    flow = secrets_batch()
    flow.run({})
    run = flow.last_run
    errors = [error for _, _, error in run.failures]
    texts = ["".join(error.__notes__) for error in errors]
    texts += [str(data) for shown in (run, *run.batches) for data in shown._repr_mimebundle_().values()]
    texts += [repr(item) for batch in run.batches for item in batch] + [repr(run.visits)]
    assert not [text for text in texts if "sk-" in text]
    assert ", with api_key=***, max_tokens=77" in texts[0]
    assert run.batches[1].df["api_key"].tolist() == ["sk-123", "sk-123"]


def test_a_secret_param_is_masked_in_the_stepper():
    """The place of a stepper names the key of a param set, and masks its value."""
    stepper = secrets_batch().stepper({})
    stepper.into()
    stepper.into()
    assert "with api_key=***, max_tokens=77" in str(stepper.place)
    assert "sk-" not in f"{stepper} {stepper.place} {stepper.tree} {stepper._repr_mimebundle_()}"


@dataclasses.dataclass
class Settings:
    api_key: str
    retries: int


class Token(str):
    """A secret that hides itself."""

    __slots__ = ()

    def __repr__(self):
        return "Token(...)"


class BrokenToken(str):
    """A secret that fails to hide itself."""

    __slots__ = ()

    def __repr__(self):
        raise ValueError("sk-1")


@pytest.mark.parametrize(
    ("item", "seen"),
    [
        ({"password": "sk-1", "n": 1}, "{'password': ***, 'n': 1}"),
        (Settings("sk-1", 3), "Settings(api_key=***, retries=3)"),
        (Token("sk-1"), "Token(...)"),
        (BrokenToken("sk-1"), "<BrokenToken: its repr raised ValueError>"),
    ],
    ids=["dict", "dataclass", "string that hides itself", "string whose repr raises"],
)
def test_a_secret_within_an_item_is_masked(item, seen):
    """A field that is a secret by its name, and a value that hides itself in its repr, are not shown by a batch."""

    class Ask(BatchNode):
        def prep(self, shared):
            return [item]

        def exec(self, item):
            return item

    node = Ask()
    node.run({})
    batch = node.last_run.batch(node)
    texts = [*batch._repr_mimebundle_().values(), repr(batch[0])]
    assert not [text for text in texts if "sk-1" in text]
    assert seen in " ".join(texts[1:])
    assert batch.results == [item]


def test_controls_in_names_and_actions_are_visible_in_messages():
    """Warnings, errors, reprs, notes and problems write control and direction characters as escapes."""
    start = Node(name=EVIL)
    start.post = lambda *args: EVIL
    start - "known" >> Node()
    flow = Flow(start, name=EVIL)
    with pytest.warns(FlowWarning) as told:
        flow.run({})
    flow.strict = True
    with pytest.raises(LostActionError) as caught:
        flow.run({})
    with pytest.raises(WiringTypeError) as wiring:
        start >> EVIL
    failing = Fails(name=EVIL)
    with pytest.raises(ValueError, match="boom") as failed:
        failing.run({})
    texts = [str(told[0].message), str(caught.value), str(wiring.value), failed.value.__notes__[0]]
    texts += [repr(start), repr(start - EVIL), *flow.last_run.problems, *map(str, flow.check())]
    assert not [text for text in texts if CONTROL.search(text)]
    assert all(SEEN in text for text in texts)
    assert caught.value.action == EVIL


def test_a_large_action_is_cut_in_problems_and_messages():
    """An action of a million characters is cut where it is told of, and whole in the table."""
    start = Node()
    start.post = lambda *args: "x" * 1_000_000
    start - "known" >> Node()
    flow = Flow(start)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        flow.run({})
    texts = [str(told[0].message), *flow.last_run.problems, repr(flow.last_run.visits[0])]
    assert max(map(len, texts)) < 1_000
    assert len(flow.last_run.action) == 1_000_000
