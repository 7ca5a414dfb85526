"""`Budget`: calls that would exceed it are not made, and nothing that was finished is lost."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmflow_nb import (
    AllFailedError,
    BatchFlow,
    BatchNode,
    Budget,
    BudgetError,
    Flow,
    Journal,
    Node,
    SettingError,
    spend,
)


class Label(BatchNode):
    """Costs ten cents for each item."""

    def prep(self, shared):
        return range(10)

    def exec(self, item):
        spend(input=1, cost=0.1)
        return item


class AsyncLabel(Label):
    async def exec(self, item):
        await asyncio.sleep(0)
        return super().exec(item)


def run(flow, **options):
    flow.run({}, **options)


def run_async(flow, **options):
    asyncio.run(flow.run_async({}, **options))


def run_in_threads(flow, **options):
    with ThreadPoolExecutor(2) as pool:
        flow.run({}, executor=pool, **options)


def run_submitted(flow, **options):
    job = flow.submit({}, **options)
    job.wait()
    if job.run.error is not None:
        raise job.run.error


DRIVERS = [run, run_async, run_in_threads, run_submitted]


@pytest.mark.parametrize("drive", DRIVERS)
@pytest.mark.parametrize("cls", [Label, AsyncLabel])
@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("on_error", ["raise", "keep"])
@pytest.mark.parametrize("bound", [{"calls": 4}, {"cost": 0.4}])
def test_a_run_ends_before_the_bound_is_exceeded(drive, cls, at_once, on_error, bound):
    """Whatever makes the calls; failures that are kept are no way around it. Raised, the run is resumed."""
    budget = Budget(**bound)
    flow = Flow(cls(name="Label", max_concurrency=at_once, on_error=on_error))
    with pytest.raises(BudgetError, match=r"raise it, such as budget"):
        drive(flow, budget=budget)
    made = flow.last_run.batch("Label").counts["ok"]
    assert made == 4 or (drive is run_in_threads and made == 3)  # the pool has not begun the fourth
    assert (flow.last_run.status, budget.called) == ("failed", made)
    assert flow.last_run.usage.cost == pytest.approx(made / 10)
    assert budget.spent == pytest.approx(made / 10 if "cost" in bound else 0)
    budget.calls, budget.cost = 100, bound.get("cost") and 1.0
    flow.last_run.resume()
    assert flow.last_run.batch("Label").results == list(range(10))
    assert (flow.last_run.status, budget.called) == ("ok", 10)


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("on_error", ["raise", "keep"])
def test_param_sets_end_too(at_once, on_error):
    """A batch flow that keeps failures does not keep this one."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(5)]

    flow = Sets(start=Label(), max_concurrency=at_once, on_error=on_error)
    with pytest.raises(BudgetError):
        flow.run({}, budget=Budget(calls=25))
    assert sum(batch.counts["ok"] for batch in flow.last_run.batches if not batch.is_of_params) == 25


def test_a_retry_counts():
    """Each attempt is paid for. The row that was not tried again has its error."""

    class Fails(Node):
        def exec(self, _):
            spend(cost=0.1)
            raise ValueError("broken")

    flow = Flow(Fails(max_retries=10))
    with pytest.raises(BudgetError) as raised:
        flow.run({}, budget=Budget(calls=3))
    assert flow.last_run.calls == 3
    assert "in Flow > Fails" in raised.value.__notes__[0]


def test_calls_in_progress_are_kept():
    """Those that run beside the one that is refused end, and their results are in the table."""
    together = Barrier(3)

    class Slow(Label):
        def exec(self, item):
            together.wait(10)
            return super().exec(item)

    flow = Flow(Slow(name="Label", max_concurrency=4))
    with pytest.raises(BudgetError):
        flow.run({}, budget=Budget(calls=3))
    assert flow.last_run.batch("Label").counts == {"ok": 3, "cancelled": 1, "pending": 6}


def test_several_runs_share_a_budget():
    """It counts all of them."""
    budget = Budget(calls=15)
    Flow(Label()).run({}, budget=budget)
    with pytest.raises(BudgetError):
        Flow(Label()).run({}, budget=budget)
    assert repr(budget) == "<Budget: 15 of 15 calls>"


def test_retried_rows_are_bound_too():
    """The record knows its budget."""

    class Fails(Label):
        def exec(self, item):
            super().exec(item)
            raise ValueError("broken")

        def exec_fallback(self, item, exc):
            if item:
                raise exc
            return item

    budget = Budget(calls=12)
    flow = Flow(Fails(on_error="keep"))
    flow.run({}, budget=budget)
    batch = flow.last_run.batch("Fails")
    with pytest.raises(BudgetError):
        batch.retry_failed()
    assert budget.called == 12
    assert batch.df["error_type"].value_counts().to_dict() == {"ValueError": 10}
    assert batch.df["attempts"].sum() == 12


def test_replayed_calls_are_free(tmp_path):
    """A second run with a journal is within any budget."""
    journal = Journal(tmp_path / "runs.db")
    Flow(Label()).run({}, journal=journal)
    budget = Budget(calls=1, cost=0.01)
    Flow(Label()).run({}, journal=journal, budget=budget)
    assert (budget.called, budget.spent) == (0, 0)


def test_an_unknown_price_ends_the_run():
    """A budget of money cannot be kept then. One of calls can."""

    class Unpriced(Label):
        def exec(self, item):
            spend(model="my-model", input=1)

    with pytest.raises(BudgetError, match="the price of the model 'my-model' is not known"):
        Flow(Unpriced()).run({}, budget=Budget(cost=100))
    Flow(Unpriced()).run({}, budget=Budget(calls=100))


def test_a_budget_that_counts_nothing_is_a_problem():
    """A flow that reports no costs is not bound by money, and the record says so."""

    class Silent(Label):
        def exec(self, item):
            return item

    flow = Flow(Silent())
    flow.run({}, budget=Budget(cost=1))
    assert [text for text in flow.last_run.problems if "No call has reported a cost" in text]
    flow.run({}, budget=Budget(calls=100))
    assert flow.last_run.problems == []


def test_a_budget_that_was_exceeded_is_a_problem():
    """Calls that begin together, before the first has told its cost, are all made. The record says so."""

    class Dear(Label):
        async def exec(self, item):
            await asyncio.sleep(0)
            spend(cost=1.0)

    flow = Flow(Dear(max_concurrency=None))
    flow.run({}, budget=Budget(cost=2.0))
    assert any("budget of $2.00 was exceeded: $10.00 is spent" in text for text in flow.last_run.problems)


def test_nodes_without_an_exec_are_no_calls():
    """The default exec costs nothing."""
    flow = Flow(Node())
    flow.run({}, budget=(budget := Budget(calls=1)))
    assert budget.called == 0


def test_an_inner_run_counts_for_the_budget_around_it():
    """What a flow in exec has spent is spent."""

    class Agent(BatchNode):
        def prep(self, shared):
            return range(5)

        def exec(self, item):
            Flow(Label()).run({})

    flow = Flow(Agent())
    with pytest.raises(
        BudgetError, match=r"of the budget of \$2.50, \$2.00 is used, and the next call may cost \$1.00"
    ):
        flow.run({}, budget=Budget(cost=2.5))
    assert flow.last_run.batch("Agent").counts["ok"] == 2


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        ({}, "limits nothing"),
        ({"calls": 0}, "calls must be 1 or more"),
        ({"calls": 1.5}, "calls must be 1 or more"),
        ({"cost": 0}, "above 0"),
        ({"cost": float("nan")}, "above 0"),
        ({"cost": "1"}, "above 0"),
        ({"cost": True}, "above 0"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(bound, text):
    """At once, with what to write."""
    with pytest.raises(SettingError, match=text):
        Budget(**bound)


@pytest.mark.parametrize("budget", [1.5, 200, {"cost": 1}])
def test_a_number_is_no_budget(budget):
    """It does not say of what."""
    with pytest.raises(SettingError, match=r"write Budget\(calls=200\)"):
        Flow(Label()).run({}, budget=budget)


@settings(deadline=None, max_examples=60)  # a loaded machine takes longer than the 200 ms of the default
@given(
    costs=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    bound=st.integers(1, 60),
    at_once=st.sampled_from([1, 4]),
)
def test_the_excess_is_bounded(costs, bound, at_once):
    """Money is exceeded at most by what is made side by side before it is known to be dearer. Nothing is lost."""

    class Rows(BatchNode):
        def prep(self, shared):
            return costs

        def exec(self, cents):
            spend(cost=cents / 100)
            return cents

    budget = Budget(cost=bound / 100)
    flow = Flow(Rows(max_concurrency=at_once))
    try:
        flow.run({}, budget=budget)
    except BudgetError:
        assert sum(costs) > bound or max(costs) * at_once + bound > bound
    else:
        assert len(flow.last_run.batch("Rows").ok) == len(costs)
    made = [item.result for item in flow.last_run.batch("Rows") if item.status == "ok"]
    assert sum(made) == round(budget.spent * 100)
    assert budget.called == len(made)
    assert sum(made) <= bound + max(costs) * at_once


@settings(deadline=None, max_examples=60)  # a loaded machine takes longer than the 200 ms of the default
@given(
    calls=st.integers(1, 40),
    items=st.integers(0, 6),
    sets=st.integers(1, 4),
    at_once=st.sampled_from([1, 2, 5]),
    sets_at_once=st.sampled_from([1, 3]),
    fails=st.sets(st.integers(0, 5)),
    retries=st.integers(1, 3),
    on_error=st.sampled_from(["raise", "keep"]),
    is_async=st.booleans(),
)
def test_a_bound_on_calls_is_exact(calls, items, sets, at_once, sets_at_once, fails, retries, on_error, is_async):
    """Attempts side by side, retried, in param sets: never one more than the bound. Resuming makes the rest.

    A call that was between two attempts begins again; one that has returned is not made again.
    """
    made, returned = [], []

    class Rows(BatchNode):
        def prep(self, shared):
            return range(items)

        def exec(self, item):
            made.append(item)
            if item in fails and not self.cur_retry:
                raise ValueError("broken")
            returned.append(item)
            return item

    class AsyncRows(Rows):
        async def exec(self, item):
            await asyncio.sleep(0)
            return super().exec(item)

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(sets)]

    def flow():
        rows = (AsyncRows if is_async else Rows)(name="Rows", max_concurrency=at_once, max_retries=retries)
        rows.on_error = on_error
        return Sets(start=rows, max_concurrency=sets_at_once, on_error=on_error)

    def run(bounded, budget):
        try:
            bounded.run({}, budget=budget)
        except (ValueError, BudgetError, AllFailedError) as exc:
            return type(exc)
        return None

    free = flow()
    error = run(free, Budget(calls=1_000))
    needed, finished = len(made), len(returned)
    made.clear()
    returned.clear()
    bounded, budget = flow(), Budget(calls=calls)
    found = run(bounded, budget)
    assert len(made) == budget.called <= calls
    if error is None:  # else what is made before the failure depends on time
        assert found == (BudgetError if needed > calls else None)
    if found is BudgetError:
        budget.calls = 1_000
        try:
            bounded.last_run.resume()
        except (ValueError, AllFailedError):
            assert error is not None
        if error is None:
            assert len(returned) == finished
            results = [batch.results for batch in bounded.last_run.batches if not batch.is_of_params]
            assert results == [batch.results for batch in free.last_run.batches if not batch.is_of_params]
