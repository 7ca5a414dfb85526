"""The statuses of items, param sets and visits: one table. Tables, summaries, progress and graphs read it.

To add a status, add a row to `STATUSES` and to the list in ``docs/tables.md`` (a test compares the two), and give it a
colour in `notebook/html.py`. Set it where `engine/attempts.py` settles a call. Calls that `engine/advance.py` and
`engine/visit_exec.py` make themselves are "ok": their failures are settled by `engine/attempts.py` too.

Graphs show nodes in the states of ``on_graph``. To add one, add its words in `graph/status.py`, its colours in
`graph/style.py`, and its sign in `graph/sketch.py`. The widgets have a list of the states in
``static/stepper/graph.js``.
"""

from typing import Literal, NamedTuple


class Status(NamedTuple):
    """One status, and how it counts.

    Attributes:
        name: The text in the column ``status``.
        meaning: What it says about an item, for the docs.
        has_result: Whether the item has a result: it is in ``.ok``, and a retry of all rows without a result skips it.
        has_ended: Whether nothing is to come: progress counts the item as done.
        is_failure: Whether the item is in ``.errors`` and ``retry_failed`` calls it.
        on_graph: The state in which the graph of a run shows a node whose latest visit has this status.
    """

    name: str
    meaning: str
    has_result: bool
    has_ended: bool
    is_failure: bool
    on_graph: Literal["ok", "failed", "cancelled"]


STATUSES = (
    Status("ok", "`exec` returned", True, True, False, "ok"),
    Status("fallback", "the last attempt failed, and `exec_fallback` returned", True, True, False, "ok"),
    Status("failed", "the last attempt failed", False, True, True, "failed"),
    Status("cancelled", "started, and not finished", False, False, False, "cancelled"),
    Status("pending", "not started", False, False, False, "cancelled"),
)
"""All statuses, in the order in which counts list them."""

HAS_RESULT = tuple(status.name for status in STATUSES if status.has_result)
ENDED = tuple(status.name for status in STATUSES if status.has_ended)
FAILURES = tuple(status.name for status in STATUSES if status.is_failure)


def count_with(counts: dict[str, int], statuses: tuple[str, ...]) -> int:
    """Return the number of items that have one of these statuses, of counts by status."""
    return sum(counts.get(status, 0) for status in statuses)
