"""The names of PocketFlow, and small habits of its programs: the same under both packages."""

import asyncio
import inspect
import itertools

import pocketflow as theirs
import pytest

import llmflow_nb.pocketflow as ours

CLASSES = [name for name, value in vars(theirs).items() if inspect.isclass(value)]


@pytest.fixture(params=[ours, theirs], ids=["llmflow_nb", "pocketflow"])
def lib(request):
    return request.param


def test_the_same_bases():
    """A class is a subclass of another one exactly where it is in PocketFlow: ``isinstance`` answers the same."""
    for sub, base in itertools.product(CLASSES, CLASSES):
        here, there = (issubclass(getattr(lib, sub), getattr(lib, base)) for lib in (ours, theirs))
        assert (sub, base, here) == (sub, base, there)


@pytest.mark.parametrize("name", CLASSES)
def test_the_same_methods(name):
    """Every method that a class of PocketFlow has is there."""
    methods = {n for n in dir(getattr(theirs, name)) if not n.startswith("__")}
    assert methods <= set(dir(getattr(ours, name)))


def test_the_left_half_of_an_edge(lib):
    """``node - "action"`` is a ``_ConditionalTransition`` with ``src`` and ``action``."""
    a, b = lib.Node(), lib.Node()
    half = a - "on"
    assert isinstance(half, lib._ConditionalTransition)
    assert (half.src, half.action) == (a, "on")
    assert (lib._ConditionalTransition(a, "off") >> b) is b
    assert a.successors == {"off": b}


def test_cur_retry_in_post(lib):
    """``post`` finds in ``cur_retry`` the last attempt: of the call, or of the last item."""

    class Flaky(lib.Node):
        def exec(self, prep_res):
            if self.cur_retry < 2:
                raise ValueError
            return self.cur_retry

        def post(self, shared, prep_res, exec_res):
            shared.append((exec_res, self.cur_retry))

    class Items(lib.BatchNode):
        def prep(self, shared):
            return [0, 1]

        def exec(self, item):
            if self.cur_retry < item:
                raise ValueError
            return self.cur_retry

        def post(self, shared, prep_res, exec_res):
            shared.append((exec_res, self.cur_retry))

    shared = []
    flaky = Flaky(max_retries=5)
    flaky >> Items(max_retries=3)
    flow = lib.Flow(start=flaky)
    flow.run(shared)
    flow.run(shared)
    assert shared == [(2, 2), ([0, 1], 1)] * 2
    assert Flaky(max_retries=3).run(shared) is None


def test_cur_retry_of_a_node_that_is_run_again():
    """A node that is run alone begins to count at every run."""

    class Flaky(ours.Node):
        def exec(self, prep_res):
            if self.cur_retry < 1:
                raise ValueError

        def post(self, shared, prep_res, exec_res):
            shared.append(self.cur_retry)

    node, shared = Flaky(max_retries=2), []
    node.run(shared)
    node.run(shared)
    assert shared == [1, 1]


def test_an_optional_second_argument(lib):
    """``exec`` that could take one argument or two is given one, whatever the first one is called."""

    class Odd(lib.Node):
        def prep(self, shared):
            return "prepared"

        def exec(self, shared, prep_res=None):
            if shared != "prepared" or prep_res is not None:
                raise AssertionError
            raise ValueError

        def exec_fallback(self, shared, exc, more=None):
            return shared, type(exc).__name__, more

        def post(self, shared, prep_res, exec_res):
            shared["out"] = exec_res

    shared = {}
    lib.Flow(start=Odd()).run(shared)
    assert shared == {"out": ("prepared", "ValueError", None)}


def test_no_wait(lib):
    """``wait=None`` is taken, and waits no time."""
    assert lib.Node(max_retries=1, wait=None).run({}) is None
    assert asyncio.run(lib.AsyncNode(max_retries=1, wait=None).run_async({})) is None


def test_no_wait_between_attempts():
    """``wait=None`` waits no time between attempts; PocketFlow fails there, since it compares it with a number."""

    class Flaky(ours.Node):
        def exec(self, prep_res):
            if not self.cur_retry:
                raise ValueError
            return "ok"

        def post(self, shared, prep_res, exec_res):
            return exec_res

    assert Flaky(max_retries=2, wait=None).run({}) == "ok"
