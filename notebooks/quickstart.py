"""Run quickstart.ipynb and write it as HTML, for `make quickstart`. Shows the first rows of its table.

Arguments: the folder for quickstart.html, in which the notebook writes quickstart.csv.

This is what `jupyter nbconvert --execute --to html` does, in a third of the time before the notebook starts.
"""

import csv
import sys
from importlib import import_module
from itertools import islice
from pathlib import Path
from threading import Thread

# jsonschema uses it for one format of strings, if it is installed, and importing it takes 2 seconds.
sys.modules["rfc3987_syntax"] = None

import nbformat  # noqa: E402
from nbclient import NotebookClient  # noqa: E402

ROWS, WIDTH = 10, 60  # of the table that is shown: its rows, and the characters of a cell


def main(folder: Path) -> None:
    """Run the notebook, and write what it shows."""
    notebook = nbformat.read(Path(__file__).with_suffix(".ipynb"), as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        store_widget_state=False,
        resources={"metadata": {"path": str(Path(__file__).parent)}},
    )
    client.create_kernel_manager().transport_encryption = "auto"
    Thread(target=import_module, args=["nbconvert.exporters.html"]).start()  # while the kernel starts
    client.execute()
    write_html(notebook, folder / "quickstart.html")
    print_table(folder / "quickstart.csv")


def write_html(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook as a page that asks no server for anything."""
    from nbconvert.exporters.html import HTMLExporter

    exporter = HTMLExporter(require_js_url="", mathjax_url="", jquery_url="")
    html, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": "quickstart"}})
    path.write_text(html, encoding="utf-8")


def print_table(path: Path) -> None:
    """Print the first rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [[shortened(cell) for cell in row] for row in islice(csv.reader(file), 1 + ROWS)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(" ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


def shortened(cell: str) -> str:
    """Return a cell as one line of a bounded length."""
    cell = " ".join(cell.split())
    return cell if len(cell) <= WIDTH else f"{cell[: WIDTH - 3]}..."


if __name__ == "__main__":
    main(Path(sys.argv[1]))
