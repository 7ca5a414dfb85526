"""Nodes that pydantic, attrs or the standard library make a class with fields of."""

import copy
import pickle
from dataclasses import dataclass

import attrs
import pydantic
import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass

from llmflow_nb import Flow, Node, SignatureError


class Answers(Node):
    def exec(self, prep_res):
        return self.model

    def post(self, shared, prep_res, exec_res):
        shared.append(exec_res)


@dataclass
class Plain(Answers):
    model: str = "small"


@dataclass(slots=True)
class Slots(Answers):
    model: str = "small"


@dataclass(frozen=True, slots=True)
class Frozen(Answers):
    model: str = "small"


@attrs.define
class Attrs(Answers):
    model: str = "small"


@attrs.frozen
class AttrsFrozen(Answers):
    model: str = "small"


@pydantic_dataclass
class Pydantic(Answers):
    model: str = "small"


@pydantic_dataclass(frozen=True)
class PydanticFrozen(Answers):
    model: str = "small"


class PydanticSub(Pydantic):
    def __init__(self, model):
        self.before = "set before"
        super().__init__(model=model)


CLASSES = [Plain, Slots, Frozen, Attrs, AttrsFrozen, Pydantic, PydanticFrozen, PydanticSub]


@pytest.mark.parametrize("cls", CLASSES)
def test_fields_of_a_node(cls):
    """The fields are there at every visit; the node can be wired, run alone, and copied with its edges."""
    first, second, shared = cls("large"), cls("tiny"), []
    first >> second
    Flow(first).run(shared)
    assert shared == ["large", "tiny"]
    cls("alone").run(shared)
    assert shared[-1] == "alone"
    for other in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        again = []
        Flow(other).run(again)
        assert again == ["large", "tiny"]


def test_pydantic_checks_the_fields():
    """A pydantic dataclass still refuses a value of the wrong type."""
    with pytest.raises(pydantic.ValidationError, match="valid string"):
        Pydantic(model=[])


def test_attributes_that_were_there_before():
    """What a subclass sets before it calls pydantic's ``__init__`` stays."""
    assert PydanticSub("large").before == "set before"


def test_model_as_a_base_is_refused():
    """A node that is a pydantic model too is refused when its class is made, with what to do instead."""
    with pytest.raises(SignatureError, match=r"Ask inherits from pydantic's BaseModel.*pydantic\.dataclasses"):

        class Ask(Node, pydantic.BaseModel):
            pass
