"""Variants that make no sense are refused before anything is called."""

import itertools

import pytest

from llmflow_nb import BatchNode, Flow, Node, SettingError, WiringError
from tests.comparison.helpers import CALLS, TEXTS, Clean, Label, flow_of

OTHER = {"Label.prompt": "title"}


class Computed(Label):
    """Has an attribute that only its class has."""

    @property
    def model(self):
        return "m"

    @staticmethod
    def helper(text):
        return text


class Made(Label):
    """Has an ``__init__`` of its own."""

    def __init__(self, prompt):
        super().__init__()
        self.prompt = prompt


@pytest.mark.parametrize(
    ("variants", "match"),
    [
        ({}, "needs two variants or more"),
        ({"old": {}}, "needs two variants or more"),
        ({"old": {}, "new": {"Labl.prompt": "x"}}, r"no node 'Labl' \(did you mean 'Label'\?\)"),
        ({"old": {}, "new": {"Label.promt": "x"}}, r"no attribute 'promt' \(did you mean 'prompt'\?\)"),
        ({"old": {}, "new": {"prompt": "x"}}, "no node 'prompt'"),
        ({"old": {}, "new": {3: "x"}}, "write 'Label.prompt', or 'Label'"),
        ({"old": {}, "new": "x"}, "'new' is not a variant"),
        ({"old": {}, "new": {}}, "'old' and 'new' are the same: both change nothing"),
        ({"old": {}, "new": {"Label.prompt": "upper"}}, "are the same: both change nothing"),
        ({"old": {}, "new": {"Label": Computed}}, "are the same"),
        ({"a": OTHER, "b": OTHER}, "'a' and 'b' are the same; there is nothing to compare"),
        ({"a": {"Label.max_retries": 0}, "b": {}}, "max_retries must be 1"),
        ({"a": {"Label.exec": print}, "b": {}}, "exec is a hook"),
        ({"a": {"Label.model": "x"}, "b": {}}, "model is no plain attribute"),
        ({"a": {"Label.set_params": "x"}, "b": {}}, "set_params is a method"),
        ({"a": {"Label.params": {}}, "b": {}}, "params is set by the flow"),
        ({"a": {"Label.name": "x"}, "b": {}}, "name is set by the flow"),
        ({"a": {"Label": "x"}, "b": {}}, "a str cannot replace a node"),
        ({"a": {"Label": str}, "b": {}}, "cannot replace a node"),
        ({"a": {"Label": Node}, "b": {}}, "another kind of node"),
        ({"a": {"Label": Node()}, "b": {}}, "the rows of labels/Label are compared, and a node there has none"),
        ({"a": {"Label": Made}, "b": {}}, r"give a node: Made\(...\)"),
        ({"item": {}, "b": OTHER}, "a variant cannot be called 'item'"),
        ({"a": {}, "score.a": OTHER}, "a variant cannot be called 'score.a'"),
    ],
)
def test_variants_are_refused(variants, match):
    """The error says which variant, what is wrong, and what to write."""
    flow = flow_of(Computed(name="Label"))
    with pytest.raises(SettingError, match=match):
        flow.compare({"texts": TEXTS}, **variants)
    assert CALLS.take() == []


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"of": "Labl"}, "did you mean 'Label'"),
        ({"of": 3}, "give the name or the path"),
        ({"of": {}}, "no variant can be called of"),
        ({"score": {}}, "no variant can be called score"),
        ({"score": "Labl"}, "did you mean"),
        ({"score": "Clean"}, "only if it is a batch node that follows Label"),
        ({"score": 3}, "score is an int; give a function"),
        ({"score": Node()}, "score is a node; a judge is a BatchNode"),
        ({"score": BatchNode}, "give a function"),
        ({"repeat": 0}, "repeat=0: it must be 1 or more"),
        ({"repeat": "2"}, "repeat='2'"),
    ],
)
def test_options_are_refused(options, match):
    """So are options."""
    flow = flow_of()
    with pytest.raises(SettingError, match=match):
        flow.compare({"texts": TEXTS}, old={}, new=OTHER, **options)
    assert CALLS.take() == []


def test_a_judge_that_takes_shared():
    """A judge gets a pair, and no ``shared``."""

    class Judge(BatchNode):
        def exec(self, shared, pair):
            return 1

    with pytest.raises(SettingError, match="exec of the judge Judge takes shared"):
        flow_of().compare({"texts": TEXTS}, old={}, new=OTHER, score=Judge())


def test_an_iterator_in_shared():
    """Each variant reads it, so it is refused."""
    with pytest.raises(SettingError, match=r"shared\['texts'\] is a generator.*pass a list"):
        flow_of().compare({"texts": (text for text in TEXTS)}, old={}, new=OTHER)
    assert CALLS.take() == []


def test_a_shared_that_cannot_be_copied():
    """It is refused too."""
    with pytest.raises(SettingError, match=r"which cannot be copied, so the variants cannot have one each"):
        flow_of().compare(itertools.count, old={}, new=OTHER)


def test_it_is_not_clear_which_rows():
    """If two batch nodes are on different ways, the error lists them."""
    start, one, two = Node(name="start"), Clean(name="one"), Clean(name="two")
    start - "a" >> one
    start - "b" >> two
    with pytest.raises(SettingError, match=r"not clear which rows.*flow/one.*flow/two"):
        Flow(start=start, name="flow").compare({}, old={}, new={"one.max_retries": 3})


def test_several_nodes_of_one_name():
    """The path tells them apart."""
    inner, outer = Flow(start=Label(), name="inner"), Label()
    inner >> outer
    flow = Flow(start=inner, name="flow")
    with pytest.raises(SettingError, match=r"several nodes have the name 'Label'.*flow/inner/Label"):
        flow.compare({"clean": ["a"]}, old={}, new=OTHER)
    found = flow.compare({"clean": ["a"]}, old={}, new={"flow/inner/Label.prompt": "title"}, of="flow/inner/Label")
    assert found.df["new"].tolist() == ["A"]


def test_a_flow_without_a_start():
    """A flow that cannot run cannot be compared."""
    with pytest.raises(WiringError, match="no start"):
        Flow().compare({}, a={}, b={})


def test_a_name_that_is_no_identifier():
    """A variant may have any other name."""
    found = flow_of().compare({"texts": TEXTS}, **{"gpt 4.1": {}, "<b>": OTHER})
    assert list(found.df)[1:3] == ["gpt 4.1", "<b>"]


def test_a_static_method_can_be_changed():
    """A function that the class only keeps is an attribute like any other."""
    found = flow_of(Computed(name="Label")).compare({"texts": TEXTS}, old={}, new={"Label.helper": str.lower})
    assert found.df["changed"].tolist() == [False] * 3
