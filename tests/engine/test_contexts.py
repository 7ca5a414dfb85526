"""The async hooks of one visit share a task and a context, under every driver, also when walks run side by side."""

import asyncio
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from contextvars import ContextVar

import anyio
import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowWarning, Node
from llmflow_nb import pocketflow as names
from tests.engine.helpers import PATIENCE, Signal

SPAN: ContextVar[str] = ContextVar("span", default="none")


def run(flow, shared):
    flow.run(shared)


def run_async(flow, shared):
    asyncio.run(flow.run_async(shared))


def submit(flow, shared):
    job = flow.submit(shared, progress=False)
    assert job.wait(PATIENCE)
    if job.run.error is not None:
        raise job.run.error


def stepper(flow, shared):
    stepper = flow.stepper(shared)
    while not stepper.place.is_end:
        stepper.into()


DRIVERS = pytest.mark.parametrize("driver", [run, run_async, submit, stepper])
SIDE_BY_SIDE = pytest.mark.parametrize("driver", [run, run_async, submit])


class Traced(Node):
    """Opens a span in ``prep``, and notes in which one each later hook is, and in which task."""

    async def prep(self, shared):
        SPAN.set(f"span of {self.params.get('n', 'one')}")
        self.tasks = [asyncio.current_task()]
        await asyncio.sleep(0)

    async def exec(self, prep_res):
        await asyncio.sleep(0)
        self.tasks.append(asyncio.current_task())
        return SPAN.get()

    async def post(self, shared, prep_res, exec_res):
        self.tasks.append(asyncio.current_task())
        shared[self.params.get("n", "one")] = exec_res, SPAN.get(), len(set(self.tasks))


class Sets(BatchFlow):
    def prep(self, shared):
        return [{"n": n} for n in range(5)]


@DRIVERS
def test_a_context_variable(driver):
    """What ``prep`` sets is there in ``exec`` and ``post``, which run in the same task."""
    shared = {}
    driver(Flow(start=Traced()), shared)
    assert shared == {"one": ("span of one", "span of one", 1)}


@SIDE_BY_SIDE
def test_context_variables_side_by_side(driver):
    """Walks that run side by side have a task and a context each."""
    shared = {}
    driver(Sets(start=Traced(), max_concurrency=None), shared)
    assert shared == {n: (f"span of {n}", f"span of {n}", 1) for n in range(5)}


@DRIVERS
def test_plain_hooks_share_the_context(driver):
    """A plain ``exec`` or ``post`` reads what an async ``prep`` has set, and items side by side read it too."""

    class Mixed(BatchNode):
        async def prep(self, shared):
            SPAN.set("opened")
            return [1, 2, 3]

        def exec(self, item):
            return SPAN.get()

        def post(self, shared, prep_res, exec_res):
            shared["seen"] = [*exec_res, SPAN.get()]

    for node in (Mixed(), Mixed(max_concurrency=3)):
        shared = {}
        driver(Flow(start=node), shared)
        assert shared == {"seen": ["opened"] * 4}


class UseTool(Node):
    """Opens a task group in ``prep``, works in it in ``exec``, and closes it in ``post``."""

    async def prep(self, shared):
        self.group = anyio.create_task_group()
        await self.group.__aenter__()

    async def exec(self, prep_res):
        self.answers = []
        self.group.start_soon(self.answer)
        await asyncio.sleep(0)

    async def answer(self):
        self.answers.append(self.params.get("n", "one"))

    async def post(self, shared, prep_res, exec_res):
        await self.group.__aexit__(None, None, None)
        shared.extend(self.answers)


@DRIVERS
def test_a_task_group_over_hooks(driver):
    """A task group of anyio may be opened in ``prep`` and closed in ``post``: both are in one task."""
    shared = []
    driver(Flow(start=UseTool()), shared)
    assert shared == ["one"]


@SIDE_BY_SIDE
def test_task_groups_side_by_side(driver):
    """Also in walks that run side by side, whose groups are open at the same time."""
    shared = []
    driver(Sets(start=UseTool(), max_concurrency=None), shared)
    assert sorted(shared) == [0, 1, 2, 3, 4]


@asynccontextmanager
async def session():
    """A session as a tool server's client has it: a task that reads what the other side sends, in a task group."""
    questions, answers = anyio.create_memory_object_stream(1), anyio.create_memory_object_stream(1)

    async def serve():
        async for question in questions[1]:
            await answers[0].send(f"answer to {question}")

    async def call(question):
        await questions[0].send(question)
        return await answers[1].receive()

    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        yield call
        group.cancel_scope.cancel()
    for stream in (*questions, *answers):
        await stream.aclose()


class AskTool(Node):
    async def prep(self, shared):
        self.session = session()
        self.call = await self.session.__aenter__()
        return self.params.get("n", "one")

    async def exec(self, question):
        return await self.call(question)

    async def post(self, shared, prep_res, exec_res):
        await self.session.__aexit__(None, None, None)
        shared.append(exec_res)


@DRIVERS
def test_a_session_over_hooks(driver):
    """A client session that ``prep`` opens answers in ``exec`` and is closed in ``post``."""
    shared = []
    driver(Flow(start=AskTool()), shared)
    assert shared == ["answer to one"]


@SIDE_BY_SIDE
@pytest.mark.parametrize("concurrency", [2, None])
def test_sessions_side_by_side(driver, concurrency):
    """So do sessions of walks that run side by side."""
    shared = []
    driver(Sets(start=AskTool(), max_concurrency=concurrency), shared)
    assert sorted(shared) == [f"answer to {n}" for n in range(5)]


def test_sessions_under_pocketflows_names():
    """And those of PocketFlow's parallel flow, whose hooks overlap."""

    class Ask(names.AsyncNode):
        prep_async, exec_async, post_async = AskTool.prep, AskTool.exec, AskTool.post

    class Parallel(names.AsyncParallelBatchFlow):
        async def prep_async(self, shared):
            return [{"n": n} for n in range(5)]

    shared = []
    asyncio.run(Parallel(start=Ask()).run_async(shared))
    assert sorted(shared) == [f"answer to {n}" for n in range(5)]


def test_a_step_back_has_the_context_of_then():
    """A stepper that goes back, and on from there, has the context variables of that place."""
    shared = {}
    stepper = Flow(start=Traced()).stepper(shared)
    while stepper.place.phase != "after prep":
        stepper.into()
    after_prep = len(stepper.tree.splitlines()) - 1
    stepper.run()
    assert stepper.goto(after_prep).phase == "after prep"
    stepper.rerun(call_again=True)
    stepper.goto(after_prep)
    stepper.run()
    assert shared["one"][:2] == ("span of one", "span of one")


def test_a_retried_attempt_shares_the_task_too():
    """A further attempt runs in the same task and context, and reads its number."""

    class Fails(Traced):
        async def exec(self, prep_res):
            await asyncio.sleep(0)
            self.tasks.append(asyncio.current_task())
            if self.cur_retry == 0:
                raise LookupError("no such item")
            return SPAN.get()

    for driver in (run, run_async):
        shared = {}
        driver(Flow(start=Fails(max_retries=2)), shared)
        assert shared == {"one": ("span of one", "span of one", 1)}


def test_an_attempt_that_ignores_its_timeout():
    """It is left behind with its task; the next attempt has another task, with the same context variables."""
    hold = Signal()

    class Stubborn(Node):
        async def prep(self, shared):
            SPAN.set("opened")

        async def exec(self, prep_res):
            if self.cur_retry == 0:
                while not hold.is_set():
                    try:
                        await hold.seen()
                    except asyncio.CancelledError:
                        continue
            return SPAN.get()

        async def post(self, shared, prep_res, exec_res):
            shared["seen"] = exec_res, SPAN.get()

    shared = {}
    try:
        Flow(start=Stubborn(max_retries=2, timeout=1)).run(shared)
    finally:
        hold.set()
    assert shared == {"seen": ("opened", "opened")}


class FailsOnce(Node):
    """Its async ``prep`` makes a lane. Its ``exec`` first holds the loop back and fails, then lets the loop go on."""

    def __init__(self):
        super().__init__()
        self.gate, self.has_closed = threading.Event(), threading.Event()
        self.seen = []

    async def prep(self, shared):
        SPAN.set("set by prep")
        self.seen.append(asyncio.current_task())
        self.loop = asyncio.get_running_loop()

    def exec(self, prep_res):
        if len(self.seen) == 1:
            self.loop.call_soon_threadsafe(self.gate.wait, PATIENCE)
            self.seen.append(None)
            raise ValueError("once")
        self.gate.set()
        self.loop.call_soon_threadsafe(self.loop.call_soon, self.has_closed.set)  # after the last step of the task
        assert self.has_closed.wait(PATIENCE)
        return SPAN.get()


def test_a_run_is_resumed_while_the_task_of_its_hooks_ends(caplog):
    """The task of the failed run takes its last step while a resumed hook runs with the same context variables."""
    node = FailsOnce()
    with pytest.raises(ValueError, match="once"):
        node.run({})
    node.last_run.resume()
    assert node.last_run.visits[-1].status == "ok"
    assert node.seen[0].done()
    assert not caplog.records


def test_a_wait_that_cannot_end_is_named():
    """Outside of PocketFlow's names hooks run one at a time: of two walks that wait for each other, the run says so."""

    class Meet(Node):
        async def prep(self, shared):
            shared["met"].append(self.params["n"])
            if len(shared["met"]) < 2:
                await shared["never"].seen()

    shared = {"met": [], "never": Signal()}

    def run_until_it_is_said():
        job = Sets(start=Meet(), max_concurrency=2).submit(shared, progress=False)
        while not job.run.problems and not job.done:
            job.wait(0.05)
        shared["never"].set()
        assert job.wait(PATIENCE)

    with pytest.warns(
        FlowWarning, match=r"^Sets/Meet: a prep or post has been awaited for 3 s, and no other param set"
    ):
        run_until_it_is_said()
    assert shared["met"] == [0, 1, 2, 3, 4]


STOPS_IN_THE_MIDDLE = """
from llmflow_nb import Flow, Node

class Ask(Node):
    async def prep(self, shared):
        pass
    async def exec(self, prep_res):
        return 1

stepper = Flow(start=Ask()).stepper({})
stepper.into()
print(stepper.place.phase)
"""


def test_a_program_may_end_in_the_middle_of_a_walk():
    """The interpreter has nothing to say of the task in which the hooks ran."""
    done = subprocess.run([sys.executable, "-c", STOPS_IN_THE_MIDDLE], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("after prep\n", "")
