"""A setting that makes no sense is refused where it is made."""

import asyncio
import enum
import inspect
import math
import re
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from unittest.mock import Mock

import numpy as np
import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowError, FlowWarning, Limiter, Node, SettingError
from llmflow_nb.core.text import quoted

RETRIES = "1 (try once) or more: it counts attempts, not repeats"
WAIT = "seconds, from 0 to a year, or a function of the attempt"
TIMEOUT = "seconds, more than 0, or None for no limit"
BOUND = "1 or more, or None for no limit"
STEPS = "1 or more, or None for no limit"

NODES, BATCHES, FLOWS = (Node, BatchNode), (BatchNode, BatchFlow), (Flow, BatchFlow)

NONSENSE = [
    (NODES, "max_retries", [0, -1, 1.5, "3", None, True, np.int64(0), np.bool_(True), Mock(spec=int)], RETRIES),
    (
        NODES,
        "wait",
        [-1, -0.1, math.nan, math.inf, 10**400, 1e9, "1", None, True, Decimal("NaN"), date(2026, 1, 1)],
        WAIT,
    ),
    (NODES, "timeout", [0, -1, math.nan, "1", True, Decimal("sNaN"), np.float32(0), date(2026, 1, 1), [1]], TIMEOUT),
    (NODES, "limiter", [5, "limiter", Limiter, Mock()], "a Limiter or None"),
    (BATCHES, "max_concurrency", [0, -1, 2.5, "4", True], BOUND),
    (BATCHES, "on_error", ["ignore", "", None, True, np.array(["keep", "raise"])], "'raise' or 'keep'"),
    ((BatchNode,), "keep_items", [None, 0, "no"], "True or False"),
    (FLOWS, "strict", [None, 1, "yes"], "True or False"),
    (FLOWS, "max_steps", [0, -1, 1.5, "9", True], STEPS),
    ((BatchFlow,), "item_key", ["", 3], "a non-empty string"),
    ((Node, BatchNode, Flow, BatchFlow), "name", ["", 3, b"x"], "a non-empty string"),
]


def text_of(value):
    """A text for the id of a test, the same in every process: without the address of a mock."""
    return re.sub(r" id='\d+'", "", repr(value))


CASES = [
    pytest.param(cls, setting, value, may_be, id=f"{cls.__name__}({setting}={text_of(value)})")
    for classes, setting, values, may_be in NONSENSE
    for cls in classes
    for value in values
]


@pytest.mark.parametrize(("cls", "setting", "value", "may_be"), CASES)
def test_nonsense(cls, setting, value, may_be):
    """The error is a ValueError that names the class, the setting, the value, and what it may be."""
    text = f"{cls.__name__}({setting}={quoted(value)}): {setting} must be {may_be}."
    with pytest.raises(SettingError, match=f"^{re.escape(text)}$") as caught:
        cls(**{setting: value})
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, FlowError)


@pytest.mark.parametrize("bounds", [{"max_concurrency": 0}, {"max_concurrency": -1}, {"per_minute": 0}, {}])
def test_limiter_nonsense(bounds):
    """A Limiter that lets nothing through, or bounds nothing, is refused."""
    with pytest.raises(SettingError) as caught:
        Limiter(**bounds)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (Node, {"max_retries": 3, "wait": 0.5, "timeout": 2, "limiter": Limiter(1), "name": "n"}),
        (Node, {"wait": lambda attempt: attempt, "timeout": None, "limiter": None}),
        (BatchNode, {"max_concurrency": 4, "on_error": "keep", "keep_items": False}),
        (BatchNode, {"max_concurrency": None, "timeout": math.inf}),
        (Flow, {"strict": True, "max_steps": None, "name": "flow"}),
        (BatchFlow, {"max_concurrency": None, "on_error": "keep", "max_steps": 1, "item_key": "file"}),
    ],
)
def test_sense(cls, settings):
    """Settings that make sense are kept as attributes."""
    node = cls(**settings)
    assert {setting: getattr(node, setting) for setting in settings} == settings


class Mode(str, enum.Enum):  # noqa: UP042
    KEEP = "keep"


@pytest.mark.parametrize(
    ("setting", "value", "plain"),
    [
        ("max_retries", np.int64(3), 3),
        ("max_concurrency", np.int32(4), 4),
        ("wait", np.float64(0.5), 0.5),
        ("wait", np.float32(0.5), 0.5),
        ("wait", np.int8(2), 2),
        ("wait", Decimal("0.5"), 0.5),
        ("wait", Fraction(1, 2), 0.5),
        ("wait", timedelta(minutes=1), 60.0),
        ("timeout", timedelta(minutes=1), 60.0),
        ("timeout", np.float64(2), 2.0),
        ("timeout", 10**400, math.inf),
        ("keep_items", np.bool_(False), False),
        ("on_error", Mode.KEEP, "keep"),
        ("name", np.str_("node"), "node"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("way", ["argument", "class", "object"])
def test_plain_values(setting, value, plain, way):
    """Numbers of numpy, decimals, a timedelta and an Enum of strings are settings too, wherever they are given."""

    class Counts(BatchNode):
        def prep(self, shared):
            return [1]

        def exec(self, item):
            tries.append(item)
            if len(tries) == 1:
                raise KeyError

    tries = []
    given = {"wait": 0, "max_retries": 2} | {setting: value}
    if way == "argument":
        node = Counts(**given)
        found = getattr(node, setting)
        assert (found, type(found)) == (plain, type(plain))
    elif way == "class":
        node = type("Mine", (Counts,), given)()
    else:
        node = Counts(max_retries=2)
        vars(node).update(given)
    if setting == "wait":  # it is not waited for here
        node.wait = 0
    node.run({})
    assert tries == [1, 1]


@pytest.mark.parametrize(
    "wait", [lambda: 1, lambda attempt, error: 1, asyncio.sleep, int.__add__], ids=["none", "two", "async", "builtin"]
)
def test_wait_function_that_does_not_fit(wait):
    """A ``wait`` function that cannot be called with the attempt is refused when it is given."""
    with pytest.raises(SettingError, match=r"wait must be seconds, from 0 to a year, or a function of the attempt\.$"):
        Node(wait=wait)


def test_wait_function_in_a_class():
    """In a class body ``wait`` is a method: one without the attempt is refused before anything runs."""
    waits = type("Waits", (Node,), {"wait": lambda self, attempt: attempt})
    assert waits().wait(3) == 3
    with pytest.raises(SettingError, match=r"^Waits\(wait=.*wait must be seconds"):
        type("Waits", (Node,), {"wait": lambda attempt: attempt})()


def test_setting_that_is_a_property():
    """A setting may be a property of the class; it is read and checked when a run starts."""

    class Wide(BatchNode):
        @property
        def max_concurrency(self):
            return self.width

    node = Wide()
    node.width = 0
    with pytest.raises(SettingError, match=r"^Wide\(max_concurrency=0\)"):
        node.run({})


def test_nonsense_grace():
    """``grace`` is checked when a run starts."""
    node = Node()
    node.grace = "5"
    with pytest.raises(SettingError, match=r"^Node\(grace='5'\): grace must be seconds, 0 or more\.$"):
        node.run({})


def test_settings_of_a_limiter():
    """A Limiter takes numbers of numpy, and keeps plain ones."""
    assert repr(Limiter(np.int64(2), per_minute=np.int64(60))) == "Limiter(max_concurrency=2, per_minute=60)"


def test_retries_and_wait_may_be_positional():
    """``Node(3, 0.5)`` is 3 attempts, half a second apart, as in PocketFlow; the rest is by name."""
    node = Node(3, 0.5)
    assert (node.max_retries, node.wait) == (3, 0.5)
    for cls, count in [(Node, 2), (BatchNode, 2), (Flow, 1), (BatchFlow, 1)]:
        kinds = [p.kind for p in inspect.signature(cls).parameters.values()]
        assert kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD) == count


def test_wrong_name_of_a_setting():
    """A setting that there is not is Python's own TypeError."""
    with pytest.raises(TypeError, match="max_retrys"):
        Node(max_retrys=3)


@pytest.mark.parametrize(("setting", "value"), [("max_retries", 0), ("wait", -1), ("timeout", 0), ("limiter", 3)])
def test_nonsense_set_on_the_class(setting, value):
    """A setting may be a class attribute; nonsense there is refused before anything runs."""
    seen = []
    cls = type(
        "Mine", (Node,), {setting: value, "__init__": lambda self: None, "prep": lambda self, shared: seen.append(1)}
    )
    with pytest.raises(SettingError, match=rf"^Mine\({setting}={value}\): {setting} must be"):
        cls().run({})
    assert seen == []


def test_nonsense_item_key_set_on_the_class():
    """``item_key`` too may be a class attribute, and is checked."""
    cls = type("Sets", (BatchFlow,), {"item_key": 3, "prep": lambda self, shared: [1]})
    with pytest.raises(SettingError, match=r"^Sets\(item_key=3\): item_key must be a non-empty string"):
        cls(start=Node()).run({})


def test_nonsense_set_on_the_object():
    """So is nonsense that is set on the object later."""
    node = BatchNode()
    node.max_concurrency = 0
    with pytest.raises(SettingError, match=r"^BatchNode\(max_concurrency=0\)"):
        node.run({})


def test_settings_of_other_kinds_are_free():
    """A name that is a setting of another kind of node is the user's to use."""

    class Agent(Node):
        strict = "very"
        max_steps = "many"
        keep_items = "all of them"
        on_error = "sulk"
        max_concurrency = "none"
        item_key = 3

        def post(self, shared, prep_res, exec_res):
            shared.append(self.max_steps)

    shared = []
    Flow(start=Agent()).run(shared)
    assert shared == ["many"]


def test_settings_on_the_class_count():
    """A class attribute is the default of its objects where ``__init__`` is not called."""
    tries = []

    class Stubborn(Node):
        max_retries = 3

        def __init__(self):
            pass

        def exec(self, prep_res):
            tries.append(1)
            raise ValueError

    with pytest.raises(ValueError, match=r"^"):
        Stubborn().run({})
    assert len(tries) == 3


@pytest.mark.parametrize("value", ["soon", None, math.nan, True, [1], Mock(spec=int)], ids=text_of)
def test_wait_function_that_returns_nonsense(value):
    """If a ``wait`` function returns no number, the next attempt follows at once, with a warning that names it."""
    tries = []

    class Fails(Node):
        def exec(self, prep_res):
            tries.append(1)
            raise KeyError

    with (
        pytest.warns(
            FlowWarning, match=r"^Fails: the wait function returned .*, which is not a number of seconds; the next"
        ),
        pytest.raises(KeyError),
    ):
        Fails(max_retries=2, wait=lambda attempt: value).run({})
    assert len(tries) == 2


@pytest.mark.parametrize("value", [0, -1, -math.inf, np.int64(0), Decimal(0), timedelta(0), "0"], ids=repr)
def test_wait_function_that_returns_a_number(value):
    """Whatever writes a number will do; a time that is over is no wait."""
    tries = []

    class Fails(Node):
        def exec(self, prep_res):
            tries.append(1)
            raise KeyError

    with pytest.raises(KeyError):
        Fails(max_retries=2, wait=lambda attempt: value).run({})
    assert len(tries) == 2


def test_wait_function_gets_the_attempt():
    """``wait`` may be a function of the attempt that failed, from 1; it is not asked after the last one."""
    asked = []

    def wait(attempt):
        asked.append(attempt)
        return 0

    class Fails(Node):
        def exec(self, prep_res):
            raise KeyError("no")

    with pytest.raises(KeyError):
        Fails(max_retries=3, wait=wait).run({})
    assert asked == [1, 2]


def test_executor_that_is_none():
    """An executor without ``submit`` is refused before anything runs."""
    with pytest.raises(SettingError, match=r"has no submit\(\); pass a concurrent\.futures\.Executor"):
        Node().run({}, executor=4)
