"""The fingerprint of a node's code: the same in every process, another one for any change of what is followed."""

import itertools
import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmflow_nb.core.fingerprint import fingerprint
from tests.stepper.helpers import Cells

# Each @n@ is a constant that the answer depends on.
CELL = '''
import contextlib, dataclasses, datetime, enum, functools, typing
from llmflow_nb import Node

HEAD = @0@
TABLE = {"model": @1@, "words": {@2@, "longer", "longest"}}
log = []

class Color(enum.Enum):
    RED = @3@

@dataclasses.dataclass
class Answer:
    """What the model is to give."""
    text: typing.Annotated[str, @4@]
    size: int = @5@
    tags: list = dataclasses.field(default_factory=lambda: [@6@])

class Style:
    end = @7@
    def close(self, text): return (text, @8@)

class Base:
    def helper(self): return @9@

class Mixin(Base):
    def mixed(self, x={@10@, "longer"}): return frozenset({@11@, b"longer", (None,)})

def first(text):
    return second(text), @12@

def second(text):
    return first(text) if text == @13@ else text

def around(value):
    def decorator(fn):
        @functools.wraps(fn)
        def wrapper(*args, **kwargs):
            return value, fn(*args, **kwargs), @14@
        return wrapper
    return decorator

class Traced:
    def __init__(self, fn, level): self.fn, self.level, self.tags = fn, level, {"p", "q", "r"}
    def __get__(self, node, owner=None): return self if node is None else functools.partial(self.fn, node)
    def __call__(self, *args): return @15@

class Client:
    __slots__ = ("lock", "model", "options")
    def __init__(self, model):
        import threading
        self.lock, self.model, self.options = threading.Lock(), model, {"stop": {"longer", "longest", @16@}}
    def ask(self, text): return text, @17@

client = Client(@18@)

@functools.singledispatch
def dispatched(value): return @19@

@dispatched.register
def _(value: int): return @20@

@functools.cache
def cached(value): return @21@

def deepest(value):
    """Docstring."""
    try:
        def inner(y, *, z=@22@):
            class Local:
                """Local."""
                attribute = @23@
            return [i for i in y if i in {"longer", "longest", @24@}]
        return inner(value)
    except (ValueError, TypeError) as error:
        return lambda: (@25@, error)
    finally:
        log.append(value)

def ask(self, extra, x): return extra, x

@dataclasses.dataclass
class Ask(Mixin, Node):
    """Asks."""
    prompt: str = @26@
    words = frozenset({"longer", "longest", @27@})
    call = functools.partialmethod(ask, @28@)
    model = functools.partial(first, text=@29@)
    when = datetime.timedelta(seconds=1), @30@

    @Traced.__call__ if False else functools.partial(Traced, level=@31@)
    def exec(self, x):
        log.append(x)
        return first(HEAD), TABLE, Color.RED, Answer, Style().close(x), client.ask(x), dispatched, cached, deepest(x)

    @around(@32@)
    def post(self, shared, p, e):
        return @33@

    @property
    def size(self): return @34@

    @staticmethod
    def static(x=(1, [@35@])): return x

    @functools.cached_property
    def slow(self): return @36@

    @contextlib.contextmanager
    def managed(self):
        yield @37@

    @functools.singledispatchmethod
    def by_type(self, x): return @38@
'''
COUNT = 39
PLAIN = [f"value {n}" for n in range(COUNT)]


def source(values):
    """The cell with these constants."""
    text = CELL
    for n, value in enumerate(values):
        assert f"@{n}@" in text
        text = text.replace(f"@{n}@", repr(value))
    return text


def print_of(text):
    """The fingerprint of the class Ask in a cell."""
    with Cells("a_cell_with_a_fingerprint") as cells:
        return fingerprint(cells.run(text).Ask)


def test_equal_definitions_have_equal_fingerprints():
    """A cell that is run again as it was, from another module, or with other lines and comments."""
    text = source(PLAIN)
    moved = text.replace("\nclass ", "\n# a comment\n\n\nclass ").replace('"""Asks."""', '"""Asks more."""')
    with Cells("another_cell") as cells:
        other = fingerprint(cells.run(text).Ask)
    assert {print_of(text), print_of(moved), other} == {other}


@pytest.mark.parametrize("which", range(COUNT))
def test_each_constant_counts(which):
    """A change in any followed place changes the fingerprint, and so does a change of its type alone."""
    values = [1] * COUNT
    prints = {print_of(source([*values[:which], new, *values[which + 1 :]])) for new in (1, 2, 1.0, "1", True)}
    assert len(prints) == 5


constants = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.tuples(st.integers(), st.text(max_size=3)),
)


@settings(deadline=None, max_examples=40)  # a loaded machine takes longer than the 200 ms of the default
@given(st.integers(0, COUNT - 1), constants, constants)
def test_a_changed_constant_changes_the_fingerprint(which, first, second):
    """Two cells have the same fingerprint if, and only if, they have the same constants."""
    prints = [print_of(source([*PLAIN[:which], value, *PLAIN[which + 1 :]])) for value in (first, second, first)]
    assert prints[0] == prints[2]
    assert (prints[0] == prints[1]) == (repr(first) == repr(second))


IN_A_PROCESS = """
import sys, types
from llmflow_nb.core.fingerprint import fingerprint
module = sys.modules["cells"] = types.ModuleType("cells")
exec(compile(sys.stdin.read(), "cells.py", "exec"), vars(module))
print(fingerprint(module.Ask).hex())
ask = module.Ask()
for _ in range(3): module.cached(1), module.dispatched(2), ask.slow
module.log.clear()
print(fingerprint(module.Ask).hex())
"""


def test_the_same_in_every_process():
    """Under every hash seed, whatever was used before."""
    prints = set()
    for seed in ("0", "1", "random", "random"):
        done = subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS],
            input=source(PLAIN),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        prints |= set(done.stdout.split())
    assert prints == {print_of(source(PLAIN)).hex()}


def test_settings_are_no_code():
    """No answer depends on retries, waiting or concurrency, nor on a name, in the class or in a mixin of it."""
    text = textwrap.dedent("""
        from llmflow_nb import Node
        class Patient:
            timeout = {n}
        class Ask(Patient, Node):
            max_retries, wait, name = {n}, {n}, "ask {n}"
            def exec(self, x): return x
    """)
    assert print_of(text.format(n=1)) == print_of(text.format(n=2))


def test_what_lies_in_a_module_of_the_user(tmp_path, monkeypatch):
    """Names that a hook takes from an imported module of the user's are followed, and others are not."""
    monkeypatch.syspath_prepend(tmp_path)
    text = "import my_prompts\nfrom llmflow_nb import Node\nclass Ask(Node):\n    def exec(self, x): return "
    text += "my_prompts.make(x, my_prompts.HEAD)\n"
    prints = []
    module = "HEAD = {!r}\nUNRELATED = {!r}\ndef make(*a): return inner(a)\ndef inner(a): return {!r}\n"
    for head, inner, unrelated in itertools.product("ab", "cd", "ef"):
        (tmp_path / "my_prompts.py").write_text(module.format(head, unrelated, inner))
        monkeypatch.delitem(sys.modules, "my_prompts", raising=False)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        prints.append(print_of(text))
    assert [prints.index(found) for found in prints] == [0, 0, 2, 2, 4, 4, 6, 6]


def test_an_object_says_itself_what_it_depends_on():
    """``__fingerprint__`` of a function or an object counts in place of what is in it."""
    text = textwrap.dedent("""
        from llmflow_nb import Node
        def call(x): return {inner}
        call.__fingerprint__ = lambda: ("model", {told})
        class Client:
            def __init__(self): self.inner = {inner}
            def __fingerprint__(self): return {told}
        client = Client()
        class Ask(Node):
            def exec(self, x): return call(client)
    """)
    prints = [print_of(text.format(inner=inner, told=told)) for inner, told in ((1, 1), (2, 1), (1, 2))]
    assert prints[0] == prints[1] != prints[2]


def test_a_hook_that_was_set_on_the_object():
    """It counts for that object, also within a partial."""
    text = "import functools\nfrom llmflow_nb import Node\nclass Ask(Node):\n    def exec(self, x): return 1\n"
    text += "a, b, c, d = Ask(), Ask(), Ask(), Ask()\nb.exec = lambda x: 2\n"
    text += "c.exec, d.exec = (functools.partial(lambda x, y: 2, n) for n in (1, 2))\n"
    with Cells("a_cell_with_objects") as cells:
        module = cells.run(text)
        assert len({fingerprint(getattr(module, name)) for name in "abcd"}) == 4
        assert fingerprint(module.a) == fingerprint(module.Ask)


def test_large_data_are_told_apart():
    """Data of any size count, and another object in their place is read."""
    text = "from llmflow_nb import Node\ndata = [{{'i': i}} for i in range(5000)] + [{end}]\n"
    text += "class Ask(Node):\n    def exec(self, x): return data\n"
    assert print_of(text.format(end=1)) == print_of(text.format(end=1)) != print_of(text.format(end=2))


def test_much_data_that_refer_to_one_another():
    """Objects that share parts, many times over, are read once."""
    text = textwrap.dedent("""
        from llmflow_nb import Node
        class Part:
            def __init__(self, *parts): self.parts = parts
        part = Part({end})
        for _ in range(60): part = Part(part, part, [part])
        cyclic = Part()
        cyclic.parts = (cyclic, part)
        class Ask(Node):
            def exec(self, x): return part, cyclic
    """)
    assert print_of(text.format(end=1)) != print_of(text.format(end=2))
