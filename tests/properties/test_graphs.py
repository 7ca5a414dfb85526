"""Laws of the graph: each way to write it says the same, no text in it becomes more than text, and nothing is run.

``LAWS=wide pytest tests/properties`` looks further, and ``LAWS=rough`` gives up at once, as for `test_laws`.
"""

import json
import os
import re
import shutil
import subprocess
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import combinations, cycle, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st

from llmflow_nb import BatchFlow, BatchNode, Flow, FlowError, Node
from llmflow_nb.core.text import quoted, shown
from llmflow_nb.graph.metrics import text_width
from llmflow_nb.graph.render import coordinates
from llmflow_nb.graph.slips import is_an_ending
from llmflow_nb.graph.status import RunStatus
from tests.properties.flows import ACTIONS, Boom, Step, TooLong, World, build, flows

slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("graphs", derandomize=True, deadline=None, max_examples=50, suppress_health_check=slow)
settings.register_profile("graphs wide", deadline=None, max_examples=2000, suppress_health_check=slow, print_blob=True)
settings.register_profile("graphs rough", settings.get_profile("graphs"), phases=[Phase.generate])
laws = settings(settings.get_profile(f"graphs {os.environ.get('LAWS', '')}".strip()))
laws_of_words = laws if os.environ.get("LAWS") == "wide" else settings(laws, max_examples=24)  # many in each

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not on the PATH")
BACKENDS = ["wasi", pytest.param("dot", marks=needs_dot)]
INSTALLED = ["wasi", "dot"] if shutil.which("dot") else ["wasi"]
backends = st.sampled_from(INSTALLED)  # where it hardly matters which: each draws some examples, and none draws all


def returning(*actions, which=lambda *_: 0, is_async=False):
    """A ``post`` with up to three actions in its code, to be seen there; ``which`` returns the place of one of them."""

    def post(self, shared, prep_res, exec_res):
        place = which(self, shared, prep_res, exec_res)
        if place == 0:
            return "first"
        if place == 1:
            return "second"
        return "third"

    async def post_async(self, shared, prep_res, exec_res):
        place = await which(self, shared, prep_res, exec_res)
        if place == 0:
            return "first"
        if place == 1:
            return "second"
        return "third"

    hook = post_async if is_async else post
    first, second, third = (*actions, actions[-1], actions[-1])[:3]
    constants = {"first": first, "second": second, "third": third}
    code = hook.__code__
    hook.__code__ = code.replace(co_consts=tuple(constants.get(value, value) for value in code.co_consts))
    return hook


# ---- what a model holds ----------------------------------------------------------------------------------------------


def model_ids(model):
    """The ids that the writers give to the nodes of a model."""
    return {node.id: f"n{i}" for i, node in enumerate(model.nodes)}


def model_starts(model, ids):
    """The first steps of flows. ``ids`` are those of a writer, by the paths of nodes."""
    return {ids[cluster.id]: ids[cluster.start] for cluster in model.clusters if cluster.members}


def model_edges(model, ids):
    """The edges of a model, and whether they lead back."""
    return [(ids[edge.source], ids[edge.target], edge.action, edge.is_back) for edge in model.edges]


def dot_edges(model):
    """The edges as DOT has them, by their ids."""
    ids = model_ids(model)
    return {
        f"e{i}": (ids[edge.source], ids[edge.target], edge.action, edge.is_back) for i, edge in enumerate(model.edges)
    }


def model_exits(model, ids):
    """The ways out of flows: step, flow, action, and whether that is meant."""
    return [
        (ids[exit.source], ids[cluster.id], exit.action or "default", exit.is_meant)
        for cluster in model.clusters
        for exit in cluster.exits
    ]


def ways_out(model):
    """The edges to rings by their ids: step, flow, words, and whether that is meant. Those of one step are together.

    An edge that a class lacks is at the first of its nodes only, and where a run ended for the lack of it.
    """
    ids, found, lacking = model_ids(model), {}, set()
    classes = {node.id: node.class_name for node in model.nodes}
    run = model.status or RunStatus()
    for cluster in model.clusters:
        actions = {}
        for exit in cluster.exits:
            lacks = (classes[exit.source], exit.action)
            is_known = lacks in lacking
            lacking |= set() if exit.is_meant else {lacks}
            if is_known and not exit.is_meant and (exit.source, cluster.id, exit.action) not in run.edges:
                continue
            actions.setdefault((exit.source, exit.is_meant), []).append(exit.action)
        for i, ((source, is_meant), said) in enumerate(actions.items()):
            words = [shown(action) for action in said if action is not None and (action, is_meant) != ("default", True)]
            found[f"z{ids[cluster.id]}e{i}"] = (ids[source], ids[cluster.id], ", ".join(words), is_meant)
    return found


def model_groups(model):
    """All ids in a drawing: of the whole, nodes, dots, rings, and edges between any of these."""
    ids = model_ids(model)
    found = {"all", *ids.values(), *ways_out(model), *(f"e{i}" for i in range(len(model.edges)))}
    for cluster in model.clusters:
        id = ids[cluster.id]
        found |= {f"s{id}", f"e{id}"} if cluster.members else set()
        exits = [is_meant for _, flow, _, is_meant in ways_out(model).values() if flow == id]
        few = len(exits) <= 3 and len(cluster.members) <= 14
        found |= {f"z{id}" if is_meant and few else f"z{id}r{i}" for i, is_meant in enumerate(exits)}
    root = model.nodes[0]
    is_bare = root.name == "Flow" and not root.notes and any(node.parent == root.id for node in model.nodes)
    return found - ({"n0"} if is_bare else set())


def dot_groups(model):
    """All ids in the DOT text, which has second frames and more rings, and the frame of a flow without a name."""
    ids = model_ids(model)
    frames = {node.id for node in model.nodes if node.kind == "batch_flow"} & {node.parent for node in model.nodes}
    rings = {f"z{ids[id]}" for id in with_ring(model)}
    found = {id for id in model_groups(model) if not re.fullmatch(r"zn\d+r\d+", id)}
    return found | rings | {"n0", *(f"{ids[id]}i" for id in frames)}


def with_ring(model):
    """The flows that have a ring: they end, or something leads on from them."""
    ids = {id: path for path, id in model_ids(model).items()}
    found = {edge.source for edge in model.edges}
    found |= {ids[end] for step, flow, *_ in ways_out(model).values() for end in (step, flow)}
    return found & {cluster.id for cluster in model.clusters if cluster.members}


def unused(model):
    """The ids of the edges that are never taken."""
    problems = {(problem.path, problem.action) for problem in model.problems if problem.kind == "unused_edge"}
    return {f"e{i}" for i, edge in enumerate(model.edges) if (edge.source, edge.action) in problems}


def taken(model):
    """The ids of the lines that a run came along: edges, starts, ways out. One out that names no action was by any."""
    ids, status = model_ids(model), model.status or RunStatus()
    lines = {f"e{i}": (edge.source, edge.target, {edge.action}) for i, edge in enumerate(model.edges)}
    lines |= {f"e{ids[cluster.id]}": (cluster.id, cluster.start, {""}) for cluster in model.clusters}
    for cluster in model.clusters:
        for id, (source, flow, _, is_meant) in ways_out(model).items():
            exits = [exit for exit in cluster.exits if (ids[exit.source], exit.is_meant) == (source, is_meant)]
            if flow == ids[cluster.id]:
                lines[id] = (exits[0].source, cluster.id, {exit.action for exit in exits})
    return {
        id
        for id, (source, target, actions) in lines.items()
        for way in status.edges
        if way[:2] == (source, target) and not actions.isdisjoint((way[2], None))
    }


# ---- reading what was written ----------------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"
BLANK = "\u00a0"
WRONG = "#c2362e"
SIGNS = {"ok": "\u2713", "partly": "!", "failed": "\u2717", "cancelled": "\u2013", "running": "\u25b6"}
REMARKS = {"unreachable": "never reached", "endless": "no way out"}
KINDS = {
    *("no_edge", "unused_edge", "unreachable", "overwritten"),
    *("no_start", "endless", "contains_itself", "two_places"),
}
HARMLESS_TAGS = {"svg", "g", "title", "text", "path", "polygon", "rect", "ellipse", "style"}
PREFIX = re.compile("^g[0-9a-f]{10}-")


@dataclass
class Read:
    """A graph as a reader of the text finds it.

    Attributes:
        nodes: The ids; texts: the lines of text at each id.
        starts: The first step of each flow; rings: the flows with an end.
        edges: Source, target, action, and whether it is told to lead back, by the id of the edge where it has one.
        exits: Step, flow, words, and whether it is drawn as meant, likewise.
        times: How often an edge was taken, likewise, where that is said.
    """

    nodes: set = field(default_factory=set)
    texts: dict = field(default_factory=dict)
    starts: dict = field(default_factory=dict)
    rings: set = field(default_factory=set)
    edges: dict = field(default_factory=dict)
    exits: dict = field(default_factory=dict)
    times: dict = field(default_factory=dict)


def dot_json(dot):
    """What Graphviz understands a DOT text to be."""
    done = subprocess.run(["dot", "-Tjson"], input=dot.encode(), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return json.loads(done.stdout)


def read_dot(dot):
    """Read a DOT text by way of Graphviz: the texts are those that it would draw."""
    graph = dot_json(dot)
    names = {thing["_gvid"]: thing["name"] for thing in graph["objects"]}
    edges = [edge for edge in graph.get("edges", []) if edge.get("style") != "invis"]
    things = [graph, *graph["objects"], *edges]
    texts = {thing["id"]: [op["text"] for op in thing.get("_ldraw_", ()) if op["op"] == "T"] for thing in things}
    found = Read({id for id in texts if re.fullmatch(r"n\d+", id)}, texts)
    found.rings = {id[1:] for id in texts if re.fullmatch(r"zn\d+", id)}

    def end(edge, side, sign):
        """A node: itself, or the flow whose dot or ring it is, or that at whose frame the edge is cut off."""
        name, cut, is_back = names[edge[side]], edge.get(f"l{side}"), edge.get("dir") == "back"
        id = re.fullmatch(f"{sign}(n[0-9]+)", name)[1]
        frame = id if cut is None else cut.removeprefix("cluster_")
        assert (cut is None) == (is_back or name == frame)
        assert frame == id
        return frame

    for edge in edges:
        id, words = edge["id"], "".join(texts[edge["id"]]).strip(BLANK)
        if re.fullmatch(r"en\d+", id):
            found.starts[names[edge["tail"]].removeprefix("s")] = end(edge, "head", "s?")
        elif re.fullmatch(r"e\d+", id):
            is_back = edge.get("dir") == "back"  # written the other way round
            source, target = ("head", "tail") if is_back else ("tail", "head")
            source, target = end(edge, source, "z?"), end(edge, target, "s?")
            found.edges[id] = (source, target, words or "default", is_back or source == target)
        else:
            assert re.fullmatch(r"zn\d+e\d+", id)
            is_dashed = edge.get("style") == "dashed"
            assert (edge["color"] == edge["fontcolor"] == WRONG) == is_dashed
            flow = re.fullmatch(r"z(n\d+)", names[edge["head"]])[1]
            found.exits[id] = (end(edge, "tail", "z?"), flow, words, not is_dashed)
    return found


def groups(svg):
    """The groups of a drawing by their ids, as the writers gave them."""
    root = ElementTree.fromstring(svg)
    return {PREFIX.sub("", group.get("id")): group for group in root.iter(f"{SVG}g")}


def lines_in(group):
    return [text.text for text in group.findall(f"{SVG}text")]


def all_lines(found):
    return {id: lines_in(group) for id, group in found.items()}


def stroke(group, what="stroke"):
    """How the line of an edge is drawn."""
    return group.find(f"{SVG}path").get(what)


def read_mermaid(text):
    """Read the text of a flowchart as far as we write them."""
    lines = text.splitlines()
    assert lines.pop(0) == "flowchart TB"
    read, around = Read(), []
    for line in lines:
        label = re.search('"([^"]*)"', line)
        words = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label[1]) if label else None
        line = re.sub('"[^"]*"', "%", line)
        assert line.count('"') == 0
        if found := re.fullmatch(r" +(?:subgraph (n\d+) \[%\]|(n\d+)(?:\(%\)|\[%\]|\[\[%\]\]))", line):
            id = found[1] or found[2]
            assert id not in read.nodes
            read.nodes.add(id)
            read.texts[id] = [words]
            around += [found[1]] if found[1] else []
        elif found := re.fullmatch(r"  (n\d+) (-->|-\.->)(\|%\|)? (n\d+)", line):
            read.edges[f"e{len(read.edges)}"] = (found[1], found[4], words or "default", found[2] == "-.->")
        elif found := re.fullmatch(r"  (n\d+) (-->|-\.-x)(\|%\|)? z(n\d+)", line):
            read.exits[len(read.exits)] = (found[1], found[4], words or "default", found[2] == "-->")
        elif found := re.fullmatch(r" +s(n\d+)\(\( \)\) --> (n\d+)", line):
            assert found[1] == around[-1]
            read.starts[found[1]] = found[2]
        elif found := re.fullmatch(r" +z(n\d+)\(\(\( \)\)\)", line):
            assert found[1] == around[-1]
            read.rings.add(found[1])
        else:
            assert line.strip() == "end", line
            around.pop()
    assert not around
    return read


def read_outline(text):
    """Read an outline in which all names differ and are words: the ids are paths, as in the model."""
    read, names, path = Read(), {}, []
    for line in text.splitlines():
        depth, words = (len(line) - len(line.lstrip())) // 2, line.strip()
        if line.startswith("! "):
            read.texts.setdefault("problems", []).append(line)
            continue
        assert not read.texts
        way = r"(?:then|on '(\w+)')"
        times = r"(?: \((?:once|(\d+) times)\))?"
        if found := re.fullmatch(rf"{way}(, with no edge for it,)? the end(?: of (\w+))?", words):
            flow = found[3] or path[0]
            read.exits[len(read.exits)] = ("/".join(path[:depth]), flow, found[1] or "default", not found[2])
        elif found := re.fullmatch(rf"{way}( to| again| back to)? (\w+){times}", words):
            is_back = found[2] in (" again", " back to")
            if words.endswith(")"):
                read.times[len(read.edges)] = int(found[4] or 1)
            read.edges[len(read.edges)] = ("/".join(path[:depth]), found[3], found[1] or "default", is_back)
        else:
            found = re.match(r"(?:flow |batch flow )?(\w+)(?:[^:]*, starts at (\w+)(?:$|:))?", words)
            path = [*path[:depth], found[1]]
            names[found[1]] = "/".join(path)
            read.nodes.add(names[found[1]])
            read.starts |= {names[found[1]]: found[2]} if found[2] else {}
    read.starts = {flow: names[start] for flow, start in read.starts.items()}
    for ways in (read.edges, read.exits):
        ways.update({i: (source, names[to], *rest) for i, (source, to, *rest) in ways.items()})
    return read


def assert_holds(model, read, ids):
    """What was read are the nodes, starts, edges and ways out of the model, each once."""
    assert read.nodes == set(ids.values())
    assert read.starts == model_starts(model, ids)
    assert Counter(read.edges.values()) == Counter(model_edges(model, ids))
    assert Counter(read.exits.values()) == Counter(model_exits(model, ids))


# ---- texts that try to be more ---------------------------------------------------------------------------------------

# fmt: off
FRAGMENTS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</text><script>alert(1)</script>", "]]>", "<b>x</b>",
    '"><a href="javascript:alert(1)">x', "<", ">", "<<TABLE HREF=", "<lambda>", "</title>", "<!--", "-->", "<![CDATA[",
    'a"];evil[URL="javascript:alert(1)"];"', "end\\", "end", '"', "'", "\\", "\\N \\G \\L", "\\n", "\\l", '\\"',
    "\\\\", "{rec|<p>port}", "a:b", "a/b", "#2", "#35;", "![x](https://evil.example/?q=1)", "`", "**", "%%", "|",
    "=1+1", "@SUM(1)", "&", "&amp;", "&amp", "&lt;b&gt;", "&#60;", "&#x3c;", "&#0;", "&nbsp;", "&quot", "A" * 400,
    "\x00", "\x0b", "\x1b[31m", "\n", "\r\n", "\t", "\x1c", "\x85", "\u2028", "\u202e", "\u2066", "\u200b", "\u00a0",
    "\ufeff", "\ufffe", "\uffff", "\ud800", "\udfff", "\ud83d\ude00", "\U0001f642", "\U0001fffe", "\U0010ffff",
    "\u0301", "模型", " ", "then ", "//", "graph", "&lt;b&gt; &amp;amp; &#60; AT&T",
]
# fmt: on
odd = st.characters(categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp", "Mn", "Po", "Sm"])
parts = st.one_of(st.text(max_size=6), st.text(odd, max_size=4), st.sampled_from(FRAGMENTS), st.sampled_from(FRAGMENTS))
texts = st.lists(parts, min_size=1, max_size=3).map("".join).filter(bool)  # no name and no action is ""
STEPS, STRAYS = 15, 3
SIZE = 1 + STEPS + STRAYS + 2 * STEPS // 5


def class_named(text):
    """Python refuses to call a class some of these."""
    return re.sub("[\0\ud800-\udfff]", "", text)


@dataclass
class Words:
    """What is written at one place; None where nothing is.

    Attributes:
        action: That of the edge to the next step.
        other: An action for which there is no edge.
    """

    name: str | None
    class_name: str | None
    doc: str | None
    action: str | None
    other: str | None


def kind_at(i):
    """Which class stands at the i-th node of the model: the outer flow, its steps, strays, the steps of inner flows."""
    return (Node, BatchNode, Node, Flow, BatchFlow)[(i - 1) % 5] if 0 < i <= STEPS else Flow if i == 0 else Node


@st.composite
def all_words(draw):
    """Texts for all places, no two the same. Every other node has no name, so that the class's is shown."""
    found = iter(draw(st.lists(texts, min_size=5 * SIZE, max_size=5 * SIZE, unique=True)))
    words = []
    for i in range(SIZE):
        is_plain, is_named = kind_at(i) is Flow, i % 2 == 1
        words.append(
            Words(
                name=next(found) if is_plain or is_named else None,
                class_name=None if is_plain else class_named(next(found)),
                doc=None if is_plain else next(found),
                action=next(found) if i else None,
                other=next(found) if i else None,
            )
        )
    return words


def chain(words):
    """A ring of steps, some of them flows with one step; ``words`` are in the order of the nodes of its model.

    Flows end in each of the ways in which they can, the last one never; it has edges that are never taken, to strays.
    """

    def made(i, *args, actions=()):
        old, base = words[i], kind_at(i)
        if base is Flow:
            return Flow(*args, name=old.name)
        cls = type(old.class_name, (base,), {"post": returning(*actions)} if actions else {})
        cls.__doc__ = old.doc
        return cls(*args, name=old.name)

    def inner_of(i):
        """The one step of the flow in this place: it ends it by two actions, or after a loop, or never."""
        at = next(inner)
        action, other = words[at].action, words[at].other
        if i not in (9, 14, STEPS):
            return made(at, actions=(words[i].action, words[i].other) if kind_at(i) is Flow else (action, other))
        node = made(at, actions=(action,) if i == STEPS else (action, words[i].action, other))
        return node.next(node, action)

    inner = iter(range(1 + STEPS + STRAYS, SIZE))
    steps = []
    for i in range(1, 1 + STEPS):
        action, other = words[i].action, words[i].other
        if kind_at(i) is BatchNode or i == STEPS:
            steps.append(made(i, *([inner_of(i)] if i == STEPS else []), actions=(action,)))
        elif kind_at(i) is Node:
            steps.append(made(i, actions=(action, other) if i % 5 == 1 else (action, other, None)))
        else:
            steps.append(made(i, inner_of(i), actions=(action, other)))
    for i, step in enumerate(steps):
        _ = step - words[i + 1].action >> steps[(i + 1) % STEPS]
    for i in range(1 + STEPS, 1 + STEPS + STRAYS):
        _ = steps[-1] - words[i].action >> made(i, actions=(words[i].other,))
    return Flow(steps[0], name=words[0].name)


def is_noted(node):
    """Whether the class is named beside the name."""
    return "class" in [found.kind for found in node.notes]


def word(first, i, text):
    """A word without guile, as long as what is shown of the text, and an ending if that is one, for `check` asks."""
    plain = chr(first + i) * len(shown(text))
    if not is_an_ending(text):
        return plain
    return f"{plain[:-4]}_end" if len(plain) >= 4 else text  # such as "no"


def harmless(words, model):
    """Words as long as what is shown of the others, and all different."""
    found = []
    for i, (old, node) in enumerate(zip(words, model.nodes, strict=True)):
        name = word(0x4E00, i, node.name)
        class_name = word(0x5E00, i, node.class_name) if is_noted(node) else name
        actions = [text and word(first, i, text) for first, text in ((0x6E00, old.action), (0x7E00, old.other))]
        found.append(Words(name, class_name, "doc" if node.doc else "", *actions))
    return found


def assert_has_words(model, words):
    """The model holds the words that were given: a name met again gets a number."""
    for old, node in zip(words, model.nodes, strict=True):
        assert node.name.startswith(old.name or old.class_name)
        if old.class_name is not None:
            assert node.class_name == old.class_name
            lines = [line.strip() for line in old.doc.strip().splitlines()]
            assert node.doc == (lines[0] if lines else "")
    ways = [*range(1, 1 + STEPS + STRAYS), 21, 23, 24]
    assert [edge.action for edge in model.edges] == [words[i].action for i in ways]
    of_steps, within = [words[i].other for i in (1, 3, 4, 5, 6, 8, 10, 11, 13)], [words[i].other for i in (21, 23)]
    lost = Counter([*of_steps, *within, *within, *["default"] * 3])  # what is lost within a flow is so around it
    meant = Counter(words[i].other for i in (4, 16, 17, 18, 20, 22)) + Counter(
        words[i].action for i in (4, 9, 14, 20, 22)
    )
    for expected, is_meant in ((lost, False), (meant, True)):
        exits = [exit for cluster in model.clusters for exit in cluster.exits if exit.is_meant == is_meant]
        assert Counter(exit.action for exit in exits) == expected


def assert_readable(model, lines_at):
    """Each node says its name, its class where that is another, and what is wrong; each edge and way out its action."""
    status = model.status or RunStatus()
    for node, id in zip(model.nodes, model_ids(model).values(), strict=True):
        lines = lines_at[f"{id}i" if f"{id}i" in lines_at else id]
        sign = f"{SIGNS[status.nodes[node.id].state]} " if node.id in status.nodes else ""
        assert lines[0] == sign + shown(node.name)
        if is_noted(node):
            assert lines[1].startswith(shown(node.class_name))
        for kind, remark in REMARKS.items():
            is_told = (kind, node.id) in [(problem.kind, problem.path) for problem in model.problems]
            assert (remark in "\n".join(lines[1:])) == is_told
    for i, edge in enumerate(model.edges):
        times = status.edges.get((edge.source, edge.target, edge.action), 0)
        words = [] if edge.action == "default" else [shown(edge.action)]
        words += [f"{times} times"] if times > 1 else []
        assert "".join(lines_at[f"e{i}"]).strip(BLANK) == ", ".join(words)
    for id, (_, _, words, _) in ways_out(model).items():
        assert "".join(lines_at[id]).strip(BLANK) == words


def assert_drawn(model, svg):
    """The drawing has all groups and no others, says all words, and its lines show what is not meant and not taken."""
    found = groups(svg)
    assert found.keys() == model_groups(model)
    assert_readable(model, all_lines(found))
    not_meant = {id for id, (*_, is_meant) in ways_out(model).items() if not is_meant}
    dashed, thick = not_meant | unused(model), taken(model)
    for id in found:
        if re.fullmatch(r"en?\d+|zn\d+e\d+", id):
            assert (stroke(found[id]) == WRONG) == (id in not_meant)
            assert (stroke(found[id], "stroke-dasharray") is not None) == (id in dashed)
            assert (stroke(found[id], "stroke-width") == "2.5") == (id in thick)
        elif re.fullmatch(r"sn\d+|zn\d+(r\d+)?", id):
            assert len(found[id].findall(f"{SVG}ellipse")) == {"s": 1, "z": 2}[id[0]]
    return found


def skeleton(svg):
    """Elements with their attributes' names, ids and classes: all but coordinates and text."""
    return [
        (element.tag, sorted(element.attrib), PREFIX.sub("", element.get("id", "")), element.get("class"))
        for element in ElementTree.fromstring(svg).iter()
    ]


class Page(HTMLParser):
    """What an HTML page would make of a text: tags with the names of their attributes, and the text between tags."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.data = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, [name for name, _ in attrs]))

    def handle_endtag(self, tag):
        self.tags.append((f"/{tag}", []))

    def handle_data(self, data):
        self.data.append(data)

    def handle_other(self, data):
        raise AssertionError(f"a comment, declaration or instruction: {data!r}")

    handle_comment = handle_decl = handle_pi = unknown_decl = handle_other


def assert_no_more_than(svg, plain):
    """As XML and as HTML, a drawing is that of plain words, but for the words."""
    assert skeleton(svg) == skeleton(plain)
    page = Page(svg)
    assert page.tags == Page(plain).tags
    assert {tag.lstrip("/") for tag, _ in page.tags} <= HARMLESS_TAGS
    attributes = {name for _, names in page.tags for name in names}
    assert not [name for name in attributes if re.match("on|style|src|(.*:)?href", name)]
    assert "".join(page.data) == "".join(ElementTree.fromstring(svg).itertext())


def drawn_as_words(model, plain_model, backend):
    """As XML and as HTML a drawing has the elements and attributes that plain words give it, and says every name."""
    svg, plain = model.svg(backend=backend), plain_model.svg(backend=backend)
    assert_no_more_than(svg, plain)
    found = assert_drawn(model, svg)
    assert lines_in(found["all"]) == lines_in(groups(plain)["all"]) != []
    for node, id in zip(model.nodes, model_ids(model).values(), strict=True):
        title = found[id].findtext(f"{SVG}title")
        assert title == ": ".join(shown(part) for part in (node.name, node.doc) if part)


def read_as_words(model, plain_model):
    """Graphviz finds in the DOT text the nodes and edges that it finds with plain words, and draws every name."""
    found, plain = read_dot(model.dot()), read_dot(plain_model.dot())
    assert (found.nodes, found.starts, found.rings) == (plain.nodes, plain.starts, plain.rings)
    assert found.texts.keys() == plain.texts.keys()
    for ways, plain_ways in ((found.edges, plain.edges), (found.exits, plain.exits)):
        without_words = [
            {id: (source, to, is_so) for id, (source, to, _, is_so) in read.items()} for read in (ways, plain_ways)
        ]
        assert without_words[0] == without_words[1]
    assert_readable(model, found.texts)
    assert found.texts["all"] == plain.texts["all"] != []


def written_as_words(model, plain_model):
    """But for the words in quotes, the flowchart is that of plain words; the outline has its lines and indents."""
    text, plain = model.mermaid(), plain_model.mermaid()
    assert re.sub('"[^"\n]*"', '""', text).splitlines() == re.sub('"[^"\n]*"', '""', plain).splitlines()
    found = read_mermaid(text)
    for node in model.nodes:
        said = [node.name, *(noted.text for noted in node.notes)]
        assert found.texts[model_ids(model)[node.id]] == [", ".join(map(shown, said))]
    assert [words for _, _, words, _ in found.edges.values()] == [shown(edge.action) for edge in model.edges]
    assert list(found.exits.values()) == [
        (source, flow, shown(action), is_meant)
        for source, flow, action, is_meant in model_exits(model, model_ids(model))
    ]
    outline, plain = model.outline().splitlines(), plain_model.outline().splitlines()
    assert [len(line) - len(line.lstrip()) for line in outline] == [len(li) - len(li.lstrip()) for li in plain]
    assert_told(model, outline)


def test_whatever_the_names_every_writer_takes_them_as_words():
    """Whatever names and actions are, each way to write a graph differs from that of plain words in the words only.

    At least 2,000 texts are tried, counted once for each slot they are in.
    """
    tried = set()

    @laws_of_words
    @given(all_words(), backends)
    def holds(words, backend):
        for i, old in enumerate(words):
            tried.update((slot, kind_at(i), text) for slot, text in vars(old).items() if text is not None)
        model = chain(words).graph(legend=True)
        # A word that is nearly another is taken for a slip of the pen, and never an end; plain words are all far apart.
        assume(not any("did you mean" in problem.text for problem in model.problems))
        assert_has_words(model, words)
        plain_model = chain(harmless(words, model)).graph(legend=True)
        assert [problem.kind for problem in model.problems] == [problem.kind for problem in plain_model.problems]
        drawn_as_words(model, plain_model, backend)
        written_as_words(model, plain_model)
        if "dot" in INSTALLED:
            read_as_words(model, plain_model)

    holds()
    assert len(tried) >= 2000, f"only {len(tried)} texts were tried"


def assert_told(model, outline):
    """The lines of an outline are as many as there are nodes, edges, ways out and problems, and hold their words."""
    exits = model_exits(model, {node.id: node.id for node in model.nodes})
    assert len(outline) == len(model.nodes) + len(model.edges) + len(exits) + len(model.problems)
    names = {node.id: shown(node.name) for node in model.nodes}
    for node, depth, _ in model.walk():
        assert any(line.startswith("  " * depth) and names[node.id] in line for line in outline)
    lines = Counter(line.strip() for line in outline)
    for _, flow, action, is_meant in exits:
        way = "then" if action == "default" else f"on {quoted(action)}"
        of = "" if flow == model.nodes[0].id else f" of {names[flow]}"
        assert lines[f"{way}{'' if is_meant else ', with no edge for it,'} the end{of}"]
    for problem, line in zip(model.problems, outline[len(outline) - len(model.problems) :], strict=True):
        path, text = (shown(said).removesuffix("\u2026") for said in (problem.path, problem.text))
        assert line.startswith(f"! {path}")
        assert text in line


@laws
@given(st.lists(texts, min_size=12, max_size=12, unique=True))
def test_whatever_the_names_each_problem_is_a_line(words):
    """Of every kind of problem the outline has one line for each, though names and actions are in its words."""
    names, (only, never, lost, again) = words[:8], words[8:]

    def node(i, action):
        return type("Step", (Node,), {"post": returning(action)})(name=names[i])

    first, second, third, stuck = node(0, only), Node(name=names[1]), node(2, lost), node(3, again)
    inner, outer = Flow(stuck, name=names[4]), Flow(first, name=names[5])
    _ = first - only >> second
    _ = first - never >> Node(name=names[6])
    with pytest.warns(UserWarning, match="Overwriting"):
        _ = first - never >> Flow(name=names[7])
    second >> third
    _ = third - "an action that is like no other" >> Flow(stuck, name="again")
    _ = second - "in" >> inner
    _ = second - "out" >> outer
    _ = stuck - again >> stuck
    model = outer.graph()
    assert {problem.kind for problem in model.problems} == KINDS
    assert_told(model, model.outline().splitlines())


def failed(words):
    """The graph of a run in which two steps failed: each once, and by an error of its own."""
    root, each, *names = words[:4]
    classes = [type(class_named(name), (Exception,), {}) for name in words[4:6]]
    errors = [cls(said) for cls, said in zip(classes, words[6:8], strict=True)]

    def step(i):
        def exec(self, _):
            if self.params["walk"] == i:
                raise errors[i]

        return type("Step", (Node,), {"exec": exec})(name=names[i])

    class Each(BatchFlow):
        def prep(self, shared):
            return [{"walk": 0}, {"walk": 1}, {"walk": 2}]

    first = step(0)
    first >> step(1)
    flow = Flow(Each(first, name=each, on_error="keep"), name=root)
    flow.run({})
    return flow.last_run.graph()


@laws
@given(words=st.lists(texts, min_size=8, max_size=8, unique=True), backend=backends)
def test_whatever_an_error_says_the_drawing_of_its_run_is_that_of_harmless_words(words, backend):
    """The class and the text of an exception, which may be the words of a model, are words in the graph of its run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMFLOW_NB_DISPLAY", "static")  # without times
        model, plain_model = failed(words), failed(["Root", "Each", "One", "Two", "A", "B", "said", "told"])
    assert_told(model, model.outline().splitlines())
    text, plain = (re.sub('"[^"\n]*"', '""', graph.mermaid()) for graph in (model, plain_model))
    assert text.splitlines() == plain.splitlines()
    told = {model_ids(model)[node.id]: model.status.nodes[node.id].notes[-1] for node in model.nodes[2:]}
    for (id, said), class_name in zip(told.items(), words[4:6], strict=True):
        assert f"{said}: ".startswith(f"{shown(class_named(class_name))}: ")
        assert read_mermaid(model.mermaid()).texts[id][0].endswith(f", {shown(said)}")
    svg = model.svg(backend=backend)
    assert_no_more_than(svg, plain_model.svg(backend=backend))
    found = assert_drawn(model, svg)
    assert {id: lines_in(found[id])[-1] for id in told} == {id: shown(said) for id, said in told.items()}


# ---- random graphs ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A random flow, and how its graph is taken.

    Attributes:
        step: Its description.
        constant: Which steps return their actions as constants, by their number, cyclically.
        depth: How many levels are opened.
    """

    step: Step
    constant: tuple
    depth: int | None

    def build(self, world=None):
        """Make the flow. In the ``post`` of a step are either all actions to be seen, or none."""
        root = build(self.step, world or World())
        classes = {type(node).__name__: type(node) for node in within(root)}
        for step in self.seen():
            if step.name in classes:
                show_actions(classes[step.name], step)
        return root

    def seen(self):
        """The steps whose actions are seen."""
        steps = zip(self.step.walk(), cycle(self.constant), strict=False)
        return [step for step, is_constant in steps if step.has_post and is_constant]

    def graph(self):
        return self.build().graph(depth=self.depth)


@st.composite
def wirings(draw):
    """Draw a flow of which only that is random what its graph shows: all steps are reached, and no hook fails."""
    numbers = iter(range(1000))

    def step(depth, kinds):
        kind = draw(st.sampled_from(kinds))
        settings = {
            "name": f"{kind.replace('_', '')}{next(numbers)}",
            "kind": kind,
            "actions": tuple(draw(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3))),
            "size": 2,
        }
        if kind.endswith("node"):
            return Step(**settings)
        inner = ("node", "flow", "flow", "batch_flow") if depth else ("node", "batch_node")
        steps = tuple(step(depth - 1, inner) for _ in range(draw(st.integers(1, 3))))
        names, places = st.sampled_from(("default", "a", "b")), st.integers(0, len(steps) - 1)
        ways = draw(st.dictionaries(st.tuples(places, names), places, max_size=3))
        ways |= {(i, draw(names)): i + 1 for i in range(len(steps) - 1)}
        edges = tuple((i, action, j) for (i, action), j in ways.items())
        return Step(**settings, steps=steps, edges=edges, has_post=kind != "flow" or draw(st.booleans()))

    return step(2, ("flow", "flow", "flow", "batch_flow"))


cases = st.builds(
    Case,
    st.one_of(flows(), wirings(), wirings()),
    st.just((True,)) | st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.sampled_from((None, None, None, 1)),
)


def within(root):
    """A node and all that it leads to or holds."""
    found = {id(root): root}
    todo = [root]
    for node in todo:  # grows as it is read
        for other in (*node.successors.values(), getattr(node, "start_node", None)):
            if other is not None and id(other) not in found:
                found[id(other)] = other
                todo.append(other)
    return todo


def show_actions(cls, step):
    """Put the actions of a step into the code of its ``post``, which goes on doing what it did."""
    post, is_async = vars(cls)["post"], "post" in step.is_async

    def which(*args):
        return step.actions.index(post(*args))

    async def which_async(*args):
        return step.actions.index(await post(*args))

    cls.post = returning(*step.actions, which=which_async if is_async else which, is_async=is_async)


colours = st.sampled_from(("#000000", "#ff8800", "#ABCDEF"))
styles = st.dictionaries(st.sampled_from(("color", "fillcolor", "fontcolor")), colours) | st.none()


@laws
@given(cases, st.sampled_from((None, "LR", "TB")), st.booleans(), st.lists(styles, min_size=1, max_size=3), backends)
def test_every_writer_writes_the_nodes_and_edges_of_the_model(case, direction, legend, chosen, backend):
    """Each way to write a graph has its nodes, edges, ways out and words, each once, whatever the options."""
    flow, asked = case.build(), []

    def style(node):
        asked.append(node)
        return chosen[len(asked) % len(chosen)]

    model = flow.graph(depth=case.depth)
    note(model.outline())
    assert_written(model)
    styled = flow.graph(depth=case.depth, direction=direction, legend=legend, style=style)
    assert asked == list(styled.nodes)
    assert replace(styled, style=model.style) == model
    assert (lines_in(assert_drawn(model, styled.svg(backend=backend))["all"]) != []) == legend
    for write in ("dot", "mermaid", "outline", "svg"):
        said = [getattr(graph, write)() for graph in (model, flow.graph(depth=case.depth), case.graph())]
        assert len(set(said)) == 1
        assert not said[0].endswith("\n")
    placed = [coordinates([model.dot()], "wasi", seconds) for seconds in (30, 31)]  # else the cache would answer
    assert placed[0] == placed[1]


def assert_written(model):
    """What is read in DOT text, flowchart and outline is the model: also at the frames of flows, and the problems."""
    ids = model_ids(model)
    if "dot" in INSTALLED:
        found = read_dot(model.dot())
        assert found.nodes == set(ids.values())
        assert found.starts == model_starts(model, ids)
        assert found.edges == dot_edges(model)
        assert found.exits == ways_out(model)
        assert found.rings == {ids[flow] for flow in with_ring(model)}
        assert found.texts.keys() == dot_groups(model)
        assert_readable(model, found.texts)
    found = read_mermaid(model.mermaid())
    assert_holds(model, found, ids)
    assert list(found.edges.values()) == model_edges(model, ids)
    assert found.rings == {flow for _, flow, *_ in found.exits.values()}
    found = read_outline(model.outline())
    assert_holds(model, found, {node.id: node.id for node in model.nodes})
    assert found.texts.get("problems", []) == [f"! {problem}" for problem in model.problems]
    assert found.times == {}


@laws
@given(cases)
def test_looking_runs_nothing_and_every_problem_is_at_a_node(case):
    """Checking and drawing call no hook, never raise, and a problem names a node of the model."""
    world = World()
    flow = case.build(world)
    problems, model = flow.check(), flow.graph(legend=True)
    note("\n".join(map(str, problems)))
    _ = model.dot(), model.mermaid(), model.outline(), model.svg(backend="wasi")
    assert world.trace == []
    assert tuple(problems) == model.problems
    assert {problem.path for problem in problems} <= {node.id for node in model.nodes}
    told = {kind: {(found.path, found.action) for found in problems if found.kind == kind} for kind in KINDS}
    assert told["unused_edge"] <= {(edge.source, edge.action) for edge in model.edges}
    lost = {(exit.source, exit.action) for cluster in model.clusters for exit in cluster.exits if not exit.is_meant}
    assert told["no_edge"] <= lost
    unreachable = {path for path, _ in told["unreachable"]}
    assert unreachable.isdisjoint(path for path, _ in told["no_edge"] | told["unused_edge"])


# ---- runs of random flows --------------------------------------------------------------------------------------------


def run(case, world):
    """Run the flow of a case, whatever comes of it, and return it."""
    flow = case.build(world)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            flow.run({"marker": "shared"})
        except (Boom, FlowError, TooLong) as exc:
            note(repr(exc))
    return flow


@laws
@given(cases, backends)
def test_the_graph_of_a_run_is_that_of_its_flow(case, backend):
    """A run adds what happened to the nodes and edges, and where flows ended; each visit was come to. All say so."""
    world = World(longest=150)
    flow = run(case, world)
    model, of_run = flow.graph(depth=case.depth), flow.last_run.graph(depth=case.depth)
    note(of_run.outline())
    assert replace(of_run, status=None, clusters=model.clusters) == model
    for seen, cluster in zip(model.clusters, of_run.clusters, strict=True):
        assert replace(cluster, exits=cluster.exits[: len(seen.exits)]) == seen
    assert_drawn(of_run, of_run.svg(backend=backend))
    assert_holds(of_run, read_mermaid(of_run.mermaid()), model_ids(of_run))
    status, outline = of_run.status, read_outline(of_run.outline())
    assert_holds(of_run, outline, {node.id: node.id for node in model.nodes})
    assert outline.times == {i: status.edges.get(edge[:3], 0) for i, edge in outline.edges.items()}
    ways = {(edge.source, edge.target, edge.action) for edge in model.edges}
    ways |= {(cluster.id, cluster.start, "") for cluster in model.clusters}
    assert {
        way for way in status.edges if (way[0], way[1]) not in {(node.id, node.parent) for node in model.nodes}
    } <= ways
    begun = Counter(entry[1] for entry in world.trace if entry[0] == "prep")
    for node in model.nodes:
        if node.kind.endswith("node"):
            come_to = sum(times for (_, target, _), times in status.edges.items() if target == node.id)
            assert come_to == begun[node.name]
            assert (node.id in status.nodes) == (come_to > 0)


@laws
@given(cases)
def test_a_run_goes_only_where_the_graph_leads(case):
    """What is seen of the ways on is so: no edge is taken of which it is said that it never is, and flows end at exits.

    An exit is drawn as not meant where a run that ends there says so. The graph of the run has all that were taken.
    """
    flow = run(case, World(longest=150))
    model, of_run, problems = flow.graph(), flow.last_run.graph(), flow.last_run.problems
    note(of_run.outline())
    note("\n".join(problems))
    edges = {(edge.source, edge.action) for edge in model.edges}
    with_edges = {source for source, _ in edges}
    exits, exits_of_run = (
        {(exit.source, exit.action): exit.is_meant for cluster in graph.clusters for exit in cluster.exits}
        for graph in (model, of_run)
    )
    members = {cluster.id: cluster.members for cluster in model.clusters}
    never = {(problem.path, problem.action) for problem in model.problems if problem.kind == "unused_edge"}
    unreachable = {problem.path for problem in model.problems if problem.kind == "unreachable"}
    steps = {step.name: step for step in case.step.walk()}
    seen = {step.name for step in case.seen() if 3 not in step.actions}
    seen |= {step.name for step in steps.values() if step.kind == "batch_flow" and not step.has_post}

    def is_told(path, name, action):
        """Whether the run had a word on the action of this step, or of one within that it handed on."""
        inner = members[path] if steps[name].kind == "flow" and not steps[name].has_post else ()
        here = any(text.startswith(f"{path}: {action!r} not found in ") for text in problems)
        return here or any(is_told(step, step.rpartition("/")[2], action) for step in inner)

    for visit in flow.last_run.visits:
        way = visit.path, visit.action or "default"
        assert visit.path not in unreachable
        if visit.status not in ("ok", "fallback") or visit.path == model.nodes[0].id:
            continue
        assert way not in never
        if way in edges:
            continue
        assert {way, (visit.path, None)} & exits_of_run.keys()
        if visit.path not in with_edges:
            assert exits.get(way, True)
            assert visit.path in {source for source, _ in exits}
        elif visit.node in seen or way in exits:
            assert exits[way] == (not is_told(visit.path, visit.node, visit.action))


# ---- where things are ------------------------------------------------------------------------------------------------

NEAR = 4.5
"""How far from the border of a box an edge may end: some boxes have two outlines, and dots and rings are round."""
names = st.text(st.characters(codec="utf-8", categories=("L", "N", "Zs")), min_size=1, max_size=40) | st.sampled_from(
    (
        "Ask",
        "a name that is as long as a sentence and goes on",
        "\u8aad\u307f\u8fbc\u307f\u3068\u524d\u51e6\u7406",
        "W" * 30,
    )
)


@dataclass
class Area:
    """A rectangle in a drawing."""

    left: float
    top: float
    right: float
    bottom: float

    def holds(self, other, room=0.2):
        """Whether another area lies in it."""
        is_across = self.left - room <= other.left and other.right <= self.right + room
        return is_across and self.top - room <= other.top and other.bottom <= self.bottom + room

    def overlaps(self, other):
        """Whether another area lies partly in it."""
        is_across = self.left < other.right - 0.2 and other.left < self.right - 0.2
        return is_across and self.top < other.bottom - 0.2 and other.top < self.bottom - 0.2

    def distance_to_border(self, x, y):
        """How far a point is from the nearest side."""
        outside = max(self.left - x, x - self.right, self.top - y, y - self.bottom)
        return abs(outside)


def area_of(group):
    """The area of a box, a frame, a dot or a ring."""
    *_, shape = (found for found in group if found.tag in (f"{SVG}rect", f"{SVG}ellipse"))
    at = {name: float(shape.get(name, 0)) for name in ("x", "y", "width", "height", "cx", "cy", "rx", "ry")}
    if shape.tag == f"{SVG}ellipse":
        return Area(at["cx"] - at["rx"], at["cy"] - at["ry"], at["cx"] + at["rx"], at["cy"] + at["ry"])
    return Area(at["x"], at["y"], at["x"] + at["width"], at["y"] + at["height"])


def text_area(text):
    """The area of a line of text, as estimated."""
    x, y, size = (float(text.get(name)) for name in ("x", "y", "font-size"))
    width = text_width(text.text or "", size)
    left = x - width / 2 if text.get("text-anchor") == "middle" else x
    return Area(left, y - 0.8 * size, left + width, y + 0.3 * size)


def line_ends(group):
    """The points where an edge starts and where its arrow ends."""
    x, y = re.match(r"M(-?[\d.]+),(-?[\d.]+)", group.find(f"{SVG}path").get("d")).groups()
    tip = group.find(f"{SVG}polygon").get("points").split()[0].split(",")
    return (float(x), float(y)), tuple(map(float, tip))


def assert_placed(model, svg):
    """Boxes lie in their frames and apart from each other, texts lie in their boxes, edges end at their boxes."""
    ids, found = model_ids(model), groups(svg)
    _, _, width, height = map(float, ElementTree.fromstring(svg).get("viewBox").split())
    page = Area(0, 0, width, height)
    areas = {id: area_of(group) for id, group in found.items() if re.match("[nsz]", id) and "e" not in id}
    steps = {}
    for node in model.nodes:
        id, frame = ids[node.id], ids.get(node.parent)
        if id in areas:
            assert areas.get(frame, page).holds(areas[id])
            assert all(areas[id].holds(text_area(text)) for text in found[id].findall(f"{SVG}text"))
            steps.setdefault(frame, []).append(areas[id])
    for id, area in areas.items():
        if id[0] in "sz":
            frame = re.match(r"[sz](n\d+)", id)[1]
            assert areas.get(frame, page).holds(area)
            steps.setdefault(frame, []).append(area)
    for apart in steps.values():
        assert not any(a.overlaps(b) for a, b in combinations(apart, 2))
    ends = {f"e{i}": (ids[edge.source], ids[edge.target]) for i, edge in enumerate(model.edges)}
    ends |= {f"e{flow}": (f"s{flow}", start) for flow, start in model_starts(model, ids).items()}
    for id, (step, flow, *_) in ways_out(model).items():
        ring = f"z{flow}r{id.rpartition('e')[2]}"
        ends[id] = step, ring if ring in areas else f"z{flow}"
    for id, both in ends.items():
        for box, point in zip(both, line_ends(found[id]), strict=True):
            assert areas[box].distance_to_border(*point) < NEAR


@laws
@given(cases, st.sampled_from((None, None, "LR", "TB")), st.lists(names, min_size=1, max_size=9))
def test_nothing_in_a_drawing_is_misplaced(case, direction, texts):
    """Whatever is nested, looped and long, see `assert_placed`."""
    flow = case.build()
    for node, text in zip(within(flow), cycle(texts), strict=False):
        node.name = text
    model = flow.graph(direction=direction)
    for backend in INSTALLED:
        assert_placed(model, model.svg(backend=backend))


@laws
@given(st.integers(1, 60), st.lists(st.tuples(st.integers(0, 59), st.integers(0, 5)), max_size=4), names)
def test_a_long_chain_can_be_read(count, loops, text):
    """No text of a chain with a few loops is smaller than 9 pixels in a cell, and nothing in it is misplaced."""
    steps = [Node(name=f"{text[:12]} {i}") for i in range(count)]
    for step, after in pairwise(steps):
        step >> after
    for i, back in loops:
        if i < count:
            steps[i] - f"again {i}" >> steps[max(0, i - back)]
    model = Flow(steps[0], name="Chain").graph()
    svg = model.svg()
    assert_placed(model, svg)
    page = ElementTree.fromstring(svg)
    scale = min(900, float(page.get("width"))) / float(page.get("viewBox").split()[2])
    assert scale * min(float(text.get("font-size")) for text in page.iter(f"{SVG}text")) >= 9


# ---- graphs of another kind ------------------------------------------------------------------------------------------


def contains_itself():
    flow = Flow(name="F")
    flow.start(Node(name="a")) >> flow
    return flow


def contains_itself_at_a_distance():
    outer, inner = Flow(name="outer"), Flow(name="inner")
    outer.start(Node(name="a")) >> inner
    inner.start(outer) >> Node(name="b")
    return outer


def loops_on_itself():
    node, inner = Node(name="a"), Flow(Node(name="b"), name="inner")
    _ = node - "again" >> node
    _ = inner - "more" >> inner
    node >> inner
    return Flow(node, name="F")


def two_of_one_name():
    one, other = Flow(Node(name="a"), name="same"), Flow(Node(name="a"), name="same")
    one >> other
    return Flow(one, name="same")


def one_in_two_places():
    inner = Flow(Node(name="a"), name="inner")
    one, other = Flow(inner, name="one"), Flow(inner, name="other")
    one >> other
    return Flow(one, name="F")


def slashes_and_numbers():
    """Names of which the paths would be the same."""
    inner, other = Flow(Node(name="b/c"), name="a"), Flow(Node(name="c"), name="a/b")
    (
        inner
        >> other
        >> Node(name="a/b/c")
        >> Node(name="a/b/c#2")
        >> Node(name="a/b/c")
        >> Node(name="/")
        >> Node(name="//")
    )
    return Flow(inner, name="F/")


def never_ends():
    """Edges on and back from flows without an end, one of them the last step of another."""
    stuck = type("Stuck", (Node,), {"post": returning("again")})(name="stuck")
    _ = stuck - "again" >> stuck
    inner = Flow(stuck, name="inner")
    outer, after = BatchFlow(inner, name="outer"), Node(name="after")
    _ = inner - "more" >> inner
    outer >> after >> outer
    _ = outer - "more" >> outer
    return Flow(outer, name="F")


def leads_on():
    """A flow with edges of its own, which what is drawn of it does not show: its steps end it by these."""
    step = type("Step", (Node,), {"post": returning("on", "again", "lost")})(name="step")
    _ = step - "again" >> step
    flow = Flow(step, name="F")
    _ = flow - "on" >> Node(name="other")
    return flow


SPECIAL = {
    "itself": (contains_itself, {"F", "F/a", "F/F"}),
    "itself at a distance": (contains_itself_at_a_distance, {"outer", "outer/a", "outer/inner", "outer/inner/outer"}),
    "no start": (lambda: Flow(name="F"), {"F"}),
    "no start within": (lambda: Flow(BatchFlow(name="E"), name="F"), {"F", "F/E"}),
    "one node": (lambda: Node(name="a"), {"a"}),
    "loops": (loops_on_itself, {"F", "F/a", "F/inner", "F/inner/b"}),
    "one name": (two_of_one_name, {"same", "same/same", "same/same#2", "same/same/a", "same/same#2/a"}),
    "two places": (one_in_two_places, {"F", "F/one", "F/other", "F/one/inner", "F/other/inner", "F/one/inner/a"}),
    "unnamed": (lambda: Flow(Flow(Node(name="a"))), {"Flow", "Flow/Flow", "Flow/Flow/a"}),
    "never ends": (never_ends, {"F", "F/outer", "F/after", "F/outer/inner", "F/outer/inner/stuck"}),
    "leads on": (leads_on, {"F", "F/step"}),
    "slashes": (slashes_and_numbers, {"F:", "F:/a", "F:/a:b", "F:/a:b:c", "F:/a:b:c#2", "F:/:", "F:/::"}),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("make", "ids"), SPECIAL.values(), ids=SPECIAL)
def test_odd_graphs_are_written_by_all(make, ids, backend):
    """Every writer knows each node, edge and way out of a graph that cannot run, or whose names are alike."""
    flow = make()
    model = flow.graph()
    assert len({node.id for node in model.nodes}) == len(model.nodes)
    assert {node.id.replace("\N{DIVISION SLASH}", ":") for node in model.nodes} >= ids
    assert tuple(flow.check()) == model.problems
    for legend in (False, True):
        found = groups(flow.graph(legend=legend).svg(backend=backend))
        assert found.keys() == model_groups(model)
        assert (lines_in(found["all"]) != []) == legend
    mermaid = read_mermaid(model.mermaid())
    assert_holds(model, mermaid, model_ids(model))
    assert_told(model, model.outline().splitlines())
    assert Counter(re.findall(r"\bid=(\w+)[ \]]", model.dot())) == Counter(dot_groups(model))


@needs_dot
@pytest.mark.parametrize(("make", "ids"), SPECIAL.values(), ids=SPECIAL)
def test_graphviz_reads_odd_graphs(make, ids):
    """What Graphviz reads are their nodes, edges and ways out."""
    model = make().graph()
    found = read_dot(model.dot())
    assert found.nodes == set(model_ids(model).values())
    assert (found.starts, found.edges, found.exits) == (
        model_starts(model, model_ids(model)),
        dot_edges(model),
        ways_out(model),
    )


def five_hundred():
    nodes = [Node(name=f"step {i}") for i in range(499)]
    for i, node in enumerate(nodes[1:]):
        nodes[i] >> node
    for i in range(0, 490, 10):
        _ = nodes[i + 9] - "again" >> nodes[i]
        _ = nodes[i] - "skip" >> nodes[i + 5]
    return Flow(nodes[0], name="Long")


@pytest.mark.parametrize("backend", BACKENDS)
def test_five_hundred_nodes_are_drawn(backend):
    """A graph of 500 nodes is drawn, with every node and edge."""
    model = five_hundred().graph()
    found = groups(model.svg(backend=backend))
    assert len(model.nodes) == 500
    assert found.keys() == model_groups(model)
    assert lines_in(found["n499"]) == ["step 498"]
