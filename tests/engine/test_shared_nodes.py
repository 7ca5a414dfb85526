"""One node or flow that several callers run at once: each has what its own hooks set on ``self``."""

import asyncio
import threading

import pytest

from llmflow_nb import BatchNode, Flow, Node
from tests.engine.helpers import PATIENCE

CALLERS = 20


class Ask(Node):
    """Sets in ``prep`` what ``exec`` and ``post`` read, and lets all callers come between."""

    def prep(self, shared):
        self.question = shared["n"]
        shared["between"].wait()

    def exec(self, prep_res):
        return self.question * 10

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = self.question, exec_res


class AskAll(BatchNode):
    def prep(self, shared):
        self.factor = shared["n"]
        shared["between"].wait()
        return [1, 2]

    def exec(self, item):
        return item * self.factor * 10

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = self.factor, exec_res[0]


class Outer(Flow):
    def prep(self, shared):
        self.question = shared["n"]
        shared["between"].wait()

    def post(self, shared, prep_res, exec_res):
        shared["answer"] = self.question, self.question * 10


@pytest.mark.parametrize("node", [Ask(), AskAll(), AskAll(max_concurrency=2), Outer(start=Node())], ids=repr)
def test_callers_in_threads(node):
    """Each of twenty threads that run one object gets its own answer."""
    between = threading.Barrier(CALLERS, timeout=PATIENCE)
    shareds = [{"n": n, "between": between} for n in range(CALLERS)]
    threads = [threading.Thread(target=node.run, args=(shared,)) for shared in shareds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [shared.get("answer") for shared in shareds] == [(n, n * 10) for n in range(CALLERS)]


def test_callers_on_a_loop():
    """So does each of twenty tasks on one event loop."""

    class Awaited(Node):
        async def prep(self, shared):
            self.question = shared["n"]
            await shared["between"].wait()

        async def exec(self, prep_res):
            return self.question * 10

        async def post(self, shared, prep_res, exec_res):
            shared["answer"] = self.question, exec_res

    async def main():
        between = asyncio.Barrier(CALLERS)
        shareds = [{"n": n, "between": between} for n in range(CALLERS)]
        await asyncio.wait_for(asyncio.gather(*(node.run_async(shared) for shared in shareds)), PATIENCE)
        return [shared["answer"] for shared in shareds]

    node = Awaited()
    assert asyncio.run(main()) == [(n, n * 10) for n in range(CALLERS)]


class Counting(Node):
    count = 0

    def exec(self, prep_res):
        self.count += 1

    def post(self, shared, prep_res, exec_res):
        if shared.get("fails"):
            raise LookupError("no such item")


def test_what_hooks_set_is_on_the_node_afterwards():
    """What the hooks set on ``self`` is on the node after its run, and the next run begins with it."""
    node = Counting()
    node.run({})
    assert node.count == 1
    asyncio.run(node.run_async({}))
    assert node.count == 2
    with pytest.raises(LookupError):
        node.run({"fails": True})
    assert node.count == 3


def test_what_hooks_delete_is_gone_afterwards():
    """So is what they delete."""

    class Forgets(Node):
        def exec(self, prep_res):
            del self.draft

    node = Forgets()
    node.draft = "a text"
    node.run({})
    assert not hasattr(node, "draft")


def test_a_stepper_gives_back_at_the_end():
    """Stepped to its end, a node has what a run would have left on it; before, it is as it was."""
    node = Counting()
    stepper = node.stepper({})
    stepper.into()
    assert node.count == 0
    stepper.run()
    assert node.count == 1
