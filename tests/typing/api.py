"""The public API as a type checker sees it. Checked by mypy, never called."""

from typing import Any, assert_type

from llmflow_nb import BatchFlow, BatchNode, Flow, Journal, Limiter, Node, Run


class Ask(Node):
    def prep(self, shared: dict[str, str]) -> str:
        return shared["question"]

    def exec(self, question: str) -> str:
        return question.upper()

    def post(self, shared: dict[str, str], prep_res: str, exec_res: str) -> str | None:
        shared["answer"] = exec_res
        return None


class SeedStyle(BatchNode):
    def prep(self, shared: dict[str, list[int]]) -> list[int]:
        return shared["numbers"]

    def exec(self, shared: dict[str, list[int]], item: int) -> int:
        return item + 1


class Asynchronous(BatchFlow):
    async def prep(self, shared: dict[str, list[str]]) -> list[dict[str, str]]:
        return [{"file": name} for name in shared["files"]]


def never_called() -> None:
    ask = Ask(max_retries=3, wait=lambda attempt: 2.0**attempt, timeout=30, limiter=Limiter(per_minute=60))
    batch = SeedStyle(max_concurrency=None, on_error="keep", keep_items=False)
    assert_type(ask >> batch, SeedStyle)
    assert_type(ask - "again" >> ask, Ask)
    flow = Flow(start=ask, name="qa", strict=True, max_steps=None)
    assert_type(flow.start(batch), SeedStyle)
    assert_type(flow.run({}), Any)
    assert_type(flow.run({}, journal="runs.db", fresh="Ask"), Any)
    assert_type(flow.run({}, journal=Journal("runs.db", types=[Ask])), Any)
    assert_type(flow.plan({}, journal="runs.db", fresh="Ask").to_call, int)
    assert_type(flow.compare({}, old={}, new={"Ask.prompt": "x"}, score=lambda _, result: 1).verdict, list[str])
    assert_type(flow.last_run, Run | None)
    sets = Asynchronous(flow, max_concurrency=8, item_key="file")
    if sets.last_run is not None:
        assert_type(sets.last_run.batch("SeedStyle").results, list[Any])
        assert_type(sets.last_run.status, str)
