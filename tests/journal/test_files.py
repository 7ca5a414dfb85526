"""Files that are no journals, journals of others, and disks that are full: a clear error, and nothing is changed."""

import os
import pickle
import sqlite3
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from llmflow_nb import BatchNode, Flow, Journal, JournalError
from llmflow_nb.journal.network import network_of
from tests.journal.helpers import PROGRAM, Aside, run, start


class Label(BatchNode):
    def prep(self, shared):
        return shared["texts"]

    def exec(self, text):
        made.append(text)
        return {"label": text}


made = Aside()


@pytest.fixture(autouse=True)
def nothing_made():
    made.clear()


def label(file, texts=("a", "b")):
    Flow(start=Label(), name="labels").run({"texts": texts}, journal=file, progress=False)


def database(path, script):
    db = sqlite3.connect(path)
    db.executescript(script)
    db.close()


def cut(path):
    label(path, [os.urandom(2000).hex() for _ in range(20)])
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwritten(path):
    label(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))


def with_script(script):
    def write(path):
        label(path)
        database(path, script)

    return write


WRONG = {
    "a PNG": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 200), r"it begins with b'.x89PNG"),
    "a text": (lambda path: path.write_text("hello"), "is not a journal: it begins with b'hello'"),
    "an empty file": (lambda path: path.touch(), "is not a journal: it is empty"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps([1] * 100)), "is not a journal: it begins with"),
    "a folder": (lambda path: path.mkdir(), "is a folder; give the name of a file"),
    "a database": (lambda path: database(path, "CREATE TABLE t(x)"), "is an SQLite database, but not a journal"),
    "a newer one": (with_script("PRAGMA user_version=2"), "has the newer format 2.*update llmflow_nb"),
    "a cut one": (cut, "was cut off"),
    "one that was overwritten": (overwritten, "is damaged|does not have the tables"),
    "one with a trigger": (
        with_script("CREATE TRIGGER t AFTER INSERT ON call BEGIN DELETE FROM call; END"),
        "does not have the tables of a journal",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_no_journal(name, tmp_path):
    """It is refused by a run and by a look at it, before anything is called, and left as it is."""
    path = tmp_path / "runs.db"
    write, message = WRONG[name]
    write(path)
    made.clear()
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(JournalError, match=message) as caught:
        label(path)
    assert str(path) in str(caught.value)
    with pytest.raises(JournalError, match=message):
        assert Journal(path).runs is None
    assert made == []
    assert before is None or path.read_bytes() == before
    label(tmp_path / "other.db")  # nothing is left locked


def test_a_file_that_is_deleted_after_a_kill(tmp_path):
    """The next run begins a new one. What SQLite kept beside the old one is not read into it."""
    process = start(
        """
        class Dies(Label):
            def exec(self, x):
                if x == 30:
                    os._exit(9)
                return "x" * 3000
        Flow(start=Dies(), name="labels").run(shared, journal="runs.db", progress=False)
        """,
        tmp_path,
    )
    process.communicate()
    assert process.returncode == 9
    path = tmp_path / "runs.db"
    assert Path(f"{path}-wal").stat().st_size
    path.unlink()
    for _ in range(2):
        label(path)
    assert made == ["a", "b"]
    assert list(Journal(path).runs["replayed"]) == [2, 0]


def test_a_folder_that_does_not_exist(tmp_path):
    """It is not created."""
    with pytest.raises(JournalError, match="cannot be opened for writing"):
        label(tmp_path / "none" / "runs.db")
    assert isinstance(JournalError("x"), OSError)


HOSTILE = [
    ('UPDATE call SET result = \'{"$":"os.system","v":"touch called"}\'', "unknown tag 'os.system'"),
    ("UPDATE call SET result = replace(hex(zeroblob(10000)), '00', '[')", "nested too deeply"),
    ("UPDATE call SET result = x'80049500'", "is damaged"),
    ("UPDATE call SET result = '#none'", "is damaged"),
    ("UPDATE call SET result = '#a'; INSERT INTO value VALUES ('a', x'00', 1)", "cut off|is damaged"),
    ("UPDATE call SET result = '#a'; INSERT INTO value VALUES ('a', 5, 1)", "is damaged"),
    ("UPDATE call SET attempts = 'x'", "is damaged"),
    ("UPDATE call SET seconds = NULL", "is damaged"),
]


@pytest.mark.parametrize(("script", "message"), HOSTILE)
def test_a_hostile_journal(script, message, tmp_path, monkeypatch):
    """Nothing in it is executed, and the error says which result cannot be read."""
    monkeypatch.chdir(tmp_path)
    label("runs.db")
    database("runs.db", script)
    with pytest.raises(JournalError, match=message) as caught:
        label("runs.db")
    assert "labels/Label, item 1" in str(caught.value)
    assert made == ["a", "b"]
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "script",
    [
        "UPDATE code SET attributes = '[1]'",
        "UPDATE code SET attributes = replace(hex(zeroblob(10000)), '00', '[')",
        "UPDATE call SET code = 'none'",
        "UPDATE run SET started = 'x'",
        "UPDATE run SET started = 1e300",
    ],
)
def test_to_look_at_a_hostile_journal(script, tmp_path):
    """It is an error that names the file, or a table."""
    path = tmp_path / "runs.db"
    for _ in range(2):
        label(path, ["a", str(len(made))])
    database(path, script)
    for look in (lambda: Journal(path).why(), lambda: Journal(path).runs, lambda: repr(Journal(path))):
        with suppress(JournalError):
            look()


MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
host:/srv /srv nfs4 rw 0 0
//server/share /mnt/my\\040share cifs rw 0 0
me@host: /srv/me/far fuse.sshfs rw 0 0
tmpfs /srv/me/near tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/data/runs.db", ""),
        ("/srv/me/runs.db", "nfs4"),
        ("/srvs/runs.db", ""),
        ("/mnt/my share/runs.db", "cifs"),
        ("/srv/me/far/runs.db", "fuse.sshfs"),
        ("/srv/me/near/runs.db", ""),
    ],
)
def test_a_network_file_system(path, kind, tmp_path):
    """It is told by the longest folder that is mounted. Where there is no such table, it is unknown."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert network_of(Path(path), mounts) == kind
    assert network_of(Path(path), tmp_path / "none") == ""


# ---- two processes ---------------------------------------------------------------------------------------------------

WAITS = """
class Waits(Label):
    def exec(self, x):
        print("in use", os.getpid(), flush=True)
        sys.stdin.readline()
        return x
Flow(start=Waits(), name="waits").run({"items": [1]}, journal="runs.db", progress=False)
"""


def test_one_process_writes(tmp_path):
    """The second is refused with the first one's number and host, and may look at the file; after a kill it is free."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + WAITS],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == f"in use {process.pid}\n"
        with pytest.raises(JournalError, match=rf"is in use by process {process.pid} on .* since \d\d\d\d-"):
            label(tmp_path / "runs.db")
        assert made == []
        assert list(Journal(tmp_path / "runs.db").runs["status"]) == ["running"]
        process.kill()
        process.wait()
    assert list(Journal(tmp_path / "runs.db").runs["status"]) == ["killed"]
    assert list(Journal(tmp_path / "runs.db").runs["unanswered"]) == [1]
    label(tmp_path / "runs.db")
    assert list(Journal(tmp_path / "runs.db").runs["status"]) == ["ok", "killed"]


def test_a_forked_child_is_refused(tmp_path):
    """It would write to the file of its parent."""
    out = run(
        """
        class Forks(Label):
            def exec(self, x):
                if os.fork() == 0:
                    try:
                        Flow(start=Label(), name="child").run({"items": [1]}, journal="runs.db", progress=False)
                    except OSError as exc:
                        print(exc, flush=True)
                    os._exit(0)
                os.wait()
                return x
        Flow(start=Forks()).run({"items": [1]}, journal="runs.db", progress=False)
        """,
        tmp_path,
    )
    assert "is in use by process" in out
    assert list(Journal(tmp_path / "runs.db").runs["status"]) == ["ok"]


# ---- a disk that is full, and one that cannot be written -------------------------------------------------------------

FULL = """
import resource
class Long(Label):
    def exec(self, x):
        entry("ledger", x)
        if x == 20 and not os.path.exists("room"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        return os.urandom(20_000).hex()
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
flow = Flow(start=Long(), name="long")
shared = {"items": range(40)}
try:
    flow.run(shared, journal="runs.db", progress=False)
except OSError as exc:
    print(type(exc).__name__, exc, flush=True)
assert flow.last_run.status == "failed"
made = len(open("ledger").read().split())
table = flow.last_run.batch("Long").df
assert (table["status"] == "ok").sum() == made, table
print([text for text in flow.last_run.problems], flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
open("room", "w").close()
flow.last_run.resume(progress=False)
assert len(shared["labels"]) == 40
print(len(open("ledger").read().split()))
"""


def test_a_full_disk(tmp_path):
    """No further call is made, what is there stays in memory, and resume goes on once there is room."""
    out = run(FULL, tmp_path).splitlines()
    assert out[0].startswith("JournalError the journal ")
    assert "cannot be read or written" in out[0]
    assert "results were not kept" in out[1]
    assert out[2] == "40"
    database = sqlite3.connect(tmp_path / "runs.db")
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert database.execute("SELECT count(*) FROM call WHERE status = 'ok'").fetchone()[0] >= 38
    database.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any file")
def test_a_file_that_may_not_be_written(tmp_path):
    """An error, before anything is called."""
    label(tmp_path / "runs.db")
    made.clear()
    (tmp_path / "runs.db").chmod(stat.S_IREAD)
    with pytest.raises(JournalError, match="cannot be"):
        label(tmp_path / "runs.db", ["c"])
    assert made == []
