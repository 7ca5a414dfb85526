"""An exception that a fallback raises leads to the error of ``exec`` that it was asked about."""

import asyncio
from concurrent.futures import ProcessPoolExecutor

import pytest

from llmflow_nb import BatchNode, Node


class Ask(Node):
    def exec(self, prep_res):
        raise ValueError("of exec")

    def exec_fallback(self, prep_res, exc):
        raise KeyError("of the fallback")


class AskAsync(Node):
    async def exec(self, prep_res):
        raise ValueError("of exec")

    async def exec_fallback(self, prep_res, exc):
        raise KeyError("of the fallback")


class AskMany(BatchNode):
    def prep(self, shared):
        return [1]

    def exec(self, item):
        raise ValueError("of exec")

    def exec_fallback(self, item, exc):
        raise KeyError("of the fallback")


def raised_by(run):
    with pytest.raises(Exception, match="of ") as caught:
        run()
    return caught.value


@pytest.mark.parametrize(
    "node", [Ask(), Ask(timeout=60), AskAsync(), AskMany(), AskMany(max_concurrency=2)], ids=lambda node: repr(node)
)
def test_the_error_of_a_fallback_has_that_of_exec_as_its_context(node):
    """On the spot, in a thread and on an event loop, the traceback shows both errors."""
    error = raised_by(lambda: node.run({}))
    assert type(error) is KeyError
    assert repr(error.__context__) == "ValueError('of exec')"
    assert error.__cause__ is None


def test_the_error_of_a_fallback_has_its_context_under_run_async():
    """So it is on the caller's event loop."""
    error = raised_by(lambda: asyncio.run(AskAsync().run_async({})))
    assert repr(error.__context__) == "ValueError('of exec')"


def test_the_error_of_a_fallback_in_another_process_has_its_context():
    """A traceback does not come back from a process, but both errors are known here."""
    with ProcessPoolExecutor(1) as pool:
        error = raised_by(lambda: Ask().run({}, executor=pool))
    assert type(error) is KeyError
    assert repr(error.__context__) == "ValueError('of exec')"


def test_a_fallback_that_handles_another_error_keeps_that_in_between():
    """What the fallback was handling comes first, and the error of exec at the end of the chain, as Python has it."""

    class Twice(Ask):
        def exec_fallback(self, prep_res, exc):
            try:
                raise OSError("no second endpoint")
            except OSError:
                raise KeyError("of the fallback")  # noqa: B904

    error = raised_by(lambda: Twice().run({}))
    assert repr(error.__context__) == "OSError('no second endpoint')"
    assert repr(error.__context__.__context__) == "ValueError('of exec')"


def test_a_fallback_that_names_a_cause_is_left_alone():
    """``raise ... from exc`` says where the error came from."""

    class From(Ask):
        def exec_fallback(self, prep_res, exc):
            raise KeyError("of the fallback") from exc

    error = raised_by(lambda: From().run({}))
    assert repr(error.__cause__) == "ValueError('of exec')"
    assert error.__context__ is None


def test_a_fallback_that_raises_the_same_error_again_makes_no_cycle():
    """It is the error of exec, and no context of itself, also where another one was made of it."""

    class Same(Ask):
        def exec_fallback(self, prep_res, exc):
            raise exc

    class Cause(Ask):
        inner = OSError("of the endpoint")

        def exec(self, prep_res):
            raise ValueError("of exec") from self.inner

        def exec_fallback(self, prep_res, exc):
            raise exc.__cause__

    error = raised_by(lambda: Same().run({}))
    assert repr(error) == "ValueError('of exec')"
    assert error.__context__ is None
    error = raised_by(lambda: Cause().run({}))
    assert error is Cause.inner
    assert error.__context__ is None


def test_a_fallback_with_a_closed_exception_class_raises_it():
    """An exception that lets nothing be set comes out as it is, with the error of exec behind it."""

    class Closed(Exception):
        def __setattr__(self, name, value):
            raise TypeError("of the closed class")

    class Refuses(Ask):
        def exec_fallback(self, prep_res, exc):
            raise Closed("of the fallback")

    error = raised_by(lambda: Refuses().run({}))
    assert type(error) is Closed
    assert repr(error.__context__) == "ValueError('of exec')"
