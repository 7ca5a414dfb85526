"""The data that the widget of a stepper shows: dicts of texts and numbers, built again after each command."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..core.hooks import hooks_of
from ..core.text import MASK, class_name, is_secret, quoted, shown
from ..core.traversal import last_name
from ..graph.drawing import GraphModel
from ..stepper.history import History, HistoryEntry
from ..stepper.location import Location
from ..stepper.output import short_traceback
from ..stepper.replay import ANSWERS
from ..stepper.snapshots import Version, changes
from ..stepper.stepper import Stepper
from .node_facts import last_visit
from .readable import LONG, Readable, readable, whole
from .recent_usage import recent_usage
from .run_graph import with_status
from .values import ValueTexts, duration

__all__ = ["comparison", "keys", "marks", "name_of", "place", "places", "whole_text"]

SHORT = 120
"""The largest number of characters of a name, or of params."""
MAX_PLACES, MAX_KEYS, MAX_OUTPUT = 300, 300, 10_000

Values = Iterator[tuple[str, str, Any]]
"""Values to show, each with its title and an id with which the front end asks for the whole of it."""


# ---- the current place -----------------------------------------------------------------------------------------------


def place(stepper: Stepper, model: GraphModel, texts: ValueTexts) -> dict[str, Any]:
    """Return where the stepper is, what is known of this visit, and what can be done here."""
    here, pending, entry = stepper.place, stepper.pending, stepper._session.history.now
    hooks, is_batch = here.boundary.next_hooks, type(pending.node)._kind == "batch_node"
    output = entry.activity.output
    return {
        "title": shown(stepper.title) if stepper.title else "",
        "path": shown(here.path, 200),
        "where": list(_where(here, texts)),
        "phase": here.phase,
        "action": quoted(here.action) if "action" in here.boundary.shows else "",
        "is_end": here.is_end,
        "next": _next(here, hooks_of(pending.node).own),
        "called": here.called,
        "replayed": here.replayed,
        "spent": "" if (spent := recent_usage(stepper.record)) is None else spent.short,
        "number": entry.number,
        "note": shown(here.note, 300) if here.note else "",
        "failure": _failure(here, texts),
        "values": [[title, id, readable(value, texts, LONG)] for title, id, value in _values(stepper)],
        "done": _just_done(stepper, texts),
        "output": shown(output[-MAX_OUTPUT:], 2 * MAX_OUTPUT, keep_lines=True) if output else "",
        "edges": [shown(action) for action in pending.node.successors],
        "can_mock": "exec" in hooks,
        "can_go_to_item": is_batch and "exec" in hooks,
        "breaks": [[found.number, str(found)] for found in stepper.breakpoints],
        "stops": _stops(model, stepper),
    }


def _where(here: Location, texts: ValueTexts) -> Iterator[str]:
    """Yield which visit, param set and item it is, each in a few words."""
    yield f"visit {here.visit}"
    if here.param_set is not None:
        yield f"param set {here.param_set}{_of(here.param_sets)}"
    if here.params:
        yield f"params {texts.of(dict(here.params), SHORT)}"
    if here.item is not None:
        yield f"item {here.item}{_of(here.items)}"


def _of(total: int | None) -> str:
    return "" if total is None else f" of {total}"


def _next(here: Location, own: frozenset[str]) -> str:
    """Return what comes next, as text.

    Args:
        here: Where the stepper is.
        own: The hooks that the class defines.
    """
    if here.is_end:
        return "nothing: the run has ended"
    if here.item is not None:
        return "exec of the next item, if there is one"
    return next((hook for hook in here.boundary.next_hooks if hook in own), "the edge to the next node")


def _failure(here: Location, texts: ValueTexts) -> dict[str, Any]:
    """Return what failed, with the user's own lines of the traceback; an empty dict if nothing did."""
    if here.error is None:
        return {}
    return {
        "text": f"{here.failed}: {shown(class_name(here.error))}: {texts.of_error(here.error)}",
        "traceback": shown(short_traceback(here.error), LONG, keep_lines=True),
        "item": here.failed_item,
    }


def _values(stepper: Stepper) -> Values:
    """Yield what is known of the current visit, the latest first."""
    here, pending, session = stepper.place, stepper.pending, stepper._session
    shows, work = here.boundary.shows, session.position.frames[-1].work
    if here.error is not None:
        title = "input of exec" if here.failed_item is None else f"item {here.failed_item}"
        yield from ((title, "failed", value) for value in session.history.now.activity.failed_input)
    if here.item and work is not None:
        yield f"result {here.item}", "result", work.outcomes.results[here.item - 1]
        yield f"item {here.item}", "item", work.items.at(here.item - 1)
    if "exec_res" in shows:
        yield "exec returned" if here.item is None else "results so far", "exec", pending.exec_res
    if "prep_res" in shows:
        yield "prep returned", "prep", pending.prep_res


def _just_done(stepper: Stepper, texts: ValueTexts) -> dict[str, Any]:
    """Return what the visit that has just ended did, at a place before the next visit; an empty dict elsewhere."""
    before = stepper._session.history.now.parent
    if before is None or stepper.error is not None or stepper.place.phase not in ("before prep", "at the end"):
        return {}
    path = before.location.path
    visit = last_visit(stepper, path, texts)
    return {"name": shown(last_name(path)), "path": path, "values": visit["values"]} if visit.get("values") else {}


def _stops(model: GraphModel, stepper: Stepper) -> list[str]:
    """Return the nodes of the drawing that have a breakpoint of their own, by name or path."""
    wanted = {found.node for found in stepper.breakpoints if isinstance(found.node, str)}
    return [node.id for node in model.nodes if node.id in wanted or node.name in wanted]


def marks(model: GraphModel, stepper: Stepper) -> dict[str, Any]:
    """Return the state of each node that was visited, by its path. The node of a closed flow marks the flow."""
    history = stepper._session.history
    here, ids = history.now.location, {node.id for node in model.nodes}
    status = with_status(model, stepper.record).status
    assert status is not None
    found: dict[str, dict[str, Any]] = {
        id: {"state": of_node.state, "text": ", ".join(of_node.notes)} for id, of_node in status.nodes.items()
    }
    for entry in history.line():
        path = _done_by(entry).path
        if entry.activity.counts["replayed"] and path in found:
            found[path]["replayed"] = True
    current = here.path
    while current not in ids and "/" in current:
        current = current.rpartition("/")[0]
    if not here.is_end:
        mark = found.setdefault(current, {"state": "running", "text": ""})
        mark["here"] = True
        if here.error is not None:
            mark["state"] = "failed"
    return found


# ---- shared ----------------------------------------------------------------------------------------------------------


def keys(now: HistoryEntry, texts: ValueTexts) -> list[dict[str, Any]]:
    """Return a row for each key of ``shared``, with its value now and before the last step. Changed keys come first."""
    before = now.parent.snapshot if now.parent is not None else now.snapshot
    changed = {change.key: change for change in changes(before, now.snapshot)}
    rows = []
    for key in [*changed, *(key for key in now.snapshot if key not in changed)][:MAX_KEYS]:
        version, change = now.snapshot.get(key), changed.get(key)
        old = None if change is None else change.before
        edited_as, text = ("", "") if version is None else _editable(key, version)
        rows.append(
            {
                "key": shown(name_of(key), SHORT),
                "name": name_of(key)[:1000],
                "how": "" if change is None else _how(change.before, version),
                "now": _readable(key, version, texts),
                "before": _readable(key, old, texts),
                "edited_as": edited_as,
                "text": text,
                "by_reference": ", ".join(sorted(version.by_reference)) if version is not None else "",
            }
        )
    return rows


def comparison(first: HistoryEntry, second: HistoryEntry, texts: ValueTexts) -> dict[str, Any]:
    """Return the keys of ``shared`` that differ between two places, with both values."""
    rows = [
        {
            "key": shown(name_of(change.key), SHORT),
            "how": _how(change.before, change.after),
            "first": _readable(change.key, change.before, texts),
            "second": _readable(change.key, change.after, texts),
        }
        for change in islice(changes(first.snapshot, second.snapshot), MAX_KEYS)
    ]
    return {"first": first.number, "second": second.number, "keys": rows}


def _how(before: Version | None, after: Version | None) -> str:
    return "new" if before is None else "gone" if after is None else "changed"


def name_of(key: Any) -> str:
    """Return the name by which a key of ``shared`` is shown and asked for."""
    return key if type(key) is str else repr(key)


def _readable(key: Any, version: Version | None, texts: ValueTexts) -> Readable | None:
    if version is None or not version.uses:  # it was evicted
        return None
    return {"text": MASK} if is_secret(key) else readable(version.kept, texts, LONG)


def _editable(key: Any, version: Version) -> tuple[str, str]:
    """Return how a value is edited, "text" or "json", and as what; "" if it cannot be, or holds a secret."""
    if version.size > 100_000 or is_secret(key):
        return "", ""
    if type(version.kept) is str:
        return "text", version.kept
    try:
        text = json.dumps(version.kept, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return "", ""
    if len(text) > LONG:
        return "", ""
    secrets: list[str] = []
    json.loads(text, object_pairs_hook=lambda pairs: secrets.extend(name for name, _ in pairs if is_secret(name)))
    return ("", "") if secrets else ("json", text)


def whole_text(stepper: Stepper, id: str, texts: ValueTexts) -> str:
    """Return the whole text of a value that is shown cut, or is to be copied: a string as it is, others as JSON.

    Raises:
        KeyError: No value with this id is shown.
    """
    if id.startswith("key:"):
        snapshot = stepper._session.history.now.snapshot
        key = next(key for key in snapshot if f"key:{name_of(key)[:1000]}" == id)
        return MASK if is_secret(key) else whole(snapshot[key].kept, texts)
    return whole({other: value for _, other, value in _values(stepper)}[id], texts)


# ---- history ---------------------------------------------------------------------------------------------------------


def places(history: History, known: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each entry of all branches, at most `MAX_PLACES` around the current one.

    Args:
        history: The history.
        known: What does not change of rows made before, by number; filled here.
    """
    on_line = {entry.number for entry in history.line()}
    entries = list(history.walk())
    index = next(n for n, (entry, _) in enumerate(entries) if entry is history.now)
    first = max(0, min(index - MAX_PLACES // 2, len(entries) - MAX_PLACES))
    seen = entries[first : first + MAX_PLACES]
    known |= {entry.number: _row(entry) for entry, _ in seen if entry.number not in known}
    return [
        known[entry.number]
        | {
            "depth": depth,
            "on_line": entry.number in on_line,
            "here": entry is history.now,
            "evicted": entry.is_evicted,
        }
        for entry, depth in seen
    ]


def _row(entry: HistoryEntry) -> dict[str, Any]:
    there = entry.location
    which = [f"visit {there.visit}"] if there.visit > 1 else []
    which += [f"set {there.param_set}"] if there.param_set is not None else []
    which += [f"item {there.item}{_of(there.items)}"] if there.item is not None else []
    return {
        "number": entry.number,
        "node": shown(last_name(there.path)),
        "path": shown(there.path, 200),
        "level": there.depth,
        "which": ", ".join(which),
        "phase": there.phase,
        "action": quoted(there.action, 30) if "action" in there.boundary.shows else "",
        "how": _how_called(entry),
        "seconds": duration(entry.activity.seconds) if entry.activity.seconds >= 0.0005 else "",
        "edited": shown(entry.edited, SHORT) if entry.edited else "",
        "failed": "" if there.error is None else f"{there.failed}: {shown(class_name(there.error))}",
        "changed": _changed_keys(entry),
    }


def _done_by(entry: HistoryEntry) -> Location:
    """Return where the step to an entry was made: an entry before a visit comes after the step of another node."""
    is_after = entry.starts_visit or entry.location.is_end
    return entry.parent.location if is_after and entry.parent is not None else entry.location


def _how_called(entry: HistoryEntry) -> str:
    """Return how the calls of the step to an entry were answered, and their node if it is not the entry's node."""
    how = ", ".join(how for how in ANSWERS if entry.activity.counts[how])
    path = _done_by(entry).path
    return f"{shown(last_name(path))} {how}" if how and path != entry.location.path else how


def _changed_keys(entry: HistoryEntry) -> str:
    """Return the first keys of ``shared`` that changed on the way to an entry."""
    if entry.parent is None:
        return ""
    found = changes(entry.parent.snapshot, entry.snapshot)
    return ", ".join([shown(name_of(change.key), 30) for change in found[:4]] + ["…"] * (len(found) > 4))
