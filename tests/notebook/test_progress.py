"""How far a run is: in a terminal, with bars of one's own, and as what a handle shows."""

import asyncio
import io
import itertools
import os
import re
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmflow_nb import BatchFlow, Flow, FlowWarning, Limiter, Node, SettingError
from llmflow_nb.notebook.lines import bundle_of
from tests.engine.helpers import PATIENCE, Items, Square
from tests.notebook.helpers import HOSTILE, Bars, Calls, waiting
from tests.notebook.test_summary import Page


class Terminal(io.StringIO):
    """A terminal as standard error, with an event for the first time that something is written."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def isatty(self):
        return True

    def write(self, text):
        written = super().write(text)
        self.written.set()
        return written


@pytest.fixture
def at_terminal(monkeypatch):
    """To be called within the test, since pytest puts its own standard error in place before that."""

    def begin():
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        return terminal

    return begin


def fails():
    raise ValueError("no")


class Held:
    """A run in the background that stands still within the last of its items, until it is left."""

    def __init__(self, make, shared=None, items=()):
        self.started, self.go_on = threading.Event(), threading.Event()
        self.submitted = make.submit({"items": [*items, self._hold], **(shared or {})}, progress=False)

    def _hold(self):
        self.started.set()
        assert self.go_on.wait(PATIENCE)

    def __enter__(self):
        assert self.started.wait(PATIENCE)
        return self.submitted

    def __exit__(self, *exc):
        self.go_on.set()
        assert self.submitted.wait(PATIENCE)


@contextmanager
def rounds(count):
    """An item that takes as long as that many rounds of drawing: another run, whose bar is drawn, tells them."""
    bars, go_on = Bars(), threading.Event()
    submitted = Calls().submit({"items": [waiting(go_on)]}, progress=bars)

    def item():
        for _ in range(count):
            assert bars.updated.acquire(timeout=PATIENCE)

    try:
        yield item
    finally:
        go_on.set()
        assert submitted.wait(PATIENCE)


def line(run):
    """How far a run is, in one line, without what the clock says."""
    text = bundle_of(run)["text/plain"]
    assert len(text.splitlines()) == 1
    return re.sub(r", \S+ (items|param sets)/s, [^|]* left|, \d+ m?s$", "", text)


def html(run):
    return Page(bundle_of(run)["text/html"])


# ---- what may be asked for -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [None, 0, 1, "", "AUTO", "tqdm", [], {}, 0.5, Bars().made], ids=repr)
def test_nonsense_is_refused_before_anything_runs(progress):
    """Other values are an error that says which there are, in every way to start, and no hook was called."""
    told = []

    class Ask(Items):
        def prep(self, shared):
            told.append("prep")
            return []

    node = Ask()
    match = re.escape(f"progress={progress!r}: it must be True, False, 'auto', or a callable such as tqdm.")
    with pytest.raises(SettingError, match=match):
        node.run({}, progress=progress)
    with pytest.raises(SettingError, match=match):
        node.submit({}, progress=progress)
    with pytest.raises(SettingError, match=match):
        asyncio.run(node.run_async({}, progress=progress))
    assert node.last_run is None
    node.run({})
    with pytest.raises(SettingError, match=match):
        node.last_run.batch(node).retry_failed(progress=progress)
    assert told == ["prep"]


def test_nothing_is_shown_where_nobody_looks(capsys):
    """Where standard error is no terminal, a run of a second and more shows nothing unless it is asked to."""
    with rounds(8) as item:
        Calls().run({"items": [item]})
    assert capsys.readouterr() == ("", "")


def test_nothing_is_shown_where_it_is_not_wanted(at_terminal):
    """With progress=False nothing is shown in a terminal either."""
    terminal = at_terminal()
    with rounds(8) as item:
        Calls().run({"items": [item]}, progress=False)
    assert terminal.getvalue() == ""


# ---- bars of one's own -----------------------------------------------------------------------------------------------


def run_it(node, shared, progress):
    return node.run(shared, progress=progress)


def await_it(node, shared, progress):
    return asyncio.run(node.run_async(shared, progress=progress))


def submit_it(node, shared, progress):
    assert node.submit(shared, progress=progress).wait(PATIENCE)


@pytest.mark.parametrize("start", [run_it, await_it, submit_it])
def test_a_bar_is_made_for_each_batch(start):
    """Each batch has a bar with its name and total; its updates add up to it, and it is closed once at the end."""
    first, second = Calls(name="First"), Calls(name="Second", max_concurrency=3)
    first >> second
    bars = Bars()
    start(Flow(first), {"items": [1, 2, 3]}, bars)
    assert [(bar.desc, bar.total, sum(bar.updates), bar.closed) for bar in bars.made] == [
        ("First", 3, 3, 1),
        ("Second", 3, 3, 1),
    ]


def test_bars_move_while_the_run_goes_on():
    """The run sees its own bar move: the third item waits until the first two are on it."""
    bars = Bars()
    node = Calls(name="Ask")
    node.run({"items": [1, 2, waiting(bars.when(2))]}, progress=bars)
    assert node.last_run.batch(node).results == [1, 2, "seen"]
    assert sum(bars.made[0].updates) == 3


def test_a_run_without_batches_has_no_bar():
    """Nothing is called where there is nothing to count."""
    bars = Bars()
    Flow(Node()).run({}, progress=bars)
    assert bars.made == []


def test_bars_are_closed_after_an_error():
    """A run that fails leaves no bar open, and its bar stands at what has ended, the failed item included."""
    bars = Bars()
    with pytest.raises(ValueError, match="no"):
        Calls().run({"items": [1, fails, 3]}, progress=bars)
    (bar,) = bars.made
    assert (bar.total, sum(bar.updates), bar.closed) == (3, 2, 1)


def test_bars_are_closed_after_an_interrupt():
    """An interrupt closes the bars too, and what it stopped is not counted as done."""

    def interrupt():
        raise KeyboardInterrupt

    bars = Bars()
    with pytest.raises(KeyboardInterrupt):
        Calls().run({"items": [1, interrupt, 3]}, progress=bars)
    (bar,) = bars.made
    assert (sum(bar.updates), bar.closed) == (1, 1)


def test_failed_items_that_are_kept_count_as_done():
    """A batch that keeps going is at its end when all items are, failed ones included."""
    bars = Bars()
    Calls(on_error="keep").run({"items": [1, fails, 3]}, progress=bars)
    assert sum(bars.made[0].updates) == 3


def test_a_generator_has_no_total_until_it_has_ended():
    """A bar is made without a total where the input does not know; at the end it has one."""
    bars = Bars()
    made_with = []

    class Ask(Calls):
        def prep(self, shared):
            return (item for item in shared["items"])

    def make(*, total, desc):
        made_with.append(total)
        return bars(total=total, desc=desc)

    Ask().run({"items": [1, waiting(bars.when(1))]}, progress=make)
    assert made_with == [None]
    assert (bars.made[0].total, sum(bars.made[0].updates)) == (2, 2)


def test_visits_of_a_node_share_a_bar():
    """A batch node inside a batch flow has one bar over all its visits; the flow has another."""
    flow = BatchFlow(Calls(name="Ask"), name="Each")
    flow.prep = lambda shared: [{"n": n} for n in range(4)]
    bars = Bars()
    flow.run({"items": [1, 2, 3]}, progress=bars)
    assert {bar.desc: (bar.total, sum(bar.updates), bar.closed) for bar in bars.made} == {
        "Each": (4, 4, 1),
        "Ask": (12, 12, 1),
    }


def test_rows_that_are_called_again_have_a_bar():
    """A retry takes a callable too; its bar ends full, and is closed."""
    answers = iter(["late"])
    node = Calls(on_error="keep")
    node.run({"items": [1, lambda: next(answers), lambda: next(answers)]})
    answers = iter(["later"])
    bars = Bars()
    node.last_run.batch(node).retry_failed(progress=bars)
    assert node.last_run.batch(node).results == [1, "late", "later"]
    (bar,) = bars.made
    assert (bar.desc, bar.total, sum(bar.updates), bar.closed) == ("Calls", 3, 3, 1)


def test_a_bar_without_a_total_to_set_will_do():
    """Of a bar no more is asked than ``update`` and ``close``."""

    told = []

    class Small:
        __slots__ = ()

        def __init__(self, total, desc):
            told.append((total, desc))

        def update(self, n):
            told.append(n)

        def close(self):
            told.append("closed")

    Calls().run({"items": [1, 2]}, progress=Small)
    assert told[0] == (2, "Calls")
    assert sum(told[1:-1]) == 2
    assert told[-1] == "closed"


class Broken:
    """A bar that raises in one of its methods, having set an event."""

    def __init__(self, where, raised):
        self.where, self.raised = where, raised

    def __call__(self, **options):
        self.act("made")
        return self

    def update(self, n):
        self.act("update")

    def close(self):
        self.act("close")

    def act(self, where):
        if where == self.where:
            self.raised.set()
            raise OSError("<b>no bar today</b>")


@pytest.mark.parametrize("where", ["made", "update", "close"])
def test_a_bar_that_raises_does_not_break_the_run(where):
    """The run goes on to its end, warns, and has the reason among its problems, in words."""
    node, raised = Calls(), threading.Event()
    shared = {"items": [1, 2, 3]}
    with pytest.warns(FlowWarning, match="progress is no longer shown: OSError: <b>no bar today</b>"):
        node.run(shared, progress=Broken(where, raised))
    assert shared["results"] == [1, 2, 3]
    assert node.last_run.status == "ok"
    assert node.last_run.problems == ["progress is no longer shown: OSError: <b>no bar today</b>"]
    assert raised.is_set()


def test_a_bar_that_raises_while_the_run_goes_on_is_let_go():
    """The run goes on after its bar broke, the bar is told no more, and other runs are shown as before."""
    node, raised = Calls(), threading.Event()
    broken = Broken("update", raised)
    with pytest.warns(FlowWarning, match="no bar today"):
        node.run({"items": [1, waiting(raised), 3]}, progress=broken)
    assert node.last_run.batch(node).results == [1, "seen", 3]
    assert len(node.last_run.problems) == 1
    test_bars_move_while_the_run_goes_on()


def test_a_value_that_makes_no_bars_is_a_problem():
    """A callable that returns what is no bar, or takes no such arguments, is said and does no harm."""
    for wrong in (lambda **options: None, lambda: None):
        node = Calls()
        with pytest.warns(FlowWarning, match=r"progress is no longer shown: (Attribute|Type)Error"):
            node.run({"items": [1]}, progress=wrong)
        assert node.last_run.status == "ok"


# ---- text on the standard error --------------------------------------------------------------------------------------


def test_outside_of_a_terminal_there_is_one_line_at_the_end(capsys):
    """With progress=True a log file gets one line, when all is done."""
    with rounds(3) as item:
        Calls(name="Ask", on_error="keep").run({"items": [1, fails, item]}, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"Ask ok \| Ask 3/3 items, 1 failed \| 1 visit, \S+ \S+\n", err)


def test_a_line_is_written_after_an_error_too(capsys):
    """Of a run that failed the line says so, and what there was."""
    with pytest.raises(ValueError, match="no"):
        Calls(name="Ask").run({"items": [1, fails, 3]}, progress=True)
    assert capsys.readouterr().err.startswith("Ask failed | Ask 2/3 items, 1 failed | 1 visit, ")


def test_a_line_is_written_of_a_run_without_batches(capsys):
    """Where it was asked for there is a line for any run."""
    Flow(Node(), name="Chat").run({}, progress=True)
    assert re.fullmatch(r"Chat ok \| 2 visits, \S+ \S+\n", capsys.readouterr().err)


def test_static_output_has_no_times(monkeypatch, capsys):
    """With LLMFLOW_NB_DISPLAY=static the line is the same each time."""
    monkeypatch.setenv("LLMFLOW_NB_DISPLAY", "static")
    for _ in range(2):
        Calls(name="Ask").run({"items": [1, 2]}, progress=True)
        assert capsys.readouterr().err == "Ask ok | Ask 2/2 items | 1 visit\n"
    Calls().run({"items": [1]})
    assert capsys.readouterr().err == ""


def test_static_bars_are_drawn_once(monkeypatch):
    """With LLMFLOW_NB_DISPLAY=static a bar is filled in one go, at the end, while another run's bar goes on moving."""
    bars = Bars()
    with rounds(3) as item:
        monkeypatch.setenv("LLMFLOW_NB_DISPLAY", "static")
        Calls().run({"items": [1, item]}, progress=bars)
    assert [(bar.updates, bar.closed) for bar in bars.made] == [([2], 1)]


def test_a_terminal_is_drawn_over(at_terminal):
    """In a terminal the line is there while the run goes on, drawn over itself, and ended at the end."""
    terminal = at_terminal()
    node = Calls(name="Ask")
    node.run({"items": [1, waiting(terminal.written), 3]}, progress=True)
    assert node.last_run.batch(node).results == [1, "seen", 3]
    drawn = terminal.getvalue()
    first, *_, last = drawn.removeprefix("\r").split("\r")
    assert drawn.startswith("\rAsk running | ")
    assert first.rstrip() != last.rstrip()
    assert re.fullmatch(r"Ask ok \| Ask 3/3 items \| 1 visit, \S+ \S+ *\n", last)
    assert drawn.count("\n") == 1
    assert len(last) > len(first) or last.endswith(" \n")  # nothing of a longer line is left to be seen


def test_a_terminal_shows_long_runs_without_being_asked(at_terminal):
    """In a terminal "auto" draws a batch that takes its time, and ends the line."""
    terminal = at_terminal()
    node = Calls(name="Ask")
    node.run({"items": [1, waiting(terminal.written), 3]})
    assert terminal.getvalue().startswith("\rAsk running | Ask 1/3 items")
    assert "Ask ok | Ask 3/3 items | 1 visit" in terminal.getvalue()
    assert terminal.getvalue().endswith("\n")


def test_a_line_fits_into_the_terminal(at_terminal):
    """A line that would not fit is cut, since one that wraps cannot be drawn over."""
    terminal = at_terminal()
    Calls(name="<b>" * 100).run({"items": [1]}, progress=True)
    assert all(len(drawn) <= 100 for drawn in terminal.getvalue().split("\r"))


@pytest.mark.parametrize("word", HOSTILE, ids=lambda word: ascii(word)[:30])
def test_a_hostile_name_is_one_line_of_plain_text(word, at_terminal):
    """A name cannot move the cursor of the terminal, end the line or turn its direction."""
    terminal = at_terminal()
    BatchFlow(Calls(name=word, on_error="keep"), name=word).run({"items": [1]}, progress=True)
    drawn = terminal.getvalue()
    assert drawn.endswith("\n")
    assert not re.search("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", drawn)
    assert drawn.count("\n") == 1


# ---- how far it is ---------------------------------------------------------------------------------------------------


def test_a_run_that_goes_on_is_shown():
    """Of a running batch there is how many items are done, of how many, how many run, and where the run is."""
    with Held(Flow(Calls(name="Ask", on_error="keep"), name="Chat"), items=[1, fails, 3]) as submitted:
        text, page = line(submitted.run), html(submitted.run)
        assert "Chat running | Ask 3/4 items, 1 failed, 1 running" in text
        assert "at Chat/Ask" in text
        widths = [dict(attributes)["style"] for tag, attributes in page.elements if "style" in dict(attributes)]
        assert widths[1:] == ["padding-left: 1em", "width: 50.0%", "width: 25.0%"]
        assert Page(submitted._repr_mimebundle_()["text/html"]).elements == page.elements
    text = line(submitted.run)
    assert text == "Chat ok | Ask 4/4 items, 1 failed | 2 visits"
    assert "running" not in " ".join(html(submitted.run).texts)


def test_items_under_way_are_counted():
    """Items side by side are all counted as running."""
    barrier = threading.Barrier(4)
    go_on = threading.Event()

    def item():
        barrier.wait(PATIENCE)
        assert go_on.wait(PATIENCE)

    submitted = Calls(name="Ask", max_concurrency=3).submit({"items": [item] * 3 + [1] * 7})
    try:
        barrier.wait(PATIENCE)
        assert "Ask 0/10 items, 3 running" in line(submitted.run)
    finally:
        go_on.set()
    assert submitted.wait(PATIENCE)


def test_how_it_went_has_a_colour():
    """Runs that go on, ended well or failed are told apart by the class of their word, and by the word."""
    fine, failed = Calls(), Calls()
    fine.run({"items": [1, 2]})
    with pytest.raises(ValueError, match="no"):
        failed.run({"items": [1, fails]})
    with Held(Calls()) as submitted:
        pages = [html(run) for run in (fine.last_run, failed.last_run, submitted.run)]
    assert [page.texts[1] for page in pages] == ["ok", "failed", "running"]
    assert len({str(page.elements[4]) for page in pages}) == 3


def test_a_failed_run_is_shown():
    """After an error the line says so; what was not reached is not counted as done."""
    flow = Flow(Calls(name="Ask"), name="Chat")
    with pytest.raises(ValueError, match="no"):
        flow.run({"items": [1, fails, 3, 4]})
    assert line(flow.last_run) == "Chat failed | Ask 2/4 items, 1 failed | 2 visits"


def test_a_stopped_run_is_shown():
    """What a stop cancelled is counted apart."""
    with Held(Calls(name="Ask"), items=[1]) as submitted:
        assert submitted.stop()
        assert line(submitted.run) == "Ask stopped | Ask 1/2 items, 1 cancelled | 1 visit"


def test_inner_batches_are_indented():
    """Batches inside of batches are below them, indented, and named from there."""
    inner = BatchFlow(Calls(name="Ask"), name="Inner")
    inner.prep = lambda shared: [{"b": 1}, {"b": 2}]
    outer = BatchFlow(inner, name="Outer")
    outer.prep = lambda shared: [{"a": 1}, {"a": 2}, {"a": 3}]
    outer.run({"items": [1, 2]})
    assert line(outer.last_run) == (
        "Outer ok | Outer 3/3 param sets | Inner 6/6 param sets | Ask 12/12 items | 10 visits"
    )
    rows = re.findall(r'padding-left: (\d)em">.*</span></span> (.*)</div>', bundle_of(outer.last_run)["text/html"])
    assert rows == [("1", "Outer 3/3 param sets"), ("2", "Inner 6/6 param sets"), ("3", "Ask 12/12 items")]


def test_without_a_total_there_is_no_bar():
    """Of a generator it is known how many items were done, and no bar is drawn until it has ended."""

    class Ask(Calls):
        def prep(self, shared):
            return iter(shared["items"])

    with Held(Ask(), items=[1, 2]) as submitted:
        assert "Ask running | Ask 2 items, 1 running" in line(submitted.run)
        assert "llmflow-nb-bar" not in str(html(submitted.run).elements)
    assert "Ask 3/3 items" in line(submitted.run)
    assert "llmflow-nb-bar" in str(html(submitted.run).elements)


def test_a_wait_for_the_limiter_is_said():
    """While calls wait for their limiter the line says so, and no more when they do not."""
    limiter = Limiter(max_concurrency=1)
    go_on = threading.Event()

    class Told:
        """Reads how far the run is while the second item waits, and lets the first one end then."""

        lines = ()

        def handle(self, event):
            if event.kind == "call_started" and event.position == 2:
                self.lines = [line(node.last_run)]
                go_on.set()

    told = Told()
    node = Calls(max_concurrency=3, limiter=limiter)
    node.run({"items": [waiting(go_on), 2, 3]}, subscribers=[told])
    assert "waiting for the limiter: " in told.lines[0]
    assert "limiter" not in line(node.last_run)


def test_when_the_limiter_lets_the_next_call_is_said():
    """Where so many calls a minute are used up, the rate of those before tells nothing of the time that is left."""
    handle = Calls(limiter=Limiter(per_minute=2)).submit({"items": [1, 2, 3]})
    while not handle.run._recorder.limited and not handle.wait(0.01):
        pass
    told = line(handle.run)
    handle.stop()
    assert re.search(r"waiting for the limiter: \d+ ms, next call in (1 min 00 s|60.0 s|5\d\.\d s)", told)
    assert " left" not in told


def test_attempts_that_are_repeated_count_once():
    """An item that is tried again is one item, done when it came through."""
    node = Square(max_retries=2)
    node.run({"items": [-1, -2, 3]})
    assert line(node.last_run) == "Square ok | Square 3/3 items | 1 visit"


def test_many_batches_are_shown_in_part():
    """Of many batches twelve are drawn, and the others counted; a line of text has three."""
    nodes = [Calls(name=f"Ask {i:02}") for i in range(20)]
    for node, following in itertools.pairwise(nodes):
        node >> following
    flow = Flow(nodes[0])
    flow.run({"items": [1]})
    texts = html(flow.last_run).texts
    assert sum("1/1 item" in text for text in texts) == 12
    assert texts[-1] == "and 8 more"
    assert line(flow.last_run).count("1/1 item") == 3


@pytest.mark.parametrize("place", ["node name", "class name", "flow name"])
def test_a_hostile_name_is_text_like_any_other(place):
    """The HTML has the same elements and attributes as with a harmless name, and the name can be read."""

    def record(word):
        cls = type(word if place == "class name" else "x", (Calls,), {})
        node = cls(name=word if place == "node name" else None, on_error="keep")
        flow = BatchFlow(node, name=word if place == "flow name" else "Each")
        flow.prep = lambda shared: [{}, {}]
        flow.run({"items": [1, fails]})
        return flow.last_run

    for word, expected in HOSTILE.items():
        if place == "class name" and set(word) & {"\x00", "\ud800"}:
            continue  # Python refuses to call a class that
        page = html(record(word))
        assert page.elements == html(record("x")).elements, word[:100]
        assert any((expected or word) in text for text in page.texts), word[:100]
        assert (expected or word) in line(record(word))


def test_static_progress_has_no_times(monkeypatch):
    """What a handle shows of a run that has ended is the same each time."""
    monkeypatch.setenv("LLMFLOW_NB_DISPLAY", "static")
    shown = []
    for _ in range(2):
        submitted = Calls(name="Ask").submit({"items": [1, 2]})
        assert submitted.wait(PATIENCE)
        shown.append(submitted._repr_mimebundle_())
    assert shown[0] == shown[1]
    assert shown[0]["text/plain"] == "Ask ok | Ask 2/2 items | 1 visit"


# ---- what is left behind ---------------------------------------------------------------------------------------------

SCRIPT = """
import sys, threading
from tests.notebook.helpers import Bars, Calls

def leave():
    sys.exit(7)
"""


def process(code):
    """Run a script to its end: its exit code, and what it said."""
    code = SCRIPT + textwrap.dedent(code)
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_a_process_ends_after_an_error():
    """What follows a run does not keep a process that failed from ending."""
    code, _, err = process("Calls().run({'items': [1, lambda: 1 / 0]}, progress=True)")
    assert code == 1
    assert "ZeroDivisionError" in err


def test_a_process_ends_when_a_hook_says_so():
    """An exit in a hook is the exit of the process."""
    code, _, _ = process("Calls().run({'items': [1, leave]}, progress=Bars())")
    assert code == 7


def test_a_process_ends_while_a_run_goes_on():
    """A run in the background does not outlive the program, whatever shows its progress."""
    code, out, _ = process(
        """
        for progress in (True, Bars()):
            started = threading.Event()
            hang = lambda: (started.set(), threading.Event().wait())
            submitted = Calls().submit({'items': [1, hang]}, progress=progress)
            print(started.wait(10), submitted.done)
        """
    )
    assert (code, out) == (0, "True False\n" * 2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_is_shown_its_own_progress():
    """The thread that draws does not come along when a process forks; the child gets one of its own."""
    code, out, err = process(
        """
        import os
        from tests.notebook.helpers import waiting

        def run():
            bars, node = Bars(), Calls()
            node.run({'items': [1, waiting(bars.when(1))]}, progress=bars)
            return node.last_run.batch(node).results, sum(bars.made[0].updates)

        print(run(), flush=True)
        child = os.fork()
        if child == 0:
            print(run(), flush=True)
            os._exit(3)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """
    )
    assert (code, out) == (0, "([1, 'seen'], 2)\n" * 2 + "3\n"), err
