"""The record of a batch agrees with a ledger that its calls write themselves, also after failures, interrupts, retries.

``LAWS=wide pytest tests/properties`` looks further, as for `test_laws`.
"""

import asyncio
import os
import threading
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from llmflow_nb import AllFailedError, BatchFlow, BatchNode

slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("ledger", derandomize=True, deadline=None, max_examples=40, suppress_health_check=slow)
settings.register_profile("ledger wide", deadline=None, max_examples=2000, suppress_health_check=slow, print_blob=True)
laws = settings(settings.get_profile("ledger wide" if os.environ.get("LAWS") == "wide" else "ledger"))

PATIENCE = 20  # seconds after which a test that waits for something gives up
ALWAYS = 99


class Boom(Exception):
    """What calls fail with."""


@dataclass(frozen=True)
class Case:
    """One batch, and what becomes of it.

    Attributes:
        levels: Batch flows around the node; sets: param sets of each of them; items: of the node, for each walk.
        failures: How many attempts at an item fail, by the number of the item over all walks, cyclically.
        fallback: None, or whether it answers.
        widths: ``max_concurrency`` of the node, and of the flows; keeps: whether they keep failures.
        way: How it is run; interrupt_at: at which event the run is interrupted, 0 for never.
    """

    levels: int
    sets: int
    items: int
    failures: tuple[int, ...]
    max_retries: int
    fallback: bool | None
    widths: tuple[int | None, int | None]
    keeps: tuple[bool, bool]
    is_async: bool
    way: str
    keep_items: bool
    source: str
    interrupt_at: int

    @property
    def walks(self) -> list[tuple[int, ...]]:
        """The params of all walks, in their order."""
        found: list[tuple[int, ...]] = [()]
        for _ in range(self.levels):
            found = [(*params, n) for params in found for n in range(self.sets)]
        return found

    @property
    def keys(self) -> list[Any]:
        """The params and the place of all items, in their order."""
        return [(params, item) for params in self.walks for item in range(self.items)]

    @property
    def may_leave_calls(self) -> bool:
        """Whether blocking calls may be left to end by themselves, so that what they answer comes too late."""
        threads = self.way == "submit" or self.widths != (1, 1)
        return bool(self.interrupt_at) and not self.is_async and threads


widths = st.sampled_from([1, 2, 4, None])


@st.composite
def cases(draw: Any, **fixed: Any) -> Case:
    """Draw a batch."""
    way = draw(st.sampled_from(["run", "run_async", "submit"]))
    drawn = {
        "levels": draw(st.sampled_from([0, 0, 1, 2])),
        "sets": draw(st.integers(1, 3)),
        "items": draw(st.integers(1, 5).map(lambda n: 6 - n)),  # rather many than few
        "failures": tuple(draw(st.lists(st.sampled_from([0, 0, 1, 2, ALWAYS, ALWAYS]), min_size=2, max_size=8))),
        "max_retries": draw(st.integers(1, 3)),
        "fallback": draw(st.sampled_from([None, None, True, False])),
        "widths": (draw(widths), draw(widths)),
        "keeps": (draw(st.booleans()), draw(st.booleans())),
        "is_async": draw(st.booleans()),
        "way": way,
        "keep_items": draw(st.booleans()),
        "source": draw(st.sampled_from(["list", "list", "generator"])),
        # An interrupt in an awaited run would stop the caller's own loop.
        "interrupt_at": 0 if way == "run_async" else draw(st.one_of(st.just(0), st.integers(1, 60))),
    }
    return Case(**{**drawn, **fixed})


# ---- what the calls write --------------------------------------------------------------------------------------------


class Entry:
    """One attempt or fallback: of which item, which, and what came of it."""

    def __init__(self, key, what, value):
        self.key, self.what, self.value = key, what, value
        self.answered = not isinstance(value, Exception)

    def __repr__(self):
        return f"{self.what} at {self.key}: {self.value!r}"


class Ledger:
    """What was called, and came of it, written down right before a call answers or raises."""

    def __init__(self, case):
        self.lock = threading.Lock()
        self.entries = []
        self.numbers = {key: number for number, key in enumerate(case.keys)}
        self.failures = case.failures
        self.fallback_answers = case.fallback
        self.interrupt_in = None

    def write(self, params, item, what):
        key = tuple(params.values()), item
        with self.lock:
            if self.interrupt_in is not None:
                self.interrupt_in -= 1
                if self.interrupt_in < 0:
                    self.interrupt_in = None
                    raise KeyboardInterrupt
            if what == "attempt":
                attempt = len([entry for entry in self.entries if entry.key == key and entry.what == what])
                fails = attempt < self.failures[self.numbers[key] % len(self.failures)]
            else:
                fails = not self.fallback_answers
            serial = len(self.entries)
            entry = Entry(key, what, Boom(f"{what} {serial} at {key}") if fails else (*key, what, serial))
            self.entries.append(entry)
        if fails:
            raise entry.value
        return entry.value

    def of(self, key):
        with self.lock:
            return [entry for entry in self.entries if entry.key == key]

    def mark(self):
        with self.lock:
            return len(self.entries)

    def since(self, mark):
        with self.lock:
            return self.entries[mark:]


def build(case, ledger):
    """The batch node, and what is run: itself, or the flows around it."""

    class Items(BatchNode):
        def prep(self, shared):
            return list(range(case.items)) if case.source == "list" else (i for i in range(case.items))

        if case.is_async:

            async def exec(self, item):
                await asyncio.sleep(0)
                return ledger.write(self.params, item, "attempt")

        else:

            def exec(self, item):
                return ledger.write(self.params, item, "attempt")

        if case.fallback is not None:

            def exec_fallback(self, item, exc):
                assert exc is ledger.of((tuple(self.params.values()), item))[-1].value
                return ledger.write(self.params, item, "fallback")

    class Sets(BatchFlow):
        def prep(self, shared):
            sets = [{self.name: n} for n in range(case.sets)]
            return sets if case.source == "list" else iter(sets)

    on_error = ["keep" if keeps else "raise" for keeps in case.keeps]
    node = Items(
        case.max_retries, max_concurrency=case.widths[0], on_error=on_error[0], keep_items=case.keep_items, name="Items"
    )
    outermost = node
    for level in reversed(range(case.levels)):
        outermost = Sets(outermost, name=f"F{level}", max_concurrency=case.widths[1], on_error=on_error[1])
    return node, outermost


class Interrupt:
    """A subscriber that raises ``KeyboardInterrupt`` at the n-th event that is no beginning of a visit or set."""

    def __init__(self, at):
        self.left = at

    def handle(self, event):
        self.left -= event.kind not in ("param_set_started", "visit_started") and event.status != "cancelled"
        if self.left == 0:
            self.left = -1
            raise KeyboardInterrupt


def run(case, ledger):
    """Run a case and return its node and the record. Only what a call or the keyboard raised comes out."""
    node, outermost = build(case, ledger)
    shared = {"here": object()}
    options = {"subscribers": [Interrupt(case.interrupt_at)]} if case.interrupt_at else {}
    try:
        if case.way == "run":
            outermost.run(shared, **options)
        elif case.way == "run_async":
            asyncio.run(outermost.run_async(shared, **options))
        else:
            submitted = outermost.submit(shared, **options)
            assert submitted.wait(PATIENCE)
            assert submitted.run is outermost.last_run
    except (Boom, AllFailedError, KeyboardInterrupt):
        pass
    record = outermost.last_run
    assert record.error is None or isinstance(record.error, Boom | AllFailedError | KeyboardInterrupt), repr(
        record.error
    )
    note(f"{record!r}, error {record.error!r}")
    return node, outermost, record


# ---- the record against the ledger -----------------------------------------------------------------------------------


def rows_of(record):
    """The rows of the batch node, by key; nothing is there twice, and each walk is in input order."""
    by_key = {}
    for batch in record.batches:
        if not batch.is_of_params:
            for row in batch:
                key = tuple(row.params.values()), row.position
                assert key not in by_key, f"{key} is there twice"
                assert row.item in (row.position, None)
                by_key[key] = row
    places = {}
    for params, place in by_key:
        assert places.setdefault(params, 0) == place, "a row is missing, or not in the order of the input"
        places[params] += 1
    return by_key


def check_rows(case, ledger, record):
    """What is said of every row is what was written of its calls."""
    rows = rows_of(record)
    interrupted = record.status == "interrupted"
    assert {entry.key for entry in ledger.entries} <= rows.keys(), "a call has no row"
    if record.status == "ok":
        assert rows.keys() <= set(case.keys)
        if not case.levels:
            assert list(rows) == case.keys
    for params in {params for params, _ in rows}:
        count = len([place for walk, place in rows if walk == params])
        if case.source == "list":
            assert count == case.items
        assert count <= case.items
    if case.may_leave_calls and interrupted:
        check_what_may_come_late(ledger, rows)
    else:
        for key, row in rows.items():
            check_row(row, ledger.of(key), interrupted)
        if not interrupted:
            assert record.calls == len([entry for entry in ledger.entries if entry.what == "attempt"])
    for batch in record.batches:
        check_table(batch)
    return rows


def said(error):
    """What an error says. Of one that was raised to the caller, the record has a copy."""
    return type(error), str(error)


def check_row(row, entries, interrupted):
    attempts = [entry for entry in entries if entry.what == "attempt"]
    answers = [entry for entry in entries if entry.answered]
    under_way = 1 if interrupted and row.status == "cancelled" else 0
    assert len(attempts) <= row.attempts <= len(attempts) + under_way, f"{row}, but {entries}"
    if answers:
        status = {"attempt": "ok", "fallback": "fallback"}[answers[-1].what]
        assert (row.status, row.result) == (status, answers[-1].value), f"a paid result is lost: {row}, but {entries}"
    else:
        assert row.status in ("failed", "cancelled", "pending"), f"{row} has no result: {entries}"
        assert row.result is None
        if not interrupted:
            assert said(row.error) == said(entries[-1].value if entries else None)
        assert said(row.error) in (said(None), *(said(entry.value) for entry in entries))
        assert (row.status == "pending") <= (not entries)
        assert (row.status == "failed") <= bool(entries)


def check_what_may_come_late(ledger, rows):
    """Threads that an interrupt left behind may still write; what a row says has been written."""
    for key, row in rows.items():
        entries = ledger.of(key)
        if row.status in ("ok", "fallback"):
            assert row.result in [entry.value for entry in entries if entry.answered]
        else:
            assert row.result is None
        if row.error is not None:
            assert row.error in [entry.value for entry in entries]


def check_table(batch):
    """The table says the same as the rows."""
    rows, df = list(batch), batch.df
    assert len(df) == len(rows) == len(batch) == sum(batch.counts.values())
    assert list(df["status"]) == [row.status for row in rows]
    assert list(df["attempts"]) == [row.attempts for row in rows]
    assert list(df["position"]) == [row.position for row in rows]
    has_result = df["status"].isin(["ok", "fallback"])
    assert list(df["result"][has_result]) == [row.result for row in rows if row.status in ("ok", "fallback")]
    assert [error is None for error in (row.error for row in rows)] == list(df["error_type"].isna())
    assert len(batch.ok) == has_result.sum()
    assert len(batch.errors) == batch.counts.get("failed", 0)


def check_counts(case, outermost, record):
    """A run that ended well has a row for every param set and item that it came to."""
    if record.status == "ok" and outermost.last_run is record and case.levels:
        assert len(record.batch(outermost)) == case.sets


# ---- the laws --------------------------------------------------------------------------------------------------------


@laws
@given(cases(interrupt_at=0))
def test_rows_agree_with_the_ledger(case):
    """However a batch is run and whatever fails, rows, attempts and calls are those that were made, none lost."""
    ledger = Ledger(case)
    _, outermost, record = run(case, ledger)
    rows = check_rows(case, ledger, record)
    check_counts(case, outermost, record)
    if not any(case.failures):
        assert record.status == "ok"
        assert sorted(rows) == case.keys
        assert {row.status for row in rows.values()} == {"ok"}


@laws
@given(cases(), st.integers(1, 60))
def test_rows_agree_with_the_ledger_after_an_interrupt(case, at):
    """Wherever an interrupt comes, no result that was there is lost, and every item that was read has a row."""
    if case.way == "run_async":
        case = Case(**{**vars(case), "way": "run"})
    case = Case(**{**vars(case), "interrupt_at": at})
    ledger = Ledger(case)
    *_, record = run(case, ledger)
    check_rows(case, ledger, record)


futures = st.lists(st.sampled_from([0, 0, ALWAYS]), min_size=1, max_size=6).map(tuple)


def check_retry(case, ledger, record, asked, retry):
    """Call some rows of the node again: they alone are called, and the record says what became of each."""
    before, mark = rows_of(record), ledger.mark()
    calls = record.calls
    retry()
    after, made = rows_of(record), ledger.since(mark)
    assert before.keys() == after.keys()
    assert {entry.key for entry in made} == asked, "other rows were called than those that were asked for"
    attempts = [entry.key for entry in made if entry.what == "attempt"]
    assert record.calls == calls + len(attempts)
    for key, row in after.items():
        was = before[key]
        assert row.attempts == was.attempts + attempts.count(key)
        answers = [entry for entry in made if entry.key == key and entry.answered]
        if key not in asked:
            assert row == was
        elif answers:
            assert len(answers) == 1
            assert (row.result, row.status) == (answers[0].value, {"attempt": "ok"}.get(answers[0].what, "fallback"))
        elif was.status in ("ok", "fallback"):
            assert (row.result, row.status) == (was.result, was.status)
        else:
            assert row.status == "failed"
            assert said(row.error) == said([entry for entry in made if entry.key == key][-1].value)
    for batch in record.batches:
        check_table(batch)
    return after


def settled(case):
    """The same without interrupts that may leave calls behind: those would go on writing."""
    return Case(**{**vars(case), "interrupt_at": 0}) if case.may_leave_calls else case


@laws
@given(cases(), st.lists(futures, min_size=1, max_size=2), st.integers(0, 3), st.data())
def test_items_that_are_called_again(case, later, width, data):
    """``retry_failed`` and ``retry`` call the rows that they should, and fill them in place, until none is missing."""
    case = settled(case)
    ledger = Ledger(case)
    node, _, record = run(case, ledger)
    if not [batch for batch in record.batches if not batch.is_of_params]:
        return
    result = record.batch(node)
    overrides = {"max_concurrency": width} if width else {}
    for failures in later:
        ledger.failures = failures
        failed = {key for key, row in rows_of(record).items() if row.status == "failed"}
        check_retry(case, ledger, record, failed, lambda: result.retry_failed(**overrides))
    rows = list(rows_of(record))
    chosen = data.draw(st.sets(st.integers(0, len(rows) - 1)) if rows and case.keep_items else st.just(set()))
    if all(row.status != "pending" for row in result):
        asked = {rows[row] for row in chosen}
        check_retry(case, ledger, record, asked, lambda: result.retry(list(chosen), **overrides))
    ledger.failures = (0,)
    ledger.fallback_answers = True
    lacking = {key for key, row in rows_of(record).items() if row.status not in ("ok", "fallback")}
    if case.keep_items:
        after = check_retry(case, ledger, record, lacking, lambda: result.retry(**overrides))
        assert {row.status for row in after.values()} <= {"ok", "fallback"}
        for key, row in after.items():
            answers = [entry for entry in ledger.of(key) if entry.answered]
            assert row.result == answers[-1].value
            assert len(answers) <= 1 + (key in {rows[place] for place in chosen}), "an answer was paid for twice"
    else:
        lacking = {key for key in lacking if rows_of(record)[key].status == "failed"}
        after = check_retry(case, ledger, record, lacking, lambda: result.retry_failed(**overrides))
        assert "failed" not in {row.status for row in after.values()}


nested = cases(levels=2, source="list", keep_items=True).filter(lambda case: case.widths[1] != 1 or not case.keeps[1])


@laws
@given(
    cases(levels=1, source="list", keep_items=True) | nested,
    st.lists(futures, max_size=2),
    st.sampled_from([None, None, 0, 1, 3]),
    st.booleans(),
)
def test_param_sets_that_are_gone_on_with(case, later, interrupt_in, whole_run):
    """Param sets go on until all are ok, whatever comes between, and no item is called again that was answered."""
    case = settled(case)
    ledger = Ledger(case)
    node, outermost, record = run(case, ledger)
    if not record.batches:
        return  # interrupted before there was anything to go on with
    result = record.batch(outermost)

    def retry():
        if whole_run and all(row.status in ("ok", "failed") for row in result):
            record.retry_failed()
        else:
            result.retry()

    for failures in later:
        ledger.failures = failures
        if case.widths == (1, 1) and not case.is_async and case.items == 1:
            ledger.interrupt_in = interrupt_in
        try:
            retry()
        except KeyboardInterrupt:
            assert case.widths == (1, 1)
        ledger.interrupt_in = None
        answered_once(ledger)
        for batch in record.batches:
            check_table(batch)
    ledger.failures = (0,)
    retry()
    result.retry()
    answered_once(ledger)
    assert len(result) == case.sets
    assert result.counts == {"ok": case.sets}
    record.batch(node).retry()
    rows = rows_of(record)
    assert set(rows) == set(case.keys), "an item of the input has no row"
    for key, row in rows.items():
        (answer,) = [entry for entry in ledger.of(key) if entry.answered]
        assert (row.result, row.status) == (answer.value, {"attempt": "ok"}.get(answer.what, "fallback"))


def answered_once(ledger):
    answers = [entry.key for entry in ledger.entries if entry.answered]
    assert len(answers) == len(set(answers)), "an answer was paid for twice"
