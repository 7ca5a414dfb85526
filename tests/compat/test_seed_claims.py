"""The document that the project implements, claim by claim. Each test names its claim (S1 to S30)."""

import asyncio
import io
import threading

import numpy as np
import pandas as pd
import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node
from llmflow_nb import pocketflow as pocketflow_names

PROMPTS = []


def call_llm(prompt):
    """A model that answers at once, and remembers what it was asked."""
    PROMPTS.append(prompt)
    return f"summary {len(PROMPTS)}"


@pytest.fixture(autouse=True)
def _forget():
    PROMPTS.clear()


class Echo(BatchNode):
    """Returns each item as it is; ``shared`` holds what to iterate over, and what came of it."""

    def prep(self, shared):
        return shared["items"]

    def exec(self, shared, item):
        shared.setdefault("calls", []).append(item)
        return item

    def post(self, shared, prep_res, exec_res_list):
        shared["results"] = exec_res_list


class Note(Node):
    """Appends its params to ``shared["seen"]``."""

    def post(self, shared, prep_res, exec_res):
        shared.setdefault("seen", []).append(dict(self.params))


# ---- the introduction ------------------------------------------------------------------------------------------------


def test_items_in_a_node_or_runs_of_a_flow():
    """S1: a batch handles a list of items in one node, or reruns a flow many times."""

    class Each(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in shared["items"]]

    shared = {"items": [1, 2, 3]}
    Echo().run(shared)
    Each(start=Note()).run(shared)
    assert shared["results"] == [1, 2, 3]
    assert shared["seen"] == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_use_for_chunks_of_a_text():
    """S2: chunk-based processing, such as summarising a large text in parts."""

    class Words(BatchNode):
        def prep(self, shared):
            text = shared["text"]
            return [text[i : i + 10] for i in range(0, len(text), 10)]

        def exec(self, shared, chunk):
            return call_llm(chunk)

        def post(self, shared, chunks, answers):
            shared["summary"] = "; ".join(answers)

    shared = {"text": "x" * 25}
    Words().run(shared)
    assert PROMPTS == ["x" * 10, "x" * 10, "x" * 5]
    assert shared["summary"] == "summary 1; summary 2; summary 3"


def test_use_for_many_files(tmp_path):
    """S2: multi-file processing."""
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name * 2)

    class Files(BatchFlow):
        def prep(self, shared):
            return [{"path": path} for path in sorted(tmp_path.iterdir())]

    class Read(Node):
        def exec(self, shared, prep_res):
            return self.params["path"].read_text()

        def post(self, shared, prep_res, text):
            shared[self.params["path"].name] = text

    shared = {}
    Files(start=Read()).run(shared)
    assert shared == {"a.txt": "a.txta.txt", "b.txt": "b.txtb.txt"}


@pytest.mark.parametrize("key", ["query", "document", "url"])
def test_use_for_lists_of_parameters(key):
    """S2: iterating over parameters such as queries, documents or URLs."""

    class Ask(BatchFlow):
        def prep(self, shared):
            return [{key: value} for value in ("first", "second")]

    shared = {}
    Ask(start=Note()).run(shared)
    assert shared["seen"] == [{key: "first"}, {key: "second"}]


# ---- 1. BatchNode ----------------------------------------------------------------------------------------------------


def test_batch_node_is_a_node():
    """S3: a BatchNode extends Node: retries, fallback, params and wiring work as there."""

    class Flaky(BatchNode):
        def prep(self, shared):
            return [1, 2]

        def exec(self, shared, item):
            shared["tries"].append((item, self.params["who"]))
            if item == 2 or len(shared["tries"]) < 2:
                raise ValueError("no")
            return item

        def exec_fallback(self, shared, item, exc):
            return f"fallback for {item}"

        def post(self, shared, items, results):
            shared["results"] = results

    node = Flaky(max_retries=2)
    last = Note()
    node >> last
    flow = Flow(start=node)
    flow.set_params({"who": "me"})
    shared = {"tries": []}
    flow.run(shared)
    assert isinstance(node, Node)
    assert shared["tries"] == [(1, "me")] * 2 + [(2, "me")] * 2
    assert shared["results"] == [1, "fallback for 2"]
    assert shared["seen"] == [{"who": "me"}]


@pytest.mark.parametrize(
    "iterable",
    [
        lambda: [0, 1, 2],
        lambda: (0, 1, 2),
        lambda: range(3),
        lambda: {0, 1, 2},
        lambda: {0: "a", 1: "b", 2: "c"}.keys(),
        lambda: (i for i in range(3)),
        lambda: map(int, "012"),
        lambda: np.arange(3),
        lambda: pd.Series([0, 1, 2]),
    ],
    ids=["list", "tuple", "range", "set", "keys", "generator", "map", "numpy", "series"],
)
def test_prep_returns_an_iterable(iterable):
    """S4: prep returns an iterable of any kind."""
    shared = {"items": iterable()}
    Echo().run(shared)
    assert shared["results"] == [0, 1, 2]


def test_prep_returns_a_file():
    """S4: an open file is an iterable of lines."""
    shared = {"items": io.StringIO("one\ntwo\n")}
    Echo().run(shared)
    assert shared["results"] == ["one\n", "two\n"]


def test_prep_returns_a_reader_of_data_frames():
    """S4: pandas reads a table in chunks; each chunk is an item."""
    shared = {"items": pd.read_csv(io.StringIO("n\n1\n2\n3\n"), chunksize=2)}
    Echo().run(shared)
    assert [chunk["n"].tolist() for chunk in shared["results"]] == [[1, 2], [3]]


def test_exec_once_per_item():
    """S5: exec is called exactly once per item, in order."""
    shared = {"items": ["a", "b", "a", "c"]}
    Echo().run(shared)
    assert shared["calls"] == ["a", "b", "a", "c"]


@pytest.mark.parametrize("items", [[1, 2], (n for n in (1, 2)), [], None], ids=["list", "generator", "empty", "None"])
def test_post_gets_a_list(items):
    """S6: post gets a list of all results, also for a generator and for an empty batch."""
    shared = {"items": items}
    Echo().run(shared)
    assert type(shared["results"]) is list
    assert shared["results"] == ([1, 2] if items else [])


class MapSummaries(BatchNode):
    """The first listing of the document."""

    def prep(self, shared):
        content = shared["data"].get("large_text.txt", "")
        chunk_size = 10000
        chunks = [content[i : i + chunk_size] for i in range(0, len(content), chunk_size)]
        return chunks

    def exec(self, shared, chunk):
        prompt = f"Summarize this chunk in 10 words: {chunk}"
        summary = call_llm(prompt)
        return summary

    def post(self, shared, prep_res, exec_res_list):
        shared["chunks"] = prep_res
        combined = "\n".join(exec_res_list)
        shared["summary"]["large_text.txt"] = combined
        return "default"


def test_map_summaries():
    """S7: MapSummaries as printed: 25,000 characters make 3 calls; prep_res is the list of chunks."""
    shared = {"data": {"large_text.txt": "x" * 25_000}, "summary": {}}
    assert MapSummaries().run(shared) == "default"
    assert [len(prompt) for prompt in PROMPTS] == [10_034, 10_034, 5_034]
    assert [len(chunk) for chunk in shared["chunks"]] == [10_000, 10_000, 5_000]
    assert shared["summary"] == {"large_text.txt": "summary 1\nsummary 2\nsummary 3"}


def test_map_summaries_in_a_flow():
    """S8: Flow(start=map_summaries) and flow.run(shared)."""
    map_summaries = MapSummaries()
    flow = Flow(start=map_summaries)
    shared = {"data": {"large_text.txt": "short"}, "summary": {}}
    flow.run(shared)
    assert shared["summary"] == {"large_text.txt": "summary 1"}


def test_prep_res_of_a_generator_is_the_list_of_items():
    """S7: prep_res is the list of items for post, also when prep is a generator."""

    class Chunks(MapSummaries):
        def prep(self, shared):
            yield from super().prep(shared)

    shared = {"data": {"large_text.txt": "x" * 25_000}, "summary": {}}
    Chunks().run(shared)
    assert [len(chunk) for chunk in shared["chunks"]] == [10_000, 10_000, 5_000]


def test_post_aggregates():
    """S9, S22: the collected list is passed to post, which combines the partial results."""

    class Total(Echo):
        def post(self, shared, prep_res, exec_res_list):
            shared["total"] = sum(exec_res_list)

    shared = {"items": range(5)}
    Total().run(shared)
    assert shared["total"] == 10


@pytest.mark.parametrize(("items", "path"), [([1, 2], "small"), (range(50), "large")])
def test_batch_node_branches(items, path):
    """S10: post of a BatchNode returns an action like that of a regular node."""

    class Sized(Echo):
        def post(self, shared, prep_res, exec_res_list):
            return "large" if len(exec_res_list) > 10 else "small"

    class Say(Node):
        def post(self, shared, prep_res, exec_res):
            shared["path"] = self.name

    sized = Sized()
    sized - "small" >> Say(name="small")
    sized - "large" >> Say(name="large")
    shared = {"items": items}
    Flow(start=sized).run(shared)
    assert shared["path"] == path


# ---- 2. BatchFlow ----------------------------------------------------------------------------------------------------


class SummarizeAllFiles(BatchFlow):
    """The second listing of the document."""

    def prep(self, shared):
        filenames = list(shared["data"].keys())
        params_list = [{"filename": fn} for fn in filenames]
        return params_list


class SummarizeFile(Node):
    def prep(self, shared):
        return shared["data"][self.params["filename"]]

    def exec(self, shared, content):
        return call_llm(content)

    def post(self, shared, content, summary):
        shared.setdefault("summary", {})[self.params["filename"]] = summary


FILES = {"file1.txt": "one", "file2.txt": "two"}
SUMMARIES = {"file1.txt": "summary 1", "file2.txt": "summary 2"}


def test_batch_flow_with_a_bare_node():
    """S11, S12, S15, S17: one run per param set, with the default exec and post, and a bare node as the start."""
    summarize_file = SummarizeFile()
    summarize_all_files = SummarizeAllFiles(start=summarize_file)
    shared = {"data": FILES}
    summarize_all_files.run(shared)
    assert PROMPTS == ["one", "two"]
    assert shared["summary"] == SUMMARIES


def test_batch_flow_may_have_exec_and_post():
    """S13: a custom exec and a custom post of a BatchFlow are used."""

    class Both(SummarizeAllFiles):
        def exec(self, shared, params):
            return {"length": len(params["filename"])}

        def post(self, shared, prep_res, exec_res):
            return f"{len(prep_res)} files"

    shared = {"data": FILES}
    assert Both(start=Note()).run(shared) == "2 files"
    assert shared["seen"] == [{"filename": "file1.txt", "length": 9}, {"filename": "file2.txt", "length": 9}]


def test_batch_flow_over_a_chain():
    """S14: the flow per file may be load_file >> summarize >> reduce; every node sees the params."""

    class Step(Node):
        def post(self, shared, prep_res, exec_res):
            shared.setdefault("steps", []).append((self.name, self.params["filename"]))

    load_file = Step(name="load")
    load_file >> Step(name="summarize") >> Step(name="reduce")
    shared = {"data": FILES}
    SummarizeAllFiles(start=load_file).run(shared)
    assert shared["steps"] == [(step, file) for file in FILES for step in ("load", "summarize", "reduce")]


@pytest.mark.parametrize("wrap", [lambda node: node, lambda node: Flow(start=node)], ids=["node", "flow"])
def test_params_are_set_on_the_sub_flow(wrap):
    """S16: the params reach a bare node, and every node of a bigger flow."""
    first = Note()
    first >> Note()
    shared = {"data": FILES}
    SummarizeAllFiles(start=wrap(first)).run(shared)
    assert shared["seen"] == [{"filename": "file1.txt"}] * 2 + [{"filename": "file2.txt"}] * 2


DIRECTORIES = {"d1": ["a", "b"], "d2": ["c"]}
LEAVES = [{"directory": d, "file": f} for d, files in DIRECTORIES.items() for f in files]


class Directories(BatchFlow):
    def prep(self, shared):
        return [{"directory": directory} for directory in DIRECTORIES]


def test_nested_batch_by_prep():
    """S18: a BatchFlow in a BatchFlow: the outer one over directories, the inner one over the files of each."""

    class Files(BatchFlow):
        def prep(self, shared):
            return [{"file": file} for file in DIRECTORIES[self.params["directory"]]]

    shared = {}
    Directories(start=Files(start=Note())).run(shared)
    assert shared["seen"] == LEAVES


def test_nested_batch_by_exec():
    """S19: exec of the outer BatchFlow returns a list of files, which triggers the inner BatchFlow each time."""

    class Outer(Directories):
        def exec(self, shared, params):
            return [{"file": file} for file in DIRECTORIES[params["directory"]]]

    shared = {}
    Outer(start=BatchFlow(start=Note())).run(shared)
    assert shared["seen"] == LEAVES


# ---- 3. tips ---------------------------------------------------------------------------------------------------------


def test_prep_may_yield():
    """S21: prep may yield; an item is executed before the next one is produced."""
    order = []

    class Lazy(BatchNode):
        def prep(self, shared):
            for i in range(3):
                order.append(f"made {i}")
                yield i

        def exec(self, shared, item):
            order.append(f"used {item}")

    Lazy().run({})
    assert order == ["made 0", "used 0", "made 1", "used 1", "made 2", "used 2"]


def test_thousands_of_items_are_not_held():
    """S21: of 100,000 items that are not kept, only one is alive at a time."""

    class Big:
        alive = most = 0

        def __init__(self):
            Big.alive += 1
            Big.most = max(Big.most, Big.alive)

        def __del__(self):
            Big.alive -= 1

    class Many(BatchNode):
        def prep(self, shared):
            return (Big() for _ in range(100_000))

        def exec(self, shared, item):
            return None

    Many(keep_items=False).run({})
    assert Big.most <= 2


def test_chunks_of_a_hundred():
    """S23: prep yields 100 items at a time, and exec gets each such list."""

    class Chunks(BatchNode):
        def prep(self, shared):
            items = list(range(250))
            for i in range(0, len(items), 100):
                yield items[i : i + 100]

        def exec(self, shared, chunk):
            return len(chunk)

        def post(self, shared, prep_res, exec_res_list):
            shared["sizes"] = exec_res_list

    shared = {}
    Chunks().run(shared)
    assert shared["sizes"] == [100, 100, 50]


def gate(most):
    """Return a work function that opens when ``most`` calls are under way at once, and the numbers that there were."""
    under_way, seen, opened = [], [0], asyncio.Event()

    async def work(item):
        under_way.append(item)
        seen.append(len(under_way))
        if len(under_way) == most:
            opened.set()
        async with asyncio.timeout(10):
            await opened.wait()
        await asyncio.sleep(0)
        under_way.remove(item)
        return item * 2

    return work, seen


@pytest.mark.parametrize(("bound", "most"), [(1, 1), (3, 3), (None, 10)])
def test_async_concurrency(bound, most):
    """S24: async def exec with max_concurrency: side by side, bounded when asked, the order kept."""
    work, seen = gate(most)

    class Fast(Echo):
        async def exec(self, shared, item):
            return await work(item)

    shared = {"items": range(10)}
    Fast(max_concurrency=bound).run(shared)
    assert shared["results"] == [item * 2 for item in range(10)]
    assert max(seen) == most


def test_async_class_concurrency():
    """S24: PocketFlow's parallel class makes all calls at once, in the seed's signature too."""
    work, seen = gate(10)

    class Fast(pocketflow_names.AsyncParallelBatchNode):
        async def prep_async(self, shared):
            return shared["items"]

        async def exec_async(self, shared, item):
            return await work(item)

        async def post_async(self, shared, prep_res, exec_res_list):
            shared["results"] = exec_res_list

    shared = {"items": range(10)}
    Fast().run(shared)
    assert shared["results"] == [item * 2 for item in range(10)]
    assert max(seen) == 10


def test_blocking_concurrency():
    """S24: max_concurrency makes a blocking exec concurrent, without async: here four calls wait for each other."""
    meeting = threading.Barrier(4)

    class Meet(Echo):
        def exec(self, shared, item):
            meeting.wait(timeout=10)
            return item * 2

    shared = {"items": range(4)}
    Meet(max_concurrency=4).run(shared)
    assert shared["results"] == [0, 2, 4, 6]


# ---- 4. all together -------------------------------------------------------------------------------------------------


def test_complete_listing():
    """S26, S28: the last listing as written: map_flow runs once for every file in shared["data"]."""

    class MapSummaries(BatchNode):
        def prep(self, shared):
            content = shared["data"].get("bigfile.txt", "")
            chunk_size = 10000
            return [content[i : i + chunk_size] for i in range(0, len(content), chunk_size)]

        def exec(self, shared, chunk):
            return call_llm(f"Summarize chunk: {chunk}")

        def post(self, shared, prep_res, exec_res_list):
            combined = "\n".join(exec_res_list)
            shared["summary"]["bigfile.txt"] = combined
            return "default"

    map_summaries_node = MapSummaries()
    map_flow = Flow(start=map_summaries_node)

    class SummarizeAllFiles(BatchFlow):
        def prep(self, shared):
            return [{"filename": fn} for fn in shared["data"]]

    summarize_all = SummarizeAllFiles(start=map_flow)
    shared = {"data": {"bigfile.txt": "x" * 15_000, "other.txt": "y", "third.txt": ""}, "summary": {}}
    summarize_all.run(shared)
    assert len(PROMPTS) == 6  # the fixed key is read in each of the three runs
    assert shared["summary"] == {"bigfile.txt": "summary 5\nsummary 6"}
    assert len(summarize_all.last_run.batch(summarize_all)) == 3


def test_file_param_by_shared():
    """S27, S29: with a node that puts the file name in a shared place, each file is chunked and summarised."""

    class Choose(Node):
        def post(self, shared, prep_res, exec_res):
            shared["filename"] = self.params["filename"]

    class MapFile(BatchNode):
        def prep(self, shared):
            content = shared["data"][shared["filename"]]
            return [content[i : i + 10] for i in range(0, len(content), 10)]

        def exec(self, shared, chunk):
            return len(chunk)

        def post(self, shared, prep_res, exec_res_list):
            shared["summary"][shared["filename"]] = exec_res_list

    choose = Choose()
    choose >> MapFile()
    shared = {"data": {"a": "x" * 15, "b": "y" * 3}, "summary": {}}
    SummarizeAllFiles(start=Flow(start=choose)).run(shared)
    assert shared["summary"] == {"a": [10, 5], "b": [3]}


def test_mixing_both():
    """S30: a BatchFlow over a flow with a BatchNode, whose hooks use the params."""

    class MapFile(BatchNode):
        def prep(self, shared):
            return shared["data"][self.params["filename"]].split()

        def exec(self, shared, word):
            return f"{self.params['filename']}:{word}"

        def post(self, shared, prep_res, exec_res_list):
            shared["out"][self.params["filename"]] = exec_res_list

    shared = {"data": {"a": "1 2", "b": "3"}, "out": {}}
    SummarizeAllFiles(start=Flow(start=MapFile())).run(shared)
    assert shared["out"] == {"a": ["a:1", "a:2"], "b": ["b:3"]}
