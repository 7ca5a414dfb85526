"""How the hooks of a class want to be called: found out once, for each class and each method."""

import asyncio
import functools
import warnings
from unittest.mock import AsyncMock, Mock, patch

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowError, FlowWarning, Node, SignatureError
from llmflow_nb import pocketflow as names

SHARED = {"who": "shared"}


class Told(Node):
    """Hands the text "prep" to ``exec``, and puts what came of it where a test finds it."""

    def prep(self, shared):
        return "prep"

    def post(self, shared, prep_res, exec_res):
        self.out = exec_res


def told(node):
    """Run a node and return what its ``exec`` came to."""
    node.run(SHARED)
    return node.out


def plain(self, prep_res):
    return ("plain", prep_res)


def with_shared(self, shared, prep_res):
    assert shared is SHARED
    return ("shared", prep_res)


PLAIN, WITH_SHARED = ("plain", "prep"), ("shared", "prep")


# ---- exec ------------------------------------------------------------------------------------------------------------


def test_both_signatures_of_exec():
    """``exec(self, prep_res)`` and ``exec(self, shared, prep_res)`` are told apart by their number of parameters."""
    assert told(type("A", (Told,), {"exec": plain})()) == PLAIN
    assert told(type("B", (Told,), {"exec": with_shared})()) == WITH_SHARED


def test_names_of_parameters_do_not_matter():
    """Two required parameters take ``shared`` first; under a name that means something else, a warning tells."""
    with pytest.warns(FlowWarning, match="the first argument 'a' gets shared"):

        class A(Told):
            def exec(self, a, b):
                return a is SHARED, b

    assert told(A()) == (True, "prep")


@pytest.mark.parametrize(
    ("exec_", "expected"),
    [
        (lambda self, shared, x=None: (shared is SHARED, x), (True, "prep")),
        (lambda self, shared_storage, x=None: (shared_storage is SHARED, x), (True, "prep")),
        (lambda self, prep_res, depth=3: (prep_res, depth), ("prep", 3)),
        (lambda self, x=1, y=2: (x, y), ("prep", 2)),
        (lambda self, shared, *rest: (shared is SHARED, *rest), (True, "prep")),
        (lambda self, prep_res, *rest: (prep_res, *rest), ("prep",)),
        (lambda self, prep_res, *, depth=3: (prep_res, depth), ("prep", 3)),
        (lambda self, prep_res, **options: (prep_res, options), ("prep", {})),
        (lambda self, s, b, c=3: (s is SHARED, b, c), (True, "prep", 3)),
    ],
    ids=[
        "shared, x=None",
        "shared_storage, x=None",
        "prep_res, depth=3",
        "x=1, y=2",
        "shared, *rest",
        "prep_res, *rest",
        "keyword only",
        "**options",
        "s, b, c=3",
    ],
)
def test_optional_parameters(exec_, expected):
    """Where the number does not tell, the name of the first parameter does; else ``exec`` gets prep_res alone."""
    assert told(type("A", (Told,), {"exec": exec_})()) == expected


def test_star_args_follow_the_nearest_clear_base():
    """``exec(self, *args)`` is called as the nearest base class that is clear wants it."""

    class Old(Told):
        exec = with_shared

    class Traced(Old):
        def exec(self, *args):
            return ("traced", *super().exec(*args))

    class New(Told):
        exec = plain

    class TracedNew(New):
        def exec(self, *args):
            return ("traced", *super().exec(*args))

    assert told(Traced()) == ("traced", *WITH_SHARED)
    assert told(TracedNew()) == ("traced", *PLAIN)


def test_star_args_follow_a_mixin_that_is_no_node():
    """A mixin that is no node counts as a base class too."""

    class Work:
        exec = with_shared

    class Traced(Work, Told):
        def exec(self, *args):
            return super().exec(*args)

    assert told(Traced()) == WITH_SHARED


@pytest.mark.parametrize(("exec_", "expected"), [(plain, PLAIN), (with_shared, WITH_SHARED)])
def test_mixin_defines_exec(exec_, expected):
    """``exec`` may come from a mixin that is no node."""
    mixin = type("Mixin", (), {"exec": exec_})
    assert told(type("A", (mixin, Told), {})()) == expected


def test_star_args_alone_are_refused():
    """``exec(self, *args)`` with no clear base is refused: it does not tell whether it wants ``shared``."""
    with pytest.raises(
        SignatureError,
        match=r"^\S*A\.exec\(self, \*args\) does not say whether it takes shared; "
        r"write def exec\(self, prep_res\) or def exec\(self, shared, prep_res\)\.$",
    ):

        class A(Node):
            def exec(self, *args):
                return None


def test_star_args_alone_are_plain_in_pocketflow():
    """Under PocketFlow's names ``exec(self, *args)`` gets prep_res alone, as it does there."""

    class A(names.Node):
        def prep(self, shared):
            return "prep"

        def exec(self, *args):
            return args

        def post(self, shared, prep_res, exec_res):
            self.out = exec_res

    assert told(A()) == ("prep",)


def test_batch_node_decides_for_each_item():
    """A BatchNode calls ``exec(item)`` or ``exec(shared, item)``, as it is written."""
    for exec_, expected in [(plain, "plain"), (with_shared, "shared")]:
        cls = type(
            "A",
            (BatchNode,),
            {
                "prep": lambda self, shared: [1, 2],
                "exec": exec_,
                "post": lambda self, shared, prep_res, exec_res: setattr(self, "out", exec_res),
            },
        )
        assert told(cls()) == [(expected, 1), (expected, 2)]


@pytest.mark.parametrize("is_async", [False, True], ids=["run", "run_async"])
def test_async_def_takes_both_signatures(is_async):
    """``async def exec`` is told apart in the same way."""

    class A(Told):
        async def exec(self, shared, prep_res):
            return with_shared(self, shared, prep_res)

    class B(Told):
        async def exec(self, prep_res):
            return plain(self, prep_res)

    for cls, expected in [(A, WITH_SHARED), (B, PLAIN)]:
        node = cls()
        asyncio.run(node.run_async(SHARED)) if is_async else node.run(SHARED)
        assert node.out == expected


# ---- the fallback ----------------------------------------------------------------------------------------------------


class Fails(Told):
    def exec(self, prep_res):
        raise ValueError("no")


def fallback2(self, prep_res, exc):
    return ("two", prep_res, str(exc))


def fallback3(self, shared, prep_res, exc):
    assert shared is SHARED
    return ("three", prep_res, str(exc))


@pytest.mark.parametrize("name", ["exec_fallback", "process_after_fail"])
@pytest.mark.parametrize("exec_", [plain, with_shared], ids=["exec(x)", "exec(shared, x)"])
@pytest.mark.parametrize(("fallback", "word"), [(fallback2, "two"), (fallback3, "three")])
def test_fallback_is_decided_by_itself(name, exec_, fallback, word):
    """Both names and both signatures of the fallback work, beside both signatures of ``exec``."""

    def failing(self, *args):
        exec_(self, *args)
        raise ValueError("no")

    base = type("Base", (Told,), {"exec": exec_})
    cls = type("A", (base,), {"exec": failing, name: fallback})
    assert told(cls(max_retries=2)) == (word, "prep", "no")


def test_nearest_name_of_the_fallback_wins():
    """``exec_fallback`` and ``process_after_fail`` are one hook: the nearest definition counts, whatever its name."""

    class Old(Fails):
        def process_after_fail(self, shared, prep_res, exc):
            return "old"

    class New(Old):
        def exec_fallback(self, prep_res, exc):
            return "new"

    class Oldest(New):
        def process_after_fail(self, prep_res, exc):
            return "oldest"

    assert [told(cls()) for cls in (Old, New, Oldest)] == ["old", "new", "oldest"]


def test_both_names_in_one_class_are_refused():
    """Two fallbacks in one class are refused when it is created."""
    with pytest.raises(
        SignatureError,
        match=r"A defines both exec_fallback and process_after_fail, which are the same hook; keep one\.$",
    ):

        class A(Node):
            def exec_fallback(self, prep_res, exc):
                return None

            def process_after_fail(self, shared, prep_res, exc):
                return None


@pytest.mark.parametrize("parameters", [2, 3])
def test_super_of_the_fallback_raises_the_error(parameters):
    """``super().exec_fallback(...)`` raises the last error again, with two arguments and with three."""
    if parameters == 2:

        class A(Fails):
            def exec_fallback(self, prep_res, exc):
                return super().exec_fallback(prep_res, exc)
    else:

        class A(Fails):
            def exec_fallback(self, shared, prep_res, exc):
                return super().exec_fallback(shared, prep_res, exc)

    with pytest.raises(ValueError, match=r"^no"):
        A().run(SHARED)


def test_super_of_the_fallback_by_its_old_name():
    """So does ``super().process_after_fail(...)``."""

    class A(Fails):
        def process_after_fail(self, shared, prep_res, exc):
            return super().process_after_fail(shared, prep_res, exc)

    with pytest.raises(ValueError, match=r"^no"):
        A().run(SHARED)


def test_super_of_the_fallback_of_pocketflow():
    """So does that of PocketFlow's async classes, awaited."""

    class A(names.AsyncNode):
        async def exec_async(self, prep_res):
            raise ValueError("no")

        async def exec_fallback_async(self, prep_res, exc):
            return await super().exec_fallback_async(prep_res, exc)

    with pytest.raises(ValueError, match=r"^no"):
        A().run(SHARED)


def test_super_of_exec_takes_both_styles():
    """``super().exec(...)`` of the library's own ``exec`` gives None in both styles."""

    class A(Told):
        def exec(self, prep_res):
            return super().exec(prep_res)

    class B(Told):
        def exec(self, shared, prep_res):
            return super().exec(shared, prep_res)

    assert told(A()) is None
    assert told(B()) is None


def test_fallback_that_fails():
    """An error in the fallback is what the run ends with; the first error is its context."""

    class A(Fails):
        def exec_fallback(self, prep_res, exc):
            raise KeyError("worse") from exc

    with pytest.raises(KeyError, match="worse") as caught:
        A(max_retries=3).run(SHARED)
    assert str(caught.value.__cause__) == "no"


# ---- hooks that are set elsewhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [plain, with_shared], ids=["class plain", "class shared"])
@pytest.mark.parametrize(
    ("on_object", "expected"),
    [
        (lambda prep_res: ("mine", prep_res), ("mine", "prep")),
        (lambda shared, x: (shared is SHARED, x), (True, "prep")),
    ],
    ids=["object plain", "object shared"],
)
def test_exec_set_on_the_object(base, on_object, expected):
    """An ``exec`` set on the object goes by its own signature."""
    node = type("A", (Told,), {"exec": base})()
    node.exec = on_object
    assert told(node) == expected


def test_unclear_exec_set_on_the_object():
    """An unclear one, such as a Mock, is called as the class's own would be."""
    node = type("A", (Told,), {"exec": with_shared})()
    node.exec = Mock(return_value="mocked")
    assert told(node) == "mocked"
    node.exec.assert_called_once_with(SHARED, "prep")


def test_hooks_set_on_a_node_of_a_flow():
    """All hooks can be set on an object, also where the class defines none, and a flow uses them."""
    seen, node = [], Node()
    node.prep = lambda shared: 1
    node.exec = lambda prep_res: prep_res + 1
    node.post = lambda shared, prep_res, exec_res: seen.append((prep_res, exec_res))
    Flow(start=node).run({})
    assert seen == [(1, 2)]


def test_fallback_set_on_the_object():
    """A fallback set on the object counts as one."""
    node = Fails()
    node.exec_fallback = lambda prep_res, exc: "mine"
    assert told(node) == "mine"


def test_both_names_of_the_fallback_set_on_the_object():
    """Of the two names of the fallback, set on one object, ``exec_fallback`` is called."""
    node = Fails()
    node.process_after_fail = lambda prep_res, exc: "old"
    node.exec_fallback = lambda prep_res, exc: "new"
    assert told(node) == "new"


def test_async_exec_set_on_the_object():
    """A coroutine function set on the object is awaited."""

    async def exec_(prep_res):
        return prep_res * 2

    node = Told()
    node.exec = exec_
    assert told(node) == "prepprep"


def test_hook_replaced_on_the_class():
    """A method replaced on its class after creation is used, with its own signature, by old and new nodes."""
    cls = type("A", (Told,), {"exec": plain})
    node = cls()
    assert told(node) == PLAIN
    cls.exec = with_shared
    assert told(node) == WITH_SHARED
    assert told(cls()) == WITH_SHARED


def test_hook_replaced_on_a_base_class():
    """Nor does it matter that the class itself only inherits it."""
    base = type("Base", (Told,), {"exec": plain})
    cls = type("A", (base,), {})
    assert told(cls()) == PLAIN
    base.exec = with_shared
    assert told(cls()) == WITH_SHARED


def test_wrong_hook_on_the_class_is_refused_when_it_is_used():
    """A method replaced by one that cannot be called is refused before anything runs."""
    cls = type("A", (Told,), {"exec": plain})
    cls.exec = lambda self, a, b, c: None
    with pytest.raises(SignatureError, match=r"A\.exec\(self, a, b, c\) cannot be called; write def exec"):
        cls().run(SHARED)


# ---- kinds of methods ------------------------------------------------------------------------------------------------


def test_builtin_without_a_signature():
    """A builtin of which Python cannot tell the signature is called with what ``prep`` returned."""
    assert told(type("A", (Told,), {"exec": max})()) == "r"


def test_staticmethod_and_classmethod():
    """Static and class methods are counted without a ``self`` that they have not."""

    class A(Told):
        @staticmethod
        def exec(prep_res):
            return ("static", prep_res)

    class B(Told):
        @staticmethod
        def exec(shared, prep_res):
            return (shared is SHARED, prep_res)

    class C(Told):
        @classmethod
        def exec(cls, prep_res):
            return (cls.__name__, prep_res)

    assert [told(cls()) for cls in (A, B, C)] == [("static", "prep"), (True, "prep"), ("C", "prep")]


@pytest.mark.parametrize(("exec_", "expected"), [(plain, PLAIN), (with_shared, WITH_SHARED)])
def test_decorated_with_wraps(exec_, expected):
    """A decorator that uses ``functools.wraps`` shows the signature of what it wraps."""

    @functools.wraps(exec_)
    def wrapper(*args, **kwargs):
        return exec_(*args, **kwargs)

    assert told(type("A", (Told,), {"exec": wrapper})()) == expected


def test_decorated_without_wraps():
    """A bare decorator hides the signature, and is refused with what to write."""

    def decorate(function):
        def wrapper(*args, **kwargs):
            return function(*args, **kwargs)

        return wrapper

    with pytest.raises(SignatureError, match=r"A\.exec\(\*args, \*\*kwargs\) does not say whether it takes shared"):

        class A(Node):
            @decorate
            def exec(self, prep_res):
                return prep_res


def test_partialmethod():
    """A partial method is counted without what it fills in."""

    class A(Told):
        def work(self, depth, prep_res):
            return (depth, prep_res)

        exec = functools.partialmethod(work, 3)

    assert told(A()) == (3, "prep")


def test_callable_object():
    """An object with ``__call__`` may stand for a method; Python gives it no ``self``."""

    class Work:
        def __call__(self, prep_res):
            return ("called", prep_res)

    assert told(type("A", (Told,), {"exec": Work()})()) == ("called", "prep")


# ---- what is refused -------------------------------------------------------------------------------------------------

EXEC = r"write def exec\(self, prep_res\) or def exec\(self, shared, prep_res\)\.$"
FALLBACK = r"write def {0}\(self, prep_res, exc\) or def {0}\(self, shared, prep_res, exc\)\.$"


def none(*args):
    return None


@pytest.mark.parametrize(
    ("name", "method", "text"),
    [
        ("exec", lambda self: None, r"^Bad\.exec\(self\) cannot be called; " + EXEC),
        ("exec", lambda self, a, b, c: None, r"^Bad\.exec\(self, a, b, c\) cannot be called; " + EXEC),
        ("exec", lambda: None, r"^Bad\.exec\(\) cannot be called; " + EXEC),
        ("exec", lambda self, x, *, depth: None, r"^Bad\.exec\(self, x, \*, depth\) cannot be called; " + EXEC),
        ("exec", lambda self, **kw: None, r"^Bad\.exec\(self, \*\*kw\) cannot be called; " + EXEC),
        ("exec", 3, r"^Bad\.exec is int, not a method; write def exec\(self, \.\.\.\)\.$"),
        (
            "exec_fallback",
            lambda self, exc: None,
            r"^Bad\.exec_fallback\(self, exc\) cannot be called; " + FALLBACK.format("exec_fallback"),
        ),
        (
            "process_after_fail",
            lambda self, a, b, c, d: None,
            r"^Bad\.process_after_fail\(self, a, b, c, d\) cannot be called; " + FALLBACK.format("process_after_fail"),
        ),
        ("prep", lambda self: None, r"^Bad\.prep\(self\) cannot be called as prep; write def prep\(self, shared\)\.$"),
        (
            "prep",
            lambda self, shared, more: None,
            r"^Bad\.prep\(self, shared, more\) cannot be called as prep; write def prep\(self, shared\)\.$",
        ),
        (
            "post",
            lambda self, shared, exec_res: None,
            r"^Bad\.post\(self, shared, exec_res\) cannot be called as post; "
            r"write def post\(self, shared, prep_res, exec_res\)\.$",
        ),
    ],
)
@pytest.mark.parametrize(
    "base", [Node, BatchNode, BatchFlow, names.Node], ids=lambda cls: f"{cls.__module__}.{cls.__name__}"
)
def test_wrong_signatures(base, name, method, text):
    """A hook that cannot be called is refused when its class is created: which method, which class, what to write."""
    with pytest.raises(SignatureError, match=text) as caught:
        type("Bad", (base,), {name: method})
    assert isinstance(caught.value, FlowError)
    assert isinstance(caught.value, TypeError)


def test_the_class_that_defines_the_method_is_named():
    """A wrong method of a mixin is named with the mixin's class."""
    mixin = type("Mixin", (), {"exec": lambda self: None})
    with pytest.raises(SignatureError, match=r"^Mixin\.exec\(self\) cannot be called"):
        type("A", (mixin, Node), {})


def test_wrong_exec_set_on_the_object():
    """An ``exec`` set on the object that cannot be called is refused before ``prep`` runs."""
    seen = []

    class A(Node):
        def prep(self, shared):
            seen.append("prep")

    node = A()
    node.exec = lambda a, b, c: None
    text = r"A: exec\(a, b, c\) cannot be called; set on an object, it must take \(prep_res\) or \(shared, prep_res\)"
    with pytest.raises(SignatureError, match=text):
        node.run({})
    assert seen == []


def test_async_hooks_of_pocketflow_follow_the_same_rules():
    """``exec_async`` and ``exec_fallback_async`` are checked and told apart too."""
    with pytest.raises(
        SignatureError, match=r"Bad\.exec_async\(self\) cannot be called; write def exec_async\(self, prep_res\)"
    ):
        type("Bad", (names.AsyncNode,), {"exec_async": lambda self: None})
    with pytest.raises(
        SignatureError, match=r"Bad\.post_async\(self, x\) cannot be called as post; write def post_async\("
    ):
        type("Bad", (names.AsyncNode,), {"post_async": lambda self, x: None})


def test_nearest_of_an_async_hook_and_its_plain_namesake():
    """Of ``exec_async`` and ``exec`` the one that is nearest in the class tree counts."""

    class Plain(names.AsyncNode):
        def exec(self, prep_res):
            return "plain"

        async def post_async(self, shared, prep_res, exec_res):
            self.out = exec_res

    class Async(Plain):
        async def exec_async(self, prep_res):
            return "async"

    class PlainAgain(Async):
        def exec(self, prep_res):
            return "plain again"

    assert [told(cls()) for cls in (Plain, Async, PlainAgain)] == ["plain", "async", "plain again"]


@pytest.mark.parametrize("name", ["exec", "exec_fallback", "process_after_fail"])
def test_a_first_parameter_that_does_not_mean_shared(name):
    """Who unpacks what prep returned would hand all of shared to the model; a warning says so as the class is made."""
    more = "" if name == "exec" else ", exc"
    with pytest.warns(
        FlowWarning, match=rf"^Ask.{name}\(self, question, text{more}\): the first argument 'question' gets shared"
    ):
        exec(f"class Ask(Node):\n def {name}(self, question, text{more}): pass", {"Node": Node, "__name__": "cell"})
    for first in ("shared", "store", "s", "_", "_shared"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(f"class Ask(Node):\n def {name}(self, {first}, text{more}): pass", {"Node": Node, "__name__": "cell"})


# ---- patched for a test ----------------------------------------------------------------------------------------------


class Asks(Node):
    """Asks a model, with ``shared`` or without."""

    def prep(self, shared):
        return "question"

    def exec(self, question):
        return "asked"

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = exec_res


class AsksWithShared(Asks):
    def exec(self, shared, question):
        return "asked"


class AsksLater(Asks):
    async def exec(self, question):
        return "asked"


def answer(node):
    """What a run of a node leaves."""
    shared = {}
    Flow(node).run(shared)
    return shared["answer"]


@pytest.mark.parametrize("options", [{}, {"spec": True}, {"autospec": True}], ids=str)
@pytest.mark.parametrize("cls", [Asks, AsksWithShared, AsksLater])
def test_hook_patched_on_a_class(cls, options):
    """A mock in place of a hook is called as the hook was, and the hook is there again afterwards."""
    sub = type("Sub", (cls,), {})
    with patch.object(cls, "exec", return_value="canned", **options) as mock:
        assert [answer(cls()), answer(sub())] == ["canned", "canned"]
    assert len(mock.call_args_list) == 2
    args = mock.call_args.args[1:] if "autospec" in options else mock.call_args.args
    assert args[-1] == "question"
    assert len(args) == (2 if cls is AsksWithShared else 1)
    assert [answer(cls()), answer(sub())] == ["asked", "asked"]


@pytest.mark.parametrize("hook", ["prep", "exec", "post", "exec_fallback"])
def test_every_hook_can_be_patched(hook):
    """So can every other hook be, also where the class has only the default of the library."""
    with patch.object(Asks, hook, return_value=None) as mock:
        Flow(Asks()).run({})
        assert mock.called == (hook != "exec_fallback")
    node = Asks()
    with patch.object(node, hook, return_value=None) as mock:
        Flow(node).run({})
        assert mock.called == (hook != "exec_fallback")
    assert answer(node) == "asked"


def test_batch_with_an_async_mock():
    """An ``AsyncMock`` is awaited, also for items side by side."""

    class Many(BatchNode):
        def prep(self, shared):
            return range(5)

        async def exec(self, item):
            return item

    node = Many(max_concurrency=3)
    with patch.object(Many, "exec", new=AsyncMock(side_effect=lambda item: -item)):
        node.run({})
    assert node.last_run.batch(node).results == [0, -1, -2, -3, -4]


# ---- hooks that yield ------------------------------------------------------------------------------------------------


def _yields(self, *args):
    yield 1


async def _yields_async(self, *args):
    yield 1


@pytest.mark.parametrize("cls", [Node, BatchNode])
@pytest.mark.parametrize("hook", ["exec", "exec_fallback", "post"])
@pytest.mark.parametrize("yields", [_yields, _yields_async, functools.wraps(_yields)(lambda *args: _yields(*args))])
def test_a_hook_that_yields_is_refused(cls, hook, yields):
    """Calling a generator function runs nothing of it, so the class is refused, with what to write."""
    with pytest.raises(SignatureError, match=rf"^Ask\.{hook} is a generator, so a call of it runs nothing; collect"):
        type("Ask", (cls,), {hook: yields})


def test_a_hook_set_on_the_object_that_yields_is_refused():
    """So is one that was set on the object, before anything runs."""
    node = Node()
    node.exec = lambda item: (yield item)
    with pytest.raises(SignatureError, match=r"^Node\.exec is a generator, so a call of it runs nothing"):
        node.run({})


def test_hooks_that_may_yield():
    """``prep`` may yield, so may ``exec`` of a batch flow, and ``exec`` may return a generator for ``post`` to read."""

    class Words(Node):
        def prep(self, shared):
            yield "a"
            yield "b"

        def exec(self, words):
            return (word.upper() for word in words)

        def post(self, shared, prep_res, exec_res):
            shared.append("".join(exec_res))

    class Twice(BatchFlow):
        def prep(self, shared):
            yield {"n": 1}

        def exec(self, params):
            yield params
            yield params

    shared = []
    Twice(start=Words()).run(shared)
    assert shared == ["AB", "AB"]


def test_a_class_that_was_unpickled_by_value_makes_nodes():
    """Pickled by value and read in the same process, as an executor with threads does, it is the same class."""
    cloudpickle = pytest.importorskip("cloudpickle", reason="needs the extra llmflow_nb[dask]")

    class Label(Node):
        def exec(self, item):
            return item

    Label.__module__ = "__main__"
    assert cloudpickle.loads(cloudpickle.dumps(Label)) is Label
    node = Label(max_retries=2)
    node.run({})
    assert (node.max_retries, node.last_run.status) == (2, "ok")
