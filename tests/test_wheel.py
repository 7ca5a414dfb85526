"""What is in the wheel, and what it asks for."""

import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="the build back end is a part of the extra llmflow_nb[dev]")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as file:
        yield file


def test_every_file_of_the_package_is_in_it(wheel):
    """All modules, the script and styles of the widget, and the mark that says there are types; and nothing else."""
    files = {path for path in (ROOT / "llmflow_nb").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    here = {str(path.relative_to(ROOT)) for path in files}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == here
    assert here >= {
        "llmflow_nb/py.typed",
        "llmflow_nb/notebook/static/stepper/stepper.js",
        "llmflow_nb/notebook/static/stepper/stepper.css",
    }
    assert not any(name.split("/")[0] in ("tests", "notebooks", "docs", "benchmarks") for name in wheel.namelist())


def test_it_has_the_licence_and_the_readme(wheel):
    """The licence is there as a file, the README as the description; and it says from which Python on."""
    (licence,) = [name for name in wheel.namelist() if name.endswith("licenses/LICENSE")]
    assert wheel.read(licence) == (ROOT / "LICENSE").read_bytes()
    (metadata,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    found = message_from_string(wheel.read(metadata).decode())
    assert (found["License-Expression"], found["Requires-Python"]) == ("MIT", ">=3.11")
    assert "Prototype LLM flows in Jupyter" in found.get_payload()
    extras = {"compare", "dask", "dev", "offline", "openai", "otel", "parquet", "prices"}
    assert set(found.get_all("Provides-Extra")) == extras
