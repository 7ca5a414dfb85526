"""Make the journal of the current format that `test_formats` opens: ``python -m tests.journal.make_file``.

Run it once when a format is released, and check the file in. Files of earlier formats stay as they are, and so do the
classes here: an edit of their code is an edit for a journal too.
"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from llmflow_nb import BatchFlow, BatchNode, Flow, Node
from llmflow_nb.journal.schema import VERSION

FOLDER = Path(__file__).parent / "formats"


class Model:
    """Counts the calls. No result depends on it."""

    def __init__(self):
        self.called, self.is_up = [], False

    def ask(self, text):
        self.called.append(text)
        if text == "storm" and not self.is_up:
            raise ConnectionError("the model is down")

    def __fingerprint__(self):
        return "model"


model = Model()


class Label(BatchNode):
    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        model.ask(text)
        return {"label": text.upper(), "tags": {text}, "long": text * 2_000, "at": (1, 2.5, None, b"\0")}

    def post(self, shared, texts, labels):
        shared["labels"] = labels


class Judge(Node):
    def prep(self, shared):
        return self.params["question"]

    def exec(self, question):
        model.ask(question)
        return len(question)


class Questions(BatchFlow):
    def prep(self, shared):
        return [{"question": "why?"}, {"question": "what for?"}]


def run(path: Path) -> dict[str, Any]:
    """Run a flow with a journal, and return its ``shared``. The second item fails while the model is down."""
    label = Label(on_error="keep", max_concurrency=2)
    label >> Questions(start=Judge())
    shared: dict[str, Any] = {"texts": ["sun", "storm", "sun"]}
    Flow(start=label, name="formats").run(shared, journal=path, progress=False)
    return shared


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"format_{VERSION}_python_{sys.version_info[0]}_{sys.version_info[1]}.db"
    path.unlink(missing_ok=True)
    for _ in range(2):
        run(path)
    Path(f"{path}-lock").unlink()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE run SET host = 'host', pid = 1")
        db.execute("VACUUM")
    print(path.name, path.stat().st_size)
