"""Time the stepper's widget in a real JupyterLab: from a key to its painted answer. `python -m benchmarks.widget`.

The times are milliseconds of this machine, with a browser that draws without a graphics card. The bounds that they are
meant to stay under are printed beside them. Needs chromium.
"""

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.conftest import ARGUMENTS, Lab, Server, Visitor
from tests.browser.test_stepper import LONG, SUPPORT, Widget

KEYS = 'stepper({f"key {i}": "some text of " * 20 for i in range(100)})'
# Presses a key, and waits until the place has changed, the widget is idle and a frame was painted.
PRESS = """async (root, key) => {
    const place = () => root.querySelector('.llmflow-step-place').textContent;
    const before = place(), start = performance.now();
    root.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
    await new Promise(done => new MutationObserver((_, watcher) => {
        if (place() === before || root.getAttribute('aria-busy') === 'true') return;
        watcher.disconnect();
        done();
    }).observe(root, { subtree: true, childList: true, attributes: true, characterData: true }));
    await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - start;
}"""
# Presses a key 20 times a second.
HOLD = """async (root, [key, times]) => {
    for (let n = 0; n < times; n++) {
        root.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
        await new Promise(done => setTimeout(done, 50));
    }
}"""


def main() -> None:
    program = shutil.which("chromium")
    if program is None:
        sys.exit("chromium is not installed (make system-deps)")
    with sync_playwright() as playwright, Server(Path(tempfile.mkdtemp())).running() as server:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        visitor = Visitor(browser, server, Lab(browser, server))
        for name, code, key, bound in (
            ("30 nodes", SUPPORT, "ArrowRight", 100),
            ("60 nodes, 100 keys of shared", LONG.replace("stepper({})", KEYS), "ArrowDown", 150),
        ):
            notebook = visitor.open(f"{len(name)}.ipynb", code)
            notebook.run()
            widget = Widget(notebook, 0)
            times = [widget.root.evaluate(PRESS, key) for _ in range(30)]
            print(f"{name}: median {statistics.median(times):.0f} ms, at most {max(times):.0f} (bound: {bound})")
        widget.root.evaluate(HOLD, ["ArrowDown", 25])
        widget.root.locator(".llmflow-step-place", has_text="Long/Step 55").wait_for()
        print("25 keys at 20 a second: none was lost")
        visitor.close()
        browser.close()


if __name__ == "__main__":
    main()
