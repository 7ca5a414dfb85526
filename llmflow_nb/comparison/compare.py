"""`flow.compare`: run the variants of a flow, score their results, and put the rows together."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import product
from typing import Any

from ..core.errors import AllFailedError, SettingError, a_type
from ..core.hooks import hooks_of
from ..core.layers import overridden
from ..core.node import BaseNode, BatchNode, kind_of, label
from ..core.settings import is_whole
from ..core.text import quoted
from ..core.traversal import last_name
from ..engine.budget import Budget
from ..engine.calls import Call
from ..engine.drivers.sync import drive
from ..engine.events import Event
from ..engine.unwind import FINISHED
from ..journal.answers import Answers, Kept
from ..journal.journal import Journal, as_journal
from ..journal.keys import CallKey, CallKeys
from ..journal.run_code import RunCode
from ..journal.wiring import nodes_by_path
from ..runs.options import RunOptions
from ..runs.rows import Item
from ..runs.run import Run
from ..runs.run_plan import following
from ..runs.start import Recorded
from ..stepper.replay import Memory
from .comparison import Comparison
from .rows import Cell, Key, Row, cells_of, joined
from .scoring import Pairs, is_function, judge_of, set_scores_of_node
from .variants import Variant, Variants, find_node

__all__ = ["compare"]

_BATCHES = ("batch_node", "batch_flow")

_unfinished: list["_Results"] = []
"""The results of the latest comparison in which something failed or that was interrupted. The next one uses them."""


def compare(
    root: BaseNode,
    shared: Any,
    given: Mapping[str, Any],
    options: RunOptions,
    *,
    of: str | None,
    score: Any,
    repeat: int,
) -> Comparison:
    """Compare variants of a flow. See `NodeMethods.compare`. The options are those of each run."""
    __tracebackhide__ = True
    _check_options(of, score, repeat)
    variants = Variants(root, given)
    path = _compared_path(variants.by_path, of)
    _check_kinds(variants, path)
    scorer = _scorer(variants.by_path, path, score)
    journal = None if options.journal is False else options.journal
    known = None if journal is None else as_journal(journal, label(root))
    runner = _Runner(root, variants, shared, known, options)
    with runner.opened():
        records, found = {variant.name: list[Run]() for variant in variants.known}, []
        for number, variant in product(range(repeat), variants.known):
            record, cells = runner.run(variant, f", {number + 1} of {repeat}" if repeat > 1 else "", path)
            records[variant.name].append(record)
            found.append((variant.name, number, cells))
        rows = joined(found, records)
        judge = None
        if isinstance(scorer, str):
            for name, number, _ in found:
                if records[name][number].status == "ok":  # else the node was not visited
                    set_scores_of_node(rows, records[name][number], scorer, name, number)
        elif scorer is not None:
            judge = _judged(runner, scorer, rows)
        results = runner.memory.results if known is None else None
        comparison = Comparison(
            variants,
            path,
            shared,
            known,
            list(rows.values()),
            records,
            judge,
            runner.calls,
            results,
            scorer is not None,
        )
    if not comparison.measures.failures and all(run.status == "ok" for runs in records.values() for run in runs):
        _unfinished.clear()
    return comparison


def _judged(runner: "_Runner", judge: BatchNode, rows: dict[Key, Row]) -> Run:
    """Let a judge score all results, and return its record."""
    __tracebackhide__ = True
    pairs = Pairs(rows.values())
    record = runner.run_judge(judge, pairs.values)
    pairs.set_scores(record)
    return record


class _Results(Memory):
    """The results of the calls that runs of one comparison have made. For the other runs, they are paid for."""

    def load(self, call: Call, key: CallKey, nth: int) -> Kept | None:
        """Return a copy of a result; None if there is none."""
        found = super().load(call, key, nth)
        paid = () if found is None else tuple(usage._replace(replayed=True) for usage in found.usage)
        return None if found is None else found._replace(usage=paid)


class _LastResult:
    """Keeps the result of the call that ended last, of those of some nodes: a run keeps no result of a plain node.

    Attributes:
        event: The end of that call; of a batch node, the end of its visit. None if there was none.
    """

    def __init__(self, node: BaseNode, path: str) -> None:
        """Listen to the node with a path; "" for all nodes that have an ``exec`` of their own."""
        known = nodes_by_path(node)
        self._kinds = {of: kind_of(each) for of, each in known.items() if (of == path if path else _has_exec(each))}
        self.event: Event | None = None

    def handle(self, event: Event) -> None:
        """Keep the event if it ends a call of one of the nodes."""
        ends = "visit_finished" if self._kinds.get(event.path) == "batch_node" else "call_finished"
        if event.kind == ends and event.path in self._kinds:
            self.event = event

    def of(self, recorded: Recorded) -> tuple[Any, str]:
        """Return the result and its status. Without a call, it is the result of the flow."""
        if self.event is None:
            return recorded.position.result, "ok"
        if self.event.kind == "visit_finished":
            *_, (_, batch) = recorded.record.batch(self.event.path)._batches
            return batch.outcomes.results, "ok"
        return self.event.value, self.event.status


class _Runner:
    """Runs the variants. Their calls are answered from one place, so calls that do not differ are made once."""

    def __init__(
        self,
        root: BaseNode,
        variants: Variants,
        shared: Any,
        journal: Journal | None,
        options: RunOptions,
    ) -> None:
        self._root, self._variants, self._shared = root, variants, shared
        self._options = replace(options, journal=journal, subscribers=tuple(options.subscribers))
        self.memory = _unfinished[0] if _unfinished else _Results()
        self._resampled = variants.resampled()
        self._counts: dict[str, Counter[bytes]] = {variant.name: Counter() for variant in variants.known}
        self.calls: dict[str, Counter[str]] = {variant.name: Counter() for variant in variants.known}
        self._code: RunCode

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Use the code as it is now for all runs: data that it changes itself in one run are no edit for the next."""
        _unfinished[:] = [self.memory]
        self._code = RunCode(self._root)
        try:
            yield
        finally:
            self._code.close()

    def run(self, variant: Variant, which: str, path: str) -> tuple[Run, list[tuple[Key, Cell]]]:
        """Run a variant once, and return its record and its rows.

        Args:
            variant: The variant.
            which: The number of the repeat as text, for the name of the record.
            path: The batch or the node that is compared; "" for the result of the whole flow.
        """
        __tracebackhide__ = True
        is_batch = path != "" and kind_of(self._variants.by_path[path]) in _BATCHES
        node, shared = self._variants.copies(variant, self._shared, kept=path if is_batch else "")
        earlier = self._counts[variant.name]
        name = f"{label(node)} ({variant.name}{which})"
        last = None if is_batch else _LastResult(node, path)
        recorded, answers, failure = self._recorded(node, shared, name, earlier, budget=self._options.budget, last=last)
        self._counts[variant.name] = Counter(
            {key: n for key, n in answers.occurrences.items() if self._is_resampled(answers.paths.get(key, ""))}
        )
        self.calls[variant.name] += answers.counts
        record = recorded.record
        if last is None:
            return record, list(cells_of(record, path))
        if path and last.event is None:  # no visit of the node: another action has led past it
            return record, []
        result, status = last.of(recorded) if failure is None else (None, "failed")
        usage = tuple(record._recorder.all_usage())
        item = Item(0, 0, {}, None, result, status, 1, record.seconds_so_far, failure, record.action, None, usage)
        return record, [(("",), Cell(item, None))]

    def run_judge(self, judge: BatchNode, pairs: list[Any]) -> Run:
        """Run a judge, and return its record. Pairs that it could not judge are in it as failed rows.

        It is not sent to an executor: its class exists in this process only. The calls of a function are free, so they
        do not count for the budget.
        """
        __tracebackhide__ = True
        name = f"{label(self._root)} ({label(judge)})"
        budget = None if is_function(judge) else self._options.budget
        recorded, *_ = self._recorded(judge, {"pairs": pairs}, name, Counter(), is_judge=True, budget=budget)
        return recorded.record

    def _recorded(
        self,
        node: BaseNode,
        shared: Any,
        name: str,
        occurrences: Counter[bytes],
        *,
        budget: Budget | None,
        is_judge: bool = False,
        last: _LastResult | None = None,
    ) -> tuple[Recorded, Answers, AllFailedError | None]:
        """Run a node. The n-th of equal calls gets the n-th result, counted from the earlier occurrences.

        If all items of a batch failed, that error is returned too: it is shown, and the other variants are run.
        """
        __tracebackhide__ = True
        self._code.lend(node)
        cache = Answers(self.memory, CallKeys(self._code.fingerprints))
        options = replace(self._options, cache=cache, name=name, budget=budget)
        if is_judge:
            options.executor = None
        if last is not None:
            options.subscribers = (*options.subscribers, last)
        recorded = Recorded(node, shared, options)
        answers = cache if recorded.session is None else recorded.session.answers
        answers.occurrences.update(occurrences)
        failure = None
        try:
            with recorded:
                recorded.notify_started()
                drive(recorded.position, recorded.setup)
        except AllFailedError as exc:
            failure = exc
        except (Exception, KeyboardInterrupt) as exc:
            with suppress(Exception):  # not every exception accepts notes; it is raised as it is
                _drop_advice(exc)
                exc.add_note(f"in {name}; run the cell again to make only the missing calls")
            raise
        finally:
            cache.end_calls()
        return recorded, answers, failure

    def _is_resampled(self, path: str) -> bool:
        return any(f"{path}/".startswith(f"{changed}/") for changed in self._resampled)


def _drop_advice(error: BaseException) -> None:
    """Remove the advice to look at ``last_run`` from the notes of an error: a comparison does not change it."""
    notes = getattr(error, "__notes__", [])
    notes[:] = [note.split(f"; {FINISHED}")[0] for note in notes if not note.startswith(FINISHED)]


# ---- options ---------------------------------------------------------------------------------------------------------


def _check_options(of: Any, score: Any, repeat: Any) -> None:
    """Refuse options that are no options.

    Raises:
        SettingError: It says which, and what to write.
    """
    for name, value in (("of", of), ("score", score), ("repeat", repeat)):
        if isinstance(value, Mapping):
            raise SettingError(f"{name}= is an option of compare, so no variant can be called {name}; choose another.")
    if of is not None and not isinstance(of, str):
        raise SettingError(f"of={quoted(of)} is {a_type(of)}; give the name or the path of a node.")
    if not is_whole(repeat) or repeat < 1:
        raise SettingError(f"repeat={quoted(repeat)}: it must be 1 or more.")


def _compared_path(by_path: dict[str, BaseNode], of: str | None) -> str:
    """Return the path of the batch or the node that is compared; "" for the result of the whole flow.

    Raises:
        SettingError: There is no such node, it has no result, or it is not clear which batch.
    """
    if of is not None:
        path = find_node(by_path, of, "of: ")
        assert path is not None
        if path == next(iter(by_path)) and kind_of(by_path[path]) == "flow":
            return ""
        kind = kind_of(by_path[path])
        if kind == "flow":
            raise SettingError(f"of={quoted(of)} is not a batch, so it has no rows; {_batches_text(by_path)}.")
        if kind == "node" and not _has_exec(by_path[path]):
            raise SettingError(f"of={quoted(of)} has no exec of its own, so it has no result to compare.")
        return path
    batches = [path for path, node in by_path.items() if kind_of(node) == "batch_node"]
    if not batches:
        return next((path for path, node in by_path.items() if kind_of(node) == "batch_flow"), "")
    last = [path for path in batches if all(path in _after(by_path, other) for other in batches if other != path)]
    last = [path for path in last if not _after(by_path, path) & (set(batches) - {path})]
    if len(last) != 1:
        raise SettingError(f"compare: it is not clear which rows to compare; give of=. {_batches_text(by_path)}.")
    return last[0]


def _check_kinds(variants: Variants, path: str) -> None:
    """Refuse variants that put another kind of node in the place of the one whose rows are compared.

    Raises:
        SettingError: It has no rows to compare.
    """
    for variant in variants.known:
        for change in variant.changes:
            if change.path == path and not change.attribute and change.value._kind != kind_of(variants.by_path[path]):
                kind = change.value._kind
                raise SettingError(f"{variant.name}: the rows of {path} are compared, and a {kind} there has none.")


def _has_exec(node: BaseNode) -> bool:
    """Return whether a node has an ``exec`` of its own. The default one returns None."""
    return kind_of(node) in ("node", "batch_node") and ("exec" in hooks_of(node).own or bool(overridden(node)))


def _after(by_path: dict[str, BaseNode], path: str) -> set[str]:
    return {step for step, _ in following(by_path, path, is_within=False)}


def _batches_text(by_path: dict[str, BaseNode]) -> str:
    names = [path for path, node in by_path.items() if kind_of(node) in _BATCHES]
    return f"the batches of this flow are {quoted(names, 1_000, elements=20)}" if names else "this flow has no batches"


def _scorer(by_path: dict[str, BaseNode], path: str, score: Any) -> Any:
    """Return the path of the node whose results are the scores, a judge, or None.

    Raises:
        SettingError: There is no such node, or it is no judge.
    """
    if score is None:
        return None
    if not isinstance(score, str):
        return judge_of(score)
    found = find_node(by_path, score, "score: ")
    assert found is not None
    if kind_of(by_path[found]) != "batch_node" or not path or found not in _after(by_path, path):
        raise SettingError(
            f"score={quoted(score)}: its results are the scores only if it is a batch node that follows "
            f"{last_name(path) if path else 'a batch node'}."
        )
    return found
