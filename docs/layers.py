"""The layers of the package, read off its imports: for the architecture page, and for the tests of the layers."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import llmflow_nb
from llmflow_nb.graph.drawing import GraphModel
from llmflow_nb.graph.model import GraphEdge, GraphNode

PACKAGE = Path(llmflow_nb.__file__).parent
NAME = PACKAGE.name
FILES = sorted(PACKAGE.rglob("*.py"))


class Import(NamedTuple):
    """One import of one name: where it stands, and whether it is made in a function, or for types only."""

    line: int
    dotted: str
    in_function: bool
    for_types: bool


@cache
def imports(path: Path) -> list[Import]:
    """Return every import of a file of the package."""
    package = (NAME, *path.relative_to(PACKAGE).parts[:-1])

    def walk(node: ast.AST, in_function: bool, for_types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(child.lineno, alias.name, in_function, for_types)
            elif isinstance(child, ast.ImportFrom):
                base = ".".join(package[: len(package) + 1 - child.level]) if child.level else ""
                module = ".".join(part for part in (base, child.module) if part)
                for alias in child.names:
                    yield Import(child.lineno, f"{module}.{alias.name}", in_function, for_types)
            else:
                is_types = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
                is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, in_function or is_function, for_types or is_types)

    return list(walk(ast.parse(path.read_text(encoding="utf-8")), False, False))


def layer_of(dotted: str) -> str | None:
    """Return the layer of a module of this package, "" for a file beside the layers, None for what is not ours."""
    parts = dotted.split(".")
    if parts[0] != NAME:
        return None
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


def uses() -> dict[str, Counter[str]]:
    """Return for each layer how many names it imports from which other; without what `core/api/` looks up to."""
    found: dict[str, Counter[str]] = {}
    for path in FILES:
        where = path.relative_to(PACKAGE)
        if len(where.parts) > 1:
            ours = found.setdefault(where.parts[0], Counter())
            looks_up = where.parts[:2] == ("core", "api")
            for line in imports(path):
                layer = layer_of(line.dotted)
                if layer and layer != where.parts[0] and not (looks_up and (line.in_function or line.for_types)):
                    ours[layer] += 1
    return found


@cache
def rings() -> dict[str, set[str]]:
    """Return for each layer the modules that import each other in a ring. Imports in functions and for types count."""
    modules = {".".join((NAME, *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in FILES}
    used = {name: _used_in_layer(path, modules) for name, path in modules.items()}
    found: dict[str, set[str]] = {}
    for name in used:
        reached = list(used[name])
        for other in reached:  # grows as it is read
            reached += used[other] - set(reached)
        layer = found.setdefault(layer_of(name) or "", set())
        if name in reached:
            layer.add(name.split(".", 2)[-1])
    return found


def _used_in_layer(path: Path, modules: dict[str, Path]) -> set[str]:
    """Return the modules of its own layer that a file imports; without what `core/api/` looks up to."""
    layer, *rest = path.relative_to(PACKAGE).parts
    looks_up = [layer, *rest][:2] == ["core", "api"]
    found = set()
    for line in imports(path):
        module = line.dotted if line.dotted in modules else line.dotted.rpartition(".")[0]
        if module in modules and layer_of(module) == layer and not (looks_up and (line.in_function or line.for_types)):
            found.add(module)
    return found


def picture() -> GraphModel:
    """Return the layers as a graph: an edge to each layer that is used, but for those that are below it anyway."""
    direct = uses()

    def below(layer: str) -> set[str]:
        return {deeper for used in direct[layer] for deeper in ({used} | below(used))}

    nodes = tuple(
        GraphNode(layer, layer, "Node", "node") for layer in sorted(direct, key=lambda name: -len(below(name)))
    )
    edges = tuple(
        GraphEdge(node.id, used, "default")
        for node in nodes
        for used in sorted(direct[node.id])
        if not any(used in below(other) for other in direct[node.id])
    )
    return GraphModel(nodes, edges)


def table() -> list[dict[str, object]]:
    """Return a row for each layer, the uppermost first: what it holds, how large it is, what it imports."""
    rows = []
    for node in picture().nodes:
        files = [path for path in FILES if path.relative_to(PACKAGE).parts[0] == node.id]
        doc = ast.get_docstring(ast.parse((PACKAGE / node.id / "__init__.py").read_text(encoding="utf-8"))) or ""
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
        rows.append({"layer": node.id, "what": doc, "files": len(files), "lines": lines})
    return rows
