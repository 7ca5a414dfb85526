"""environment.yml offers conda users what pyproject.toml offers pip users."""

import tomllib
from pathlib import Path

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
