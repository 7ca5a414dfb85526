"""What a run must do, as plain recursion over the description of a flow. Shares no code with the package."""

from collections import Counter
from collections.abc import Mapping
from types import SimpleNamespace as Me
from typing import Any


class Refused(Exception):
    """Stands for an error of the library: the name of its class, and how its text begins."""


class Reference:
    """Runs a step. Keeps ``warnings``, ``visits`` as they end, and ``batches``: path, params and rows, as they begin.

    ``racy``: a failure ended a batch early, so that beside each other it hangs on the clock what else was done.
    """

    def __init__(self, world: Any, shared: Any) -> None:
        self.world, self.shared, self.racy = world, shared, False
        self.warnings, self.visits, self.batches = [], [], []
        self.is_told = False  # of the action that the latest flow was left by

    def visit(
        self, step: Any, params: Any, path: str, turn: int = 1, handed: Any = None, around: Any = ()
    ) -> tuple[Any, Any]:
        """``around``: the edges out of the flows that hand their last action on, from the inner one out."""
        me, before, status, action = Me(params=params, handed=handed), self.world.calls(), "failed", None
        try:
            prep_res = self.world.prep(step, me, self.shared) if step.has_prep else handed
            how, result, prep_res, exec_res = self.work(step, me, path, prep_res, around)
            action = None if step.kind == "batch_flow" else exec_res
            if step.has_post:
                action = self.world.post(step, me, self.shared, prep_res, exec_res)
            if action is not None and not isinstance(action, str):
                raise Refused("HookReturnError", f"{path}.post returned a")
            status = how
        except Exception as exc:
            exc.where = getattr(exc, "where", path)
            action = None
            raise
        finally:
            calls = self.world.calls() - before if "node" in step.kind else None
            self.visits.append((path, turn, params, action, status, calls))
        return action, result

    def work(self, step: Any, me: Any, path: str, prep_res: Any, around: Any) -> tuple[str, Any, Any, Any]:
        """Return the status, the result, and the two things that ``post`` is given."""
        if step.kind == "node":
            how, result = self.call(step, me, prep_res)
            return how, result, prep_res, result
        if step.kind == "flow":
            action, result = self.walk(step, me.params, path, None, () if step.has_post else around)
            return "ok", result, prep_res, action
        one = self.call if step.kind == "batch_node" else self.param_set
        items, results = self.batch(step, me, path, prep_res, one)
        return "ok", results, items, results

    def call(self, step: Any, me: Any, item: Any, path: str = "") -> tuple[str, Any]:
        for me.cur_retry in range(step.max_retries):
            try:
                return "ok", self.world.exec(step, me, item)
            except Exception as exc:
                error = exc
        if not step.fallback:
            raise error
        return "fallback", self.world.fallback(step, me, item, error)

    def batch(self, step: Any, me: Any, path: str, given: Any, one: Any, of: str = "") -> tuple[Any, list[Any]]:
        """Do one after the other. Return the items, for ``post``, and the results."""
        total = len(given) if isinstance(given, list | tuple) else 0
        items, rows = [], []
        self.batches.append((path + of, me.params, rows))
        self.racy |= step.source_fails is not None
        for item in self.world.read(given):
            items.append(item)
            before, how, result, error = self.world.calls(), "failed", None, None
            try:
                how, result = one(step, me, item, path)
            except Exception as exc:
                error = exc
            rows.append((item, result, how, self.world.calls() - before, error and getattr(error, "where", path)))
            if error and step.on_error == "raise":
                self.racy |= total != 1
                rows += [(item, None, "pending", 0, None) for item in given[len(rows) : total]] if total else []
                raise error
        if rows and all(row[2] == "failed" for row in rows):
            what = "items" if step.kind == "batch_node" else "param sets"
            raise Refused("AllFailedError", f"{path}: all {len(rows)} {what} failed, the first with ")
        return given if given is None else items, [row[1] for row in rows]

    def param_set(self, step: Any, me: Any, element: Any, path: str) -> tuple[str, Any]:
        given = self.call(step, me, element)[1] if step.expand else None
        if given is None or isinstance(given, Mapping):
            return self.walk_set(step, me, element, path, more=given or ())
        if step.steps[0].kind == "batch_flow":
            return self.walk_set(step, me, element, path, handed=list(given))
        params = self.merge(step, me, element, path) if isinstance(element, Mapping) else me.params
        return "ok", self.batch(step, Me(params=params), path, list(given), self.walk_set, ".exec")[1]

    def walk_set(self, step: Any, me: Any, element: Any, path: str, more: Any = (), handed: Any = None) -> Any:
        return "ok", self.walk(step, self.merge(step, me, element, path) | dict(more), path, handed)[1]

    def merge(self, step: Any, me: Any, element: Any, path: str) -> Any:
        if isinstance(element, Mapping):
            return {**me.params, **element}
        key = step.item_key or ("item" if step.expand or me.handed is not None else None)
        if key is None or key in me.params:
            taken = f": params already contain {key!r}" if key else ".prep returned a param set that is a str"
            raise Refused("HookReturnError", f"{path}{taken}")
        return {**me.params, key: element}

    def walk(self, step: Any, params: Any, path: str, handed: Any = None, around: Any = ()) -> tuple[Any, Any]:
        """Return the last action and the last result."""
        turns: Counter[int] = Counter()
        at: int | None = 0
        while at is not None:
            if turns.total() == step.max_steps:
                raise Refused("MaxStepsError", f"{path} made {step.max_steps} visits")
            turns[at] += 1
            inner, given = step.steps[at], handed if at == 0 else None
            edges = {on: target for source, on, target in step.edges if source == at}
            ways = (edges, *around)
            action, result = self.visit(inner, params, f"{path}/{inner.name}", turns[at], given, ways)
            at = edges.get(action or "default")
            is_told = self.is_told and inner.kind == "flow" and not inner.has_post
            self.is_told = at is None and (bool(edges) or is_told)
            if at is None and edges and not is_told and not any((action or "default") in further for further in around):
                text = f"Flow ends: '{action}' not found in {list(edges)}"
                if step.strict:
                    raise Refused("LostActionError", text)
                self.warnings.append(text)
        return action, result
