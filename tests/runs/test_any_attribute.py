"""Values that answer to any attribute: their class is asked what they are, and never they themselves."""

from unittest.mock import MagicMock, Mock

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node


class AttributeDict(dict):
    """As addict, EasyDict and Box make it."""

    __getattr__ = dict.get


class Proxy:
    """As clients of remote objects are made: every attribute is another proxy, which can be called."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **kwargs):
        return self


class Raises:
    def __getattr__(self, name):
        raise RuntimeError(name)


class AnyOfTheClass(type):
    def __getattr__(cls, name):
        return ("x",)


class OfMeta(metaclass=AnyOfTheClass):
    """Its class answers to any attribute."""


VALUES = {
    "dict": lambda: AttributeDict(label="bee"),
    "proxy": Proxy,
    "raises": Raises,
    "metaclass": OfMeta,
    "mock": Mock,
    "magic mock": MagicMock,
    "mock of a dict": lambda: Mock(spec=dict),
    "mock of an int": lambda: Mock(spec=int),
    "mock of a str": lambda: Mock(spec=str),
}


@pytest.fixture(params=VALUES.values(), ids=VALUES)
def value(request):
    return request.param()


class Ask(BatchNode):
    """Gives back each of three items; fails at the second."""

    def prep(self, shared):
        return [0, 1, shared["value"]]

    def exec(self, shared, item):
        if item is shared["value"]:
            return item
        return [shared["value"]][item]

    def exec_fallback(self, item, exc):
        return -1


class Sets(BatchFlow):
    def prep(self, shared):
        return [{"p": 1}, {"p": shared["value"]}]


class Leaf(Node):
    def exec(self, prep_res):
        return self.params["p"]


def test_as_item_and_result(value):
    """Such an item or result is shown in every form of the table as it is, and its rows can be retried."""
    node = Ask()
    node.run({"value": value})
    batch = node.last_run.batch(node)
    assert [row is value for row in batch.df["result"]] == [True, False, True]
    assert [row is value for row in batch.df["item"]] == [False, False, True]
    assert len(batch.expand()) == 3
    assert "3 items" in repr(batch)
    assert batch._repr_mimebundle_()
    batch.retry(batch.df[batch.df["position"] > 0])
    assert batch.called_again == [1, 2]


def test_as_param_and_in_the_stepper(value):
    """So is such a param, and a stepper steps over it and back."""
    flow = Sets(start=Leaf())
    flow.run({"value": value})
    batch = flow.last_run.batch(flow)
    assert [row is value for row in batch.df["p"]] == [False, True]
    assert len(flow.last_run.steps) == 3
    batch.retry(batch.df[1:])
    assert batch.called_again == [1]
    stepper = Flow(start=Ask()).stepper({"value": value})
    stepper.into()
    stepper.over()
    stepper.back()
    assert stepper._repr_mimebundle_()


def test_in_an_error(value):
    """An error whose ``retry_after`` is such a value is retried, and comes out as it is."""

    class Limited(Exception):
        retry_after = value

    class Fails(Node):
        def exec(self, prep_res):
            tries.append(self.cur_retry)
            raise Limited

    tries = []
    with pytest.raises(Limited):
        Fails(max_retries=2).run({})
    assert tries == [0, 1]


def test_an_object_is_no_node():
    """An object that answers to any attribute is no node: the error names its type, and nothing to add to it."""
    with pytest.raises(TypeError, match=r"as its target, not a Proxy\.$"):
        Node() >> Proxy()
