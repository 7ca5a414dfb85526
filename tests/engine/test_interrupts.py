"""Real interrupts in a real kernel: the cell ends at once, keeps what is finished, and leaves nothing going on.

Each test runs a cell that says "under way" and then cannot end by itself, sends SIGINT, and looks at what is left in
the next cells. The calls that blocked are released then, so that whatever would go on has its chance.
"""

import pytest

from tests.engine.kernel import running_kernel

SETUP = """
import asyncio, threading
from llmflow_nb import BatchFlow, BatchNode, Flow, Limiter, Node
from llmflow_nb.engine.limiter import Ticket

class Scene:
    '''What happened in a test: calls that started, and those that blocked.'''

    def __init__(self, blocking):
        self.blocking = blocking            # say so when so many calls block
        self.ledger = []                    # every start of an exec
        self.blocked = 0
        self.lock = threading.Lock()
        self.release = threading.Event()
        self.tasks, self.loops = [], set()

    def start(self, item):
        self.ledger.append(item)

    def count(self):
        with self.lock:
            self.blocked += 1
            if self.blocked == self.blocking:
                print("under way", flush=True)

    def block(self):
        self.count()
        self.release.wait(20)

    async def block_async(self):
        self.tasks.append(asyncio.current_task())
        self.loops.add(asyncio.get_running_loop())
        self.count()
        await asyncio.Event().wait()

    def settle(self):
        '''Let go of what blocks, wait until it is gone, and return what started all in all.'''
        self.release.set()
        for thread in threading.enumerate():
            if thread.name.startswith("llmflow_nb-call"):
                thread.join(10)
        return sorted(self.ledger)

    def left_on_loops(self):
        '''Tasks that are left on the loops that exec ran on, but for the one that asks.'''
        async def others():
            return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        here = asyncio.get_running_loop()
        away = [loop for loop in self.loops if loop is not here]
        left = [asyncio.run_coroutine_threadsafe(others(), loop).result(10) for loop in away]
        return sum(map(len, left)) + sum(not task.done() for task in self.tasks)

def rows(node, which=None):
    return " ".join(row.status for row in node.last_run.batch(which or node))

class Blocking(BatchNode):
    def prep(self, shared):
        return range(10)

    def exec(self, item):
        scene.start(item)
        if item >= 3:
            scene.block()
        return item * 10

class Awaiting(Blocking):
    async def exec(self, item):
        scene.start(item)
        if item >= 3:
            await scene.block_async()
        return item * 10
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with running_kernel(tmp_path_factory.mktemp("kernel"), SETUP) as kernel:
        yield kernel


@pytest.fixture
def kernel(running):
    """The kernel, which must be usable afterwards, with nothing left on an event loop."""
    yield running
    running.run("scene.settle()")
    assert running.run("1 + 1") == "2"
    assert running.run("scene.left_on_loops()") == "0"
    assert running.run("[thread.name for thread in threading.enumerate() if 'llmflow_nb-call' in thread.name]") == "[]"


FOUR_BLOCK = "ok ok ok " + "cancelled " * 4 + "pending " * 2 + "pending"
ONE_BLOCKS = "ok ok ok cancelled " + "pending " * 5 + "pending"


@pytest.mark.parametrize(
    ("node", "call", "blocking", "ends_with"),
    [
        ("Blocking(max_concurrency=4)", "node.run({})", 4, "KeyboardInterrupt"),
        ("Blocking()", "node.run({})", 1, "KeyboardInterrupt"),
        ("Blocking(timeout=60)", "node.run({})", 1, "KeyboardInterrupt"),
        ("Blocking(limiter=Limiter(1))", "node.run({})", 1, "KeyboardInterrupt"),
        ("Awaiting(max_concurrency=4)", "node.run({})", 4, "KeyboardInterrupt"),
        ("Awaiting()", "node.run({})", 1, "KeyboardInterrupt"),
        # The kernel cancels what a cell awaits. Turned into a KeyboardInterrupt inside a task, that would stop the
        # event loop that the kernel itself runs on; so the cell shows asyncio's CancelledError.
        ("Awaiting(max_concurrency=4)", "await node.run_async({})", 4, "CancelledError"),
        ("Blocking(max_concurrency=4)", "await node.run_async({})", 4, "CancelledError"),
    ],
)
def test_batch(kernel, node, call, blocking, ends_with):
    """A batch that is interrupted keeps its finished results; calls under way are cancelled, the others never start."""
    kernel.run(f"scene = Scene({blocking}); node = {node}")
    assert kernel.interrupt(call) == ends_with

    assert kernel.run("rows(node)") == repr(FOUR_BLOCK if blocking == 4 else ONE_BLOCKS)
    assert kernel.run("node.last_run.batch(node).results[:4]") == "[0, 10, 20, None]"
    assert kernel.run("node.last_run.status, type(node.last_run.error).__name__") == f"('interrupted', '{ends_with}')"
    assert kernel.run("[(visit.node, visit.status) for visit in node.last_run.visits]").endswith("'cancelled')]")
    assert kernel.run("scene.settle()") == str(list(range(3 + blocking)))
    assert kernel.run("rows(node)") == repr(FOUR_BLOCK if blocking == 4 else ONE_BLOCKS)  # nothing came in late
    in_threads = "Blocking" in node and ("max_concurrency" in node or "timeout" in node)
    # An interrupt in the very moment in which the last call is handed to its thread cannot count that one.
    assert int(kernel.run("node.last_run.abandoned")) in ((blocking - 1, blocking) if in_threads else (0,))


@pytest.mark.parametrize(
    ("node", "call"),
    [
        ("Blocking(max_concurrency=4)", "await job"),
        ("Awaiting(max_concurrency=4)", "await job"),
        ("Awaiting(max_concurrency=4)", "await asyncio.gather(job, asyncio.sleep(60))"),
    ],
)
def test_awaited_job(kernel, node, call):
    """An interrupt of a cell that awaits a submitted run stops the run, and the cell ends after it."""
    kernel.run(f"scene = Scene(4); node = {node}")
    assert kernel.interrupt(f"job = node.submit({{}}, progress=False); {call}") == "CancelledError"

    assert kernel.run("job.done, job.run.status") == "(True, 'stopped')"
    assert kernel.run("rows(node)") == repr(FOUR_BLOCK)
    assert kernel.run("node.last_run.batch(node).results[:4]") == "[0, 10, 20, None]"
    assert kernel.run("scene.settle()") == str(list(range(7)))
    assert kernel.run("rows(node)") == repr(FOUR_BLOCK)


def test_run_again(kernel):
    """A batch that was interrupted can be run again, with the limiter that it was interrupted in."""
    kernel.run("scene = Scene(1); node = Blocking(limiter=Limiter(1))")
    assert kernel.interrupt("node.run({})") == "KeyboardInterrupt"
    kernel.run("scene.settle(); node.run({})")
    assert kernel.run("rows(node)") == repr("ok " * 9 + "ok")


def test_wait_between_attempts(kernel):
    """A call that waits for its next attempt is cancelled; its row tells the error of the attempt that failed."""
    kernel.run("""
        class Flaky(Blocking):
            def exec(self, item):
                scene.start(item)
                if item == 3:
                    raise ValueError("busy")
                return item * 10

        def wait(attempt):
            scene.count()  # the attempt has failed by now; an interrupt in exec itself would be another story
            return 30

        scene = Scene(1); node = Flaky(max_retries=2, wait=wait)
    """)
    assert kernel.interrupt("node.run({})") == "KeyboardInterrupt"
    assert kernel.run("rows(node)") == repr(ONE_BLOCKS)
    assert kernel.run("row = list(node.last_run.batch(node))[3]; row.attempts, row.error") == "(1, ValueError('busy'))"
    assert kernel.run("scene.settle()") == "[0, 1, 2, 3]"


@pytest.mark.parametrize("second", ["Second", "AsyncSecond"])
def test_batch_flow(kernel, second):
    """Param sets side by side: the finished are kept, those under way are cancelled where they stand."""
    kernel.run(f"""
        class First(Node):
            def exec(self, _):
                scene.start(("first", self.params["n"]))

        class Second(Node):
            def prep(self, shared):
                return self.params["n"]

            def exec(self, n):
                scene.start(("second", n))
                if n >= 3:
                    scene.block()
                return n * 10

        class AsyncSecond(Second):
            async def exec(self, n):
                scene.start(("second", n))
                if n >= 3:
                    await scene.block_async()
                return n * 10

        class Sets(BatchFlow):
            def prep(self, shared):
                return [{{"n": n}} for n in range(10)]

        scene = Scene(4)
        first = First()
        first >> {second}(name="Second")
        node = Sets(first, max_concurrency=4)
    """)
    assert kernel.interrupt("node.run({})") == "KeyboardInterrupt"
    assert kernel.run("rows(node)") == repr(FOUR_BLOCK)
    assert kernel.run("node.last_run.batch(node).results[:4]") == "[0, 10, 20, None]"
    assert kernel.run("[visit.status for visit in node.last_run.visits if visit.node == 'Second']") == str(
        ["ok"] * 3 + ["cancelled"] * 4
    )
    assert kernel.run("len(scene.settle())") == "14"


def test_sequential_batch_flow(kernel):
    """Param sets one after the other: the one under way is cancelled."""
    kernel.run("""
        class Step(Node):
            def exec(self, _):
                scene.start(self.params["n"])
                if self.params["n"] >= 3:
                    scene.block()

        class Sets(BatchFlow):
            def prep(self, shared):
                return [{"n": n} for n in range(10)]

        scene = Scene(1); node = Sets(Flow(Step()), on_error="keep")
    """)
    assert kernel.interrupt("node.run({})") == "KeyboardInterrupt"
    assert kernel.run("rows(node)") == repr(ONE_BLOCKS)
    assert kernel.run("scene.settle()") == "[0, 1, 2, 3]"


@pytest.mark.parametrize("hook", ["prep", "post"])
def test_async_hook(kernel, hook):
    """A hook that is awaited on the background loop is cancelled, and the visit with it."""
    arguments = {"prep": "shared", "post": "shared, prep_res, exec_res"}[hook]
    kernel.run(f"""
        class Waiting(Node):
            async def {hook}(self, {arguments}):
                await scene.block_async()

        class After(Node):
            def exec(self, _):
                scene.start("after")

        scene = Scene(1)
        waiting = Waiting()
        waiting >> After()
        node = Flow(waiting)
    """)
    assert kernel.interrupt("node.run({})") == "KeyboardInterrupt"
    assert kernel.run("[(visit.node, visit.status) for visit in node.last_run.visits]") == str(
        [("Waiting", "cancelled"), ("Flow", "cancelled")]
    )
    assert kernel.run("scene.settle()") == "[]"


def test_waiting_for_a_limiter(kernel):
    """Calls that wait for a limiter which another run uses up never start, and leave its queue."""
    kernel.run("""
        class Items(Blocking):
            def prep(self, shared):
                yield 0
                scene.count()
                yield 1

        limiter = Limiter(1)
        taken = limiter.request(Ticket(lambda: None))
        assert limiter.seconds_left(taken) == 0
        scene = Scene(1); node = Items(max_concurrency=4, limiter=limiter)
    """)
    assert kernel.interrupt("node.run({})") == "KeyboardInterrupt"
    assert kernel.run("rows(node)") in ("'cancelled cancelled'", "'cancelled'")
    assert kernel.run("limiter.give_back(taken); scene.settle()") == "[]"
    assert kernel.run("limiter.seconds_left(limiter.request(Ticket(lambda: None)))") == "0.0"
