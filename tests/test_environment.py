"""environment.yml and requirements.lock install what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())

# conda-forge calls the Python package python-graphviz; its `graphviz` is the `dot` program, which PyPI lacks.
CONDA_NAMES = {"graphviz": "python-graphviz"}
CONDA_ONLY = {"python", "pip", "graphviz"}

CONDA = [Requirement(line) for line in ENVIRONMENT["dependencies"] if isinstance(line, str)]
PINS = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
(PIP,) = [section["pip"] for section in ENVIRONMENT["dependencies"] if isinstance(section, dict)]


def test_dependencies_are_equal():
    """The two files name the same run-time packages, with the same extras and bounds."""
    expected = {}
    for requirement in map(Requirement, PROJECT["dependencies"]):
        name = canonicalize_name(requirement.name)
        expected[CONDA_NAMES.get(name, name)] = (requirement.extras, requirement.specifier)

    requirements = [requirement for requirement in CONDA if requirement.name not in CONDA_ONLY]
    requirements += [Requirement(line) for line in PIP if not line.startswith("-")]
    found = {canonicalize_name(each.name): (each.extras, each.specifier) for each in requirements}

    assert found == expected


def test_python_is_equal():
    """The two files ask for the same versions of Python."""
    (python,) = [requirement for requirement in CONDA if requirement.name == "python"]
    assert str(python.specifier) == PROJECT["requires-python"]


def test_channel():
    """Packages come from conda-forge alone, so that they fit together."""
    assert ENVIRONMENT["channels"] == ["conda-forge"]


def test_package_is_editable():
    """Pip, itself part of the environment, installs the package from the clone."""
    assert "-e ." in PIP
    assert "pip" in {requirement.name for requirement in CONDA}


def test_dot_program():
    """The `dot` program is part of the environment."""
    assert "graphviz" in {requirement.name for requirement in CONDA}


@pytest.mark.parametrize("extra", ["", *PROJECT["optional-dependencies"]])
def test_lock(extra):
    """requirements.lock pins a fitting version of every requirement, of each extra too."""
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    requirements = [each for each in map(Requirement, lines) if each.name != PROJECT["name"]]

    unfit = [str(each) for each in requirements if PINS[canonicalize_name(each.name)] not in each.specifier]

    assert not unfit


def test_lock_holds_hashes_of_uv():
    """The Makefile takes uv's pin and hashes out of the lock, so that pip can install uv before all else."""
    lock = (ROOT / "requirements.lock").read_text()
    assert re.search(r"^uv==\S+ \\\n( +--hash=sha256:\w+( \\)?\n)+", lock, re.MULTILINE)
