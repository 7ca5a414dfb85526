"""The pictures of the README: its own code, run in JupyterLab. `make pictures` keeps them in docs/pictures."""

import io
import os
import re
from pathlib import Path

import pytest
from PIL import Image

README = Path(__file__).parents[2] / "README.md"
LARGEST = 60_000  # bytes


@pytest.fixture
def notebook(lab):
    """The README's cells that are shown, each with its object on the last line, and the stepper some steps on."""
    cells = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.M | re.S)
    flow = next(cell for cell in cells if "\nflow  #" in cell)
    batch, comparison = (
        next(cell for cell in cells if cell.endswith(f"\n{name}\n")) for name in ("labels", "comparison")
    )
    lines = [line for cell in cells for line in cell.splitlines()]
    text, stepper = (next(line for line in lines if line.startswith(f"{name} = ")) for name in ("text", "stepper"))
    notebook = lab.open(
        flow, f"{text}\n{stepper}\nstepper.over(); stepper.into(); stepper.into()\nstepper", batch, comparison
    )
    notebook.page.set_viewport_size({"width": 1340, "height": 2200})
    notebook.run_all()
    return notebook


def picture(locator, name):
    """Take a picture of an element, in few colours, and keep it where that is asked for."""
    page = io.BytesIO(locator.screenshot())
    file = io.BytesIO()
    Image.open(page).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(file, "PNG", optimize=True)
    folder = os.environ.get("LLMFLOW_NB_README_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, f"{name}.png").write_bytes(file.getvalue())
    return file.getvalue()


def test_the_pictures_of_the_readme(notebook):
    """Graph, stepper, table and comparison of the README's code can be seen, and are small files."""
    graph, widget = notebook.output(0), notebook.output(1).locator(".llmflow-step-root")
    table, comparison = notebook.output(2).first, notebook.output(3).first
    widget.wait_for()
    shown = {"graph": graph.locator("img"), "stepper": widget, "table": table, "comparison": comparison}
    for name, locator in shown.items():
        assert 1_000 < len(picture(locator, name)) < LARGEST
    assert "called 2, replayed 0" in widget.inner_text()
    assert "some failed" in table.inner_text()
    assert "new is worse than old" in comparison.inner_text()


def test_every_picture_of_the_readme_is_there():
    """Each is one of those that are taken here."""
    names = re.findall(r"\]\(docs/pictures/(\w+)\.png\)", README.read_text(encoding="utf-8"))
    assert sorted(names) == ["comparison", "graph", "stepper", "table"]
    for name in names:
        assert 1_000 < (README.parent / f"docs/pictures/{name}.png").stat().st_size < LARGEST
