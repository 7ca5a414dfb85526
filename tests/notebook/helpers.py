"""What tests of progress run and draw with. It imports little, since the tests start processes with it."""

import threading

from tests.engine.helpers import PATIENCE, Items


class Bars:
    """A maker of bars, as tqdm's class is one, that writes down what is done with them."""

    def __init__(self):
        self.made = []
        self.seen_done = {}
        self.updated = threading.Semaphore(0)

    def __call__(self, *, total, desc):
        self.made.append(Bar(self, total, desc))
        return self.made[-1]

    def when(self, done):
        """An event that is set once a bar stands at ``done``."""
        return self.seen_done.setdefault(done, threading.Event())


class Bar:
    def __init__(self, bars, total, desc):
        self.bars, self.total, self.desc = bars, total, desc
        self.updates = []
        self.closed = 0

    def update(self, n):
        assert not self.closed
        self.updates.append(n)
        self.bars.updated.release()
        for done, event in self.bars.seen_done.items():
            if sum(self.updates) >= done:
                event.set()

    def close(self):
        self.closed += 1


class Calls(Items):
    """Calls the items that can be called, and returns the others."""

    def exec(self, item):
        return item() if callable(item) else item


def waiting(event):
    """An item that waits for an event."""

    def item():
        assert event.wait(PATIENCE), "what was waited for did not happen"
        return "seen"

    return item


# What is given, and what of it is to be read.
HOSTILE = {
    "<script>alert(1)</script>": None,
    "<img src=x onerror=alert(1)>": None,
    "</text><script>alert(1)</script>": None,
    "]]><script>alert(1)</script>": None,
    '"><a href="javascript:alert(1)">x': None,
    '<<TABLE HREF="javascript:alert(1)"><TR><TD>click</TD></TR></TABLE>>': None,
    "<lambda>": None,
    "<b>x</b>": None,
    'a"];evil[URL="javascript:alert(1)"];"': None,
    "end\\": None,
    "\\N \\G \\L \\n \\l": None,
    "{rec|<p>port}": None,
    "a:b": None,
    "![x](https://evil.example/?q=1)": None,
    "=1+1": None,
    "&lt;b&gt; &amp;amp; &#60; AT&T": None,
    "graph": None,
    "Ünïcödé 模型 🙂": None,
    "two\nlines\tand\r\nmore": "two lines and more",
    "nul\x00 vt\x0b esc\x1b[31m": "nul\\x00 vt\\x0b esc\\x1b[31m",
    "\u202egnp.exe": "\\u202egnp.exe",
    "non\ufffe lone\ud800": "non\\ufffe lone\\ud800",
    "\x00": "\\x00",
    "A" * 1_000_000: "A" * 79 + "…",
}
