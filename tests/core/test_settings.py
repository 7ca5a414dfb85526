"""A setting that makes no sense is refused where it is made."""

import inspect
import math
import re

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowError, Limiter, Node, SettingError

RETRIES = "1 (try once) or more: it counts attempts, not repeats"
WAIT = "seconds, 0 or more, or a function of the attempt"
TIMEOUT = "seconds, more than 0, or None for no limit"
BOUND = "1 or more, or None for no bound"
STEPS = "1 or more, or None for no limit"

NODES, BATCHES, FLOWS = (Node, BatchNode), (BatchNode, BatchFlow), (Flow, BatchFlow)

NONSENSE = [
    (NODES, "max_retries", [0, -1, 1.5, "3", None, True], RETRIES),
    (NODES, "wait", [-1, -0.1, math.nan, "1", None, True], WAIT),
    (NODES, "timeout", [0, -1, math.nan, "1", True], TIMEOUT),
    (NODES, "limiter", [5, "limiter", Limiter], "a Limiter or None"),
    (BATCHES, "max_concurrency", [0, -1, 2.5, "4", True], BOUND),
    (BATCHES, "on_error", ["ignore", "", None, True], "'raise' or 'keep'"),
    ((BatchNode,), "keep_items", [None, 0, "no"], "True or False"),
    (FLOWS, "strict", [None, 1, "yes"], "True or False"),
    (FLOWS, "max_steps", [0, -1, 1.5, "9", True], STEPS),
    ((BatchFlow,), "item_key", ["", 3], "a string that is not empty"),
    ((Node, BatchNode, Flow, BatchFlow), "name", ["", 3, b"x"], "a string that is not empty"),
]
CASES = [
    pytest.param(cls, setting, value, may_be, id=f"{cls.__name__}({setting}={value!r})")
    for classes, setting, values, may_be in NONSENSE
    for cls in classes
    for value in values
]


@pytest.mark.parametrize(("cls", "setting", "value", "may_be"), CASES)
def test_nonsense(cls, setting, value, may_be):
    """The error is a ValueError that names the class, the setting, the value, and what it may be."""
    text = f"{cls.__name__}({setting}={value!r}): {setting} must be {may_be}."
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
    with pytest.raises(SettingError, match=r"^Sets\(item_key=3\): item_key must be a string that is not empty"):
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


@pytest.mark.parametrize("value", [-1, "soon", None, math.nan])
def test_wait_function_that_returns_nonsense(value):
    """A ``wait`` function is checked when it answers."""

    class Fails(Node):
        def exec(self, prep_res):
            raise KeyError

    with pytest.raises(SettingError, match=r"^Fails: wait\(1\) returned .*; it must return seconds, 0 or more"):
        Fails(max_retries=2, wait=lambda attempt: value).run({})


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
