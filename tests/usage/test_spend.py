"""`spend`: what calls of models have used is in their rows, in the sums of the run, and nowhere else."""

import asyncio
import contextvars
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from threading import Event, Thread

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowWarning, Journal, Node, pocketflow, spend
from llmflow_nb.core.prices import UsageSum, cost_of, dollars, sum_of
from llmflow_nb.core.usage import Usage


class Load(Node):
    def exec(self, _):
        spend(input=1000, output=10, cost=1.0)


class Label(BatchNode):
    """Spends 10 tokens times the item at each attempt; odd items fail at their first one."""

    def prep(self, shared):
        return [1, 2, 3, 4]

    def exec(self, item):
        spend(input=10 * item, output=item, cost=0.25)
        if item % 2 and not self.cur_retry:
            raise ValueError(item)
        return item


class AsyncLabel(Label):
    async def exec(self, item):
        await asyncio.sleep(0)
        return super().exec(item)


def chain(*nodes):
    for node, following in pairwise(nodes):
        node >> following
    return Flow(nodes[0])


def run_inline(flow):
    flow.run({})


def run_async(flow):
    asyncio.run(flow.run_async({}))


def run_submitted(flow):
    flow.submit({}).wait()


def run_in_threads(flow):
    with ThreadPoolExecutor(2) as pool:
        flow.run({}, executor=pool)


def run_in_processes(flow):
    with ProcessPoolExecutor(2) as pool:
        flow.run({}, executor=pool)


DRIVERS = [run_inline, run_async, run_submitted, run_in_threads, run_in_processes]
TOKENS_IN, ATTEMPTS = [20, 20, 60, 40], [2, 1, 2, 1]


@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize("options", [{}, {"max_concurrency": 3}, {"timeout": 30}])
@pytest.mark.parametrize("cls", [Label, AsyncLabel])
def test_a_row_has_what_its_attempts_have_used(drive, options, cls):
    """Whatever makes the calls, each row and each visit has its own tokens, failed attempts included."""
    flow = chain(Load(), cls(max_retries=2, **options))
    drive(flow)
    df = flow.last_run.batch("Label" if cls is Label else "AsyncLabel").df
    assert df["tokens_in"].tolist() == TOKENS_IN
    assert df["tokens_out"].tolist() == [2, 2, 6, 4]
    assert df["cost"].tolist() == [0.25 * n for n in ATTEMPTS]
    steps = flow.last_run.steps
    assert steps["tokens_in"].tolist()[:2] == [1000, 140]
    assert steps["cost"].tolist()[:2] == [1.0, 1.5]
    assert steps["tokens_in"].isna().tolist() == [False, False, True]  # of the flow: its nodes have it
    assert flow.last_run.usage == UsageSum(1140, 24, 2.5)


def test_without_a_report_there_is_no_column():
    """A flow that reports nothing has the tables that it had."""

    class Echo(BatchNode):
        def prep(self, shared):
            return [1]

        def exec(self, item):
            return item

    flow = Flow(Echo())
    flow.run({})
    assert "cost" not in flow.last_run.steps
    assert "cost" not in flow.last_run.batch("Echo").df
    assert flow.last_run.usage == UsageSum()


def test_a_row_without_a_report_is_missing_and_not_free():
    """A call that reported nothing may have cost something: its cells are missing."""

    class Half(BatchNode):
        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            if item == 2:
                spend(input=5, cost=0.5)

    flow = Flow(Half())
    flow.run({})
    df = flow.last_run.batch("Half").df
    assert df["tokens_in"].isna().tolist() == [True, False]
    assert df["cost"].isna().tolist() == [True, False]


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_param_set_has_what_is_used_within_it(at_once):
    """At any depth: items, plain nodes, inner batch flows. The sums of the run count each report once."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}]

    inner = chain(Load(), Label(max_retries=2))
    middle = Sets(start=inner, max_concurrency=at_once, name="middle")
    outer = Sets(start=middle, max_concurrency=at_once, name="outer")
    outer.run({})
    run = outer.last_run
    assert run.batch("outer").df["tokens_in"].tolist() == [2280, 2280]
    assert run.batch("outer/middle").df["cost"].tolist() == [2.5] * 4
    assert run.batch("outer").usage == run.usage == UsageSum(4560, 96, 10.0)


def test_prep_and_post_count_for_their_visit():
    """A model that is asked outside of exec is paid for too."""

    class Everywhere(Node):
        def prep(self, shared):
            spend(input=1, cost=0.5)

        def exec(self, _):
            spend(input=2, cost=0.5)

        def post(self, shared, prep_res, exec_res):
            spend(input=4, cost=0.5)

    flow = chain(Everywhere(), Load())
    flow.run({})
    assert flow.last_run.steps["tokens_in"].tolist()[:2] == [7, 1000]


@pytest.mark.parametrize("options", [{}, {"timeout": 30}])
def test_a_visit_that_fails_has_what_it_used(options):
    """Nothing that was paid is lost with an error."""

    class Fails(Node):
        def exec(self, _):
            spend(input=3, cost=0.5)
            raise ValueError("broken")

    flow = chain(Load(), Fails(max_retries=3, **options))
    with pytest.raises(ValueError, match="broken"):
        flow.run({})
    assert flow.last_run.steps["tokens_in"].tolist()[1] == 9
    assert flow.last_run.usage.cost == 2.5


@pytest.mark.parametrize("kind", [Node, BatchNode])
def test_an_attempt_that_timed_out_counts_when_it_reports(kind):
    """The call goes on in its thread, and what it reports later is in its row."""
    go, reported = Event(), Event()

    class Slow(kind):
        def prep(self, shared):
            return [1]

        def exec(self, _):
            go.wait(10)
            spend(input=3, cost=0.5)
            reported.set()

        def exec_fallback(self, prep_res, exc):
            return None

    flow = Flow(Slow(timeout=0.01))
    flow.run({})
    assert flow.last_run.usage.cost == 0
    go.set()
    assert reported.wait(10)
    assert flow.last_run.usage.cost == 0.5
    assert flow.last_run.steps["cost"].tolist()[0] == 0.5
    if kind is BatchNode:
        assert flow.last_run.batch("Slow").df["cost"].tolist() == [0.5]


def test_a_retry_adds_what_it_uses():
    """Retried rows add up, as attempts and seconds do."""

    class Once(BatchNode):
        broken = True

        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            spend(input=item, cost=0.5)
            if self.broken and item == 2:
                raise ValueError("broken")
            return item

    node = Once(on_error="keep")
    flow = Flow(node)
    flow.run({})
    node.broken = False
    batch = flow.last_run.batch(node).retry_failed()
    assert batch.df["tokens_in"].tolist() == [1, 4]
    assert flow.last_run.usage.cost == 1.5


def test_a_resumed_run_keeps_what_was_used():
    """And adds what is used from then on."""

    class Once(Node):
        broken = True

        def exec(self, _):
            spend(input=1, cost=0.5)
            if self.broken:
                raise ValueError("broken")

    node = Once()
    flow = chain(Load(), node)
    with pytest.raises(ValueError, match="broken"):
        flow.run({})
    node.broken = False
    flow.last_run.resume()
    assert flow.last_run.usage == UsageSum(1002, 10, 2.0)


def test_a_run_inside_a_call_counts_for_the_call():
    """An exec that runs a flow has used what that flow has used; the inner run has a record of its own."""
    inner = chain(Load())

    class Agent(BatchNode):
        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            inner.run({})

    flow = Flow(Agent())
    flow.run({})
    assert flow.last_run.batch("Agent").df["cost"].tolist() == [1.0, 1.0]
    assert inner.last_run.usage.cost == 1.0


def test_threads_of_the_user_report_with_the_context():
    """asyncio.to_thread keeps the context; a plain thread needs it handed over, and reports nowhere else without."""

    class Threads(BatchNode):
        def prep(self, shared):
            return [1, 2]

        async def exec(self, item):
            await asyncio.to_thread(spend, input=item, cost=0.5)
            for run in (contextvars.copy_context().run, lambda call: call()):
                thread = Thread(target=run, args=(lambda: spend(input=10 * item, cost=0.5),))
                thread.start()
                thread.join()

    flow = Flow(Threads(max_concurrency=2))
    with pytest.warns(FlowWarning, match="spend has no effect in this thread"):
        flow.run({})
    assert flow.last_run.batch("Threads").df["tokens_in"].tolist() == [11, 22]


def test_outside_of_a_run_a_report_has_no_effect():
    """A helper that reports can be tried in a cell."""
    assert spend(model="m", input=1) is None
    flow = Flow(Load())
    flow.run({})
    spend(input=10**9)
    assert flow.last_run.usage.tokens_in == 1000


def test_the_programs_of_pocketflow_report_too():
    """Also one that overrides a method around its hooks."""

    class Traced(pocketflow.Node):
        def _exec(self, prep_res):
            return super()._exec(prep_res)

        def exec(self, _):
            spend(input=7, cost=0.5)

    class Rows(pocketflow.BatchNode):
        def prep(self, shared):
            return [1, 2]

        def _exec(self, items):
            return super()._exec(items)

        def exec(self, item):
            spend(input=item, cost=0.5)

    traced, rows = Traced(max_retries=2), Rows(max_retries=2)
    traced >> rows
    flow = pocketflow.Flow(traced)
    flow.run({})
    assert flow.last_run.steps["tokens_in"].tolist()[0] == 7
    assert flow.last_run.usage == UsageSum(10, 0, 1.5)


def test_a_subscriber_is_told():
    """The end of a call has what all its attempts have used."""
    seen = []

    class Subscriber:
        def handle(self, event):
            if event.kind == "call_finished":
                seen.append((event.path, event.position, sum(usage.input for usage in event.usage)))

    flow = chain(Load(), Label(max_retries=2))
    flow.run({}, subscribers=[Subscriber()])
    assert seen == [("Flow/Load", None, 1000), *(("Flow/Label", n, tokens) for n, tokens in enumerate(TOKENS_IN))]


def test_a_journal_keeps_what_was_used_and_a_replay_is_free(tmp_path):
    """The run of the journal shows the same columns; a second run has paid nothing."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}]

    journal = Journal(tmp_path / "runs.db")
    flow = Sets(start=chain(Load(), Label(max_retries=2)))
    for paid in (5.0, 0.0):
        flow.run({}, journal=journal)
        run, stored = flow.last_run, journal[-1]
        assert run.usage.cost == stored.usage.cost == paid
        names = ["tokens_in", "tokens_out", "cost"]
        pd.testing.assert_frame_equal(run.steps[names], stored.steps[names])
        for batch, twin in zip(run.batches, stored.batches, strict=True):
            pd.testing.assert_frame_equal(batch.df[names], twin.df[names])
    assert journal.runs["cost"].fillna(-1).tolist() == [-1, 5.0]
    assert journal.calls(-1)["cost"].sum() == 0
    assert journal.calls(-2)["cost"].sum() == 5


def test_a_stepper_has_paid_for_what_it_plays_back():
    """Back and forward costs nothing, and the record shows what the calls at this place have cost."""
    stepper = chain(Load(), Label(max_retries=2)).stepper({})
    stepper.run()
    assert stepper.record.usage.cost == 2.5
    stepper.goto(0)
    assert stepper.record.usage.cost == 0
    stepper.run()
    assert stepper.record.usage.cost == 2.5
    assert stepper.called == 7


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"input": 1.5}, TypeError, "tokens are an integer, not float"),
        ({"output": None}, TypeError, "leave them out"),
        ({"input": True}, TypeError, "tokens are an integer, not bool"),
        ({"input": -1}, ValueError, "tokens are not negative"),
        ({"input": 10, "cached": 30}, ValueError, "write input=40"),
        ({"input": 10, "cached": 5, "cache_written": 6}, ValueError, "write input=21"),
        ({"cost": "1"}, TypeError, "a number of US dollars"),
        ({"cost": float("nan")}, ValueError, "0 or more, and finite"),
        ({"cost": -0.1}, ValueError, "0 or more, and finite"),
        ({"model": 4}, TypeError, "a name is a str, not int"),
        ({"provider": b"x"}, TypeError, "a name is a str, not bytes"),
    ],
)
def test_bad_reports_are_refused(arguments, error, text):
    """At once, with what to write instead, also outside of a run."""
    with pytest.raises(error, match=text):
        spend(**arguments)


def test_prices_are_those_of_the_list():
    """With the model's price for cached tokens; a provider may be named by its address."""
    full = cost_of(Usage("gpt-4o-mini", 1_000_000, 0))
    assert full == pytest.approx(0.15)
    assert cost_of(Usage("gpt-4o-mini", 1_000_000, 0, 1_000_000)) == pytest.approx(0.075)
    written = Usage("claude-sonnet-4-5", 1_000_000, 0, cache_written=1_000_000)
    assert cost_of(written) == pytest.approx(1.25 * cost_of(written._replace(cache_written=0)))
    assert cost_of(Usage("gpt-4o-mini", 1_000_000, 0, provider="https://api.openai.com/v1")) == full
    assert cost_of(Usage("gpt-4o-mini", 1_000_000, 0, provider="http://localhost:8000/v1")) is None


def test_an_unknown_price_is_missing():
    """The sum says so, and names the model; a cost that was reported needs no price."""
    known, unknown = Usage("a", 1, 1, cost=0.5), Usage("my-model", 1, 1)
    assert sum_of([known, unknown]) == UsageSum(2, 2, None, ("my-model",))
    assert str(sum_of([known, unknown])) == "2 tokens in, 2 out, cost unknown (no price of 'my-model')"
    assert repr(sum_of([known])) == "<1 tokens in, 1 out, $0.50>"
    assert str(sum_of([known])) == "1 tokens in, 1 out, $0.50"


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (0, "$0.00"),
        (0.00021, "$0.00021"),
        (0.09999999, "$0.10"),
        (0.095, "$0.095"),
        (0.5, "$0.50"),
        (1.255, "$1.25"),
        (1204, "$1,204.00"),
        (1e-9, "$0.00000000"),
    ],
)
def test_dollars_have_two_digits_that_count(cost, text):
    """Small amounts are not shown as nothing."""
    assert dollars(cost) == text


REPORTS = st.lists(st.lists(st.integers(0, 5), max_size=3), max_size=6)


@settings(deadline=None, max_examples=60)  # a loaded machine takes longer than the 200 ms of the default
@given(first=REPORTS, second=REPORTS, at_once=st.sampled_from([1, 3]), hooks=st.lists(st.integers(0, 5), max_size=2))
def test_every_report_counts_once(first, second, at_once, hooks):
    """Whatever is reported where, the steps, the rows and the sums agree."""

    class Rows(BatchNode):
        def prep(self, shared):
            for tokens in hooks:
                spend(input=tokens)
            return self.reports

        def exec(self, reports):
            for tokens in reports:
                spend(input=tokens)

    one, two = Rows(max_concurrency=at_once), Rows(name="Other")
    one.reports, two.reports = first, second
    flow = chain(one, two)
    flow.run({})
    run = flow.last_run
    total = sum(map(sum, first + second)) + 2 * sum(hooks)
    assert run.usage.tokens_in == total
    if "tokens_in" in run.steps:
        assert run.steps["tokens_in"].sum() == total
    for batch, reports in zip(run.batches, [first, second], strict=True):
        assert [sum(usage.input for usage in item.usage) for item in batch] == list(map(sum, reports))


def test_a_plan_says_what_the_calls_will_cost(tmp_path):
    """By the mean of the node's earlier calls, before anything is called."""
    journal = Journal(tmp_path / "runs.db")
    load, label = Load(), Label(max_retries=2)
    flow = chain(load, label)
    assert flow.plan({}, journal=journal).expected is None
    flow.run({}, journal=journal)
    assert flow.plan({}, journal=journal).expected is None
    label.prompt = "another"
    plan = flow.plan({}, journal=journal)
    assert plan.expected == plan.nodes[1].expected == UsageSum(140, 14, 1.5)
    assert plan.headline.endswith("; expected: 140 tokens in, 14 out, $1.50")
    assert "expected" in repr(plan)
    load.prompt = "another"
    plan = flow.plan({}, journal=journal)
    assert "expected: at least 1,000 tokens in" in plan.headline


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_the_exec_of_a_batch_flow_counts_for_its_param_set(at_once, is_async, fails):
    """Also if it fails. It belongs to no visit."""

    class Plain(BatchFlow):
        def prep(self, shared):
            return [1, 2]

        def exec(self, element):
            spend(input=element, cost=0.5)
            if fails and element == 2:
                raise ValueError("broken")
            return {"n": element}

    class Async(Plain):
        async def exec(self, element):
            return super().exec(element)

    flow = (Async if is_async else Plain)(start=Load(), max_concurrency=at_once, on_error="keep", name="flow")
    flow.run({})
    run = flow.last_run
    assert run.batch("flow").df["tokens_in"].tolist() == [1001, 2 if fails else 1002]
    assert run.usage.tokens_in == (1003 if fails else 2003)
    assert run.steps["tokens_in"].dropna().tolist() == [1000] * (1 if fails else 2)


class Sets(BatchFlow):
    """Every hook spends its own number of tokens."""

    def prep(self, shared):
        spend(input=1)
        return [{"n": 1}, {"n": 2}]

    def post(self, shared, prep_res, exec_res):
        spend(input=10)


class ExpandedSets(Sets):
    def exec(self, element):
        spend(input=100)


class Outer(Flow):
    def prep(self, shared):
        spend(input=1)

    def post(self, shared, prep_res, exec_res):
        spend(input=10)


class Watcher:
    def handle(self, event):
        pass


@pytest.mark.parametrize("watchers", [(), (Watcher(),)])
@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("cls", [Sets, ExpandedSets])
def test_the_hooks_of_a_flow_count_for_its_visit(cls, at_once, watchers):
    """What prep spends is not that of the first node or param set of the flow."""
    flow = Outer(cls(start=Load(), max_concurrency=at_once, name="sets"))
    flow.run({}, subscribers=watchers)
    run = flow.last_run
    assert run.steps["tokens_in"].tolist() == [1000, 1000, 11, 11]
    of_exec = 100 if cls is ExpandedSets else 0
    assert run.batch("sets").df["tokens_in"].tolist() == [1000 + of_exec] * 2
    assert run.usage.tokens_in == 2022 + 2 * of_exec


@pytest.mark.parametrize("driver", ["run", "run_async"])
@pytest.mark.parametrize("flow_class", [BatchFlow, pocketflow.AsyncParallelBatchFlow])
def test_hooks_side_by_side_count_for_their_own_visit(flow_class, driver):
    """Each param set has what its own nodes have spent, whichever prep or post came in between."""

    class Walk(pocketflow.AsyncNode if flow_class is not BatchFlow else Node):
        async def prep_async(self, shared):
            for _ in range(self.params["n"]):
                await asyncio.sleep(0)
                spend(input=self.params["n"])

        async def exec_async(self, _):
            await asyncio.sleep(0)

        async def post_async(self, shared, prep_res, exec_res):
            await asyncio.sleep(0)
            spend(input=10 * self.params["n"])

        prep, exec, post = prep_async, exec_async, post_async

    class Walks(flow_class):
        async def prep_async(self, shared):
            return [{"n": n} for n in (1, 2, 3)]

        prep = prep_async

    options = {"max_concurrency": 3} if flow_class is BatchFlow else {}
    flow = Walks(start=Walk(), **options)
    if driver == "run":
        flow.run({})
    else:
        asyncio.run(flow.run_async({}))
    expected = [n * n + 10 * n for n in (1, 2, 3)]
    assert flow.last_run.batch("Walks").df["tokens_in"].tolist() == expected
    assert sorted(flow.last_run.steps["tokens_in"].dropna()) == expected


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("watchers", [(), (Watcher(),)])
def test_what_a_generator_spends_for_an_item_is_in_its_row(at_once, watchers):
    """What it spends after the last one is that of the visit."""

    class Rows(BatchNode):
        def prep(self, shared):
            for n in (1, 2):
                spend(input=n)
                yield n
            spend(input=100)

        def exec(self, item):
            spend(input=10)

    flow = Flow(Rows(max_concurrency=at_once))
    flow.run({}, subscribers=watchers)
    assert flow.last_run.batch("Rows").df["tokens_in"].tolist() == [11, 12]
    assert flow.last_run.steps["tokens_in"].tolist()[0] == flow.last_run.usage.tokens_in == 123


def test_a_flow_that_is_resumed_has_spent_once():
    """Its first row has what its prep has spent, the second what came after."""
    broken = [True]

    class Once(Node):
        def exec(self, _):
            spend(input=100)
            if broken.pop():
                raise ValueError("broken")

    flow = Outer(Once())
    with pytest.raises(ValueError, match="broken"):
        flow.run({})
    broken.append(False)
    flow.last_run.resume()
    assert flow.last_run.steps["tokens_in"].tolist() == [100, 1, 100, 10]
    assert flow.last_run.usage.tokens_in == 211


def test_a_stepper_that_goes_back_behind_a_prep_keeps_what_it_has_spent():
    """The prep is not called again."""
    stepper = Outer(Load()).stepper({})
    for tokens in (1, 1, 1001, 1001, 1011):
        stepper.into()
        assert stepper.record.usage.tokens_in == tokens
    for tokens in (1001, 1001, 1):
        stepper.back()
        assert stepper.record.usage.tokens_in == tokens
    stepper.run()
    assert stepper.record.usage.tokens_in == 1011


@pytest.mark.parametrize("at_once", [1, 3])
def test_every_report_is_in_one_event(at_once):
    """Of the call, or of the visit of the hook."""
    seen = []

    class Subscriber:
        def handle(self, event):
            seen.extend((event.kind, event.path, event.position, usage.input) for usage in event.usage)

    flow = Outer(ExpandedSets(start=Load(), max_concurrency=at_once, name="sets"), name="outer")
    flow.run({}, subscribers=[Subscriber()])
    assert sorted(seen, key=str) == [
        ("call_finished", "outer/sets", None, 100),
        ("call_finished", "outer/sets", None, 100),
        ("call_finished", "outer/sets/Load", None, 1000),
        ("call_finished", "outer/sets/Load", None, 1000),
        ("visit_finished", "outer", None, 1),
        ("visit_finished", "outer", None, 10),
        ("visit_finished", "outer/sets", None, 1),
        ("visit_finished", "outer/sets", None, 10),
    ]


@pytest.mark.parametrize("options", [{}, {"timeout": 30}])
def test_a_call_before_a_post_that_failed_has_spent_once(options):
    """The resumed visit does not call it again."""
    broken = [True]

    class Once(Load):
        def post(self, shared, prep_res, exec_res):
            spend(input=1)
            if broken.pop():
                raise ValueError("broken")

    flow = Flow(Once(**options))
    with pytest.raises(ValueError, match="broken"):
        flow.run({})
    broken.append(False)
    flow.last_run.resume()
    assert flow.last_run.steps["tokens_in"].dropna().tolist() == [1001, 1]
    assert flow.last_run.usage.tokens_in == 1002


def test_a_post_that_is_run_again_for_retried_rows_counts_for_the_run():
    """The record has no second row for it."""

    class Rows(Label):
        def post(self, shared, prep_res, exec_res):
            spend(input=1000)

    flow = Flow(Rows(on_error="keep"))
    flow.run({})
    assert flow.last_run.usage.tokens_in == 1100
    flow.last_run.batch("Rows").retry_failed(post=True, max_retries=2)
    assert flow.last_run.usage.tokens_in == 2100 + 2 * (10 + 30)


@pytest.mark.parametrize("of_flow", [False, True])
def test_a_call_that_had_ended_when_its_param_set_was_stopped_has_spent_once(of_flow):
    """The param set beside it fails before anything follows from the result, which the resumed run has."""
    broken = [True]

    class Call(Node):
        async def exec(self, _):
            spend(input=1)

        async def post(self, shared, prep_res, exec_res):
            await asyncio.sleep(0)
            if broken and self.params["n"] == 2:
                raise ValueError(broken.pop())

    class Walks(BatchFlow):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}, {"n": 3}]

    class ExpandedWalks(Walks):
        async def exec(self, element):
            spend(input=10)

    flow = (ExpandedWalks if of_flow else Walks)(start=Call(), max_concurrency=3)
    with pytest.raises(ValueError, match="True"):
        flow.run({})
    flow.last_run.resume()
    calls = flow.last_run.calls
    assert flow.last_run.usage.tokens_in == calls + (30 if of_flow else 0)
    assert sum(flow.last_run.batches[0].df["tokens_in"]) == flow.last_run.usage.tokens_in
