"""The table of statuses is what the docs say."""

import re
from pathlib import Path

from llmflow_nb.core.statuses import STATUSES

DOCS = Path(__file__).parents[2] / "docs/tables.md"


def test_docs_list_every_status():
    """The page on tables has a row for each status, in the same order, with its meaning and how it counts."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (yes|no) \| (yes|no) \|$", DOCS.read_text(encoding="utf-8"), flags=re.M)
    yes = {True: "yes", False: "no"}
    assert rows == [(s.name, s.meaning, yes[s.has_result], yes[s.is_failure]) for s in STATUSES]
