"""Laws of the graph: each way to write it says the same, no text in it becomes more than text, and nothing is run.

``LAWS=wide pytest tests/properties`` looks further, as for `test_laws`.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from llmflow_nb import BatchFlow, BatchNode, Flow, Node
from llmflow_nb.graph.render import draw
from llmflow_nb.graph.text import shown
from tests.properties.flows import World, build, flows

slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("graphs", derandomize=True, deadline=None, max_examples=45, suppress_health_check=slow)
settings.register_profile("graphs wide", deadline=None, max_examples=2000, suppress_health_check=slow, print_blob=True)
laws = settings(settings.get_profile("graphs wide" if os.environ.get("LAWS") == "wide" else "graphs"))

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not on the PATH")
BACKENDS = ["wasi", pytest.param("dot", marks=needs_dot)]


# ---- reading what was written ----------------------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"
BLANK = "\u00a0"
HARMLESS_TAGS = {"svg", "g", "title", "text", "path", "polygon", "polyline", "ellipse"}
PREFIX = re.compile("^g[0-9a-f]{10}-")


@dataclass
class Read:
    """A graph as a reader of the text finds it.

    Attributes:
        nodes: The ids; edges: source, target and action, by the id of the edge where it has one.
        texts: The lines of text at each id.
    """

    nodes: set
    edges: dict
    texts: dict


def model_ids(model):
    """The ids that the writers give to the nodes of a model."""
    return {node.id: f"n{i}" for i, node in enumerate(model.nodes)}


def model_edges(model):
    """The edges of a model, with the ids of the writers."""
    ids = model_ids(model)
    return {f"e{i}": (ids[edge.source], ids[edge.target], edge.action) for i, edge in enumerate(model.edges)}


def dot_json(dot):
    """What Graphviz understands a DOT text to be."""
    done = subprocess.run(["dot", "-Tjson"], input=dot.encode(), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return json.loads(done.stdout)


def read_dot(dot):
    """Read a DOT text by way of Graphviz: the texts are those that it would draw."""
    graph = dot_json(dot)
    names = {thing["_gvid"]: thing["name"] for thing in graph["objects"]}
    things = [*graph["objects"], *graph["edges"]]
    texts = {thing["id"]: [op["text"] for op in thing.get("_ldraw_", ()) if op["op"] == "T"] for thing in things}

    def end(edge, side):
        """A frame at which the edge is cut off, or the point beside it of a frame that leads to itself, or a node."""
        return edge.get(f"l{side}", names[edge[side]]).removeprefix("cluster_").removeprefix("p")

    edges = {
        edge["id"]: (end(edge, "tail"), end(edge, "head"), "".join(texts[edge["id"]]).strip(BLANK) or "default")
        for edge in graph["edges"]
        if re.fullmatch(r"e\d+t?", edge["id"])
    }
    for id in [id for id in edges if id.endswith("t")]:  # the way out to the point
        assert edges.pop(id)[:2] == edges[id[:-1]][:2]
    return Read({id for id in texts if re.fullmatch(r"n\d+", id)}, edges, texts)


def groups(svg):
    """The groups of a drawing by their ids, as the writers gave them."""
    root = ElementTree.fromstring(svg)
    return {PREFIX.sub("", group.get("id")): group for group in root.iter(f"{SVG}g")}


def lines_in(group):
    return [text.text for text in group.findall(f"{SVG}text")]


def read_mermaid(text):
    """Read the text of a flowchart as far as we write them."""
    lines = text.splitlines()
    assert lines.pop(0) == "flowchart TB"
    nodes, edges, texts, around = set(), [], {}, []
    for line in lines:
        label = re.search('"([^"]*)"', line)
        words = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label[1]) if label else None
        line = re.sub('"[^"]*"', "%", line)
        assert line.count('"') == 0
        if found := re.fullmatch(r" +(?:subgraph (n\d+) \[%\]|(n\d+)(?:\(%\)|\[%\]|\[\[%\]\]))", line):
            id = found[1] or found[2]
            assert id not in nodes
            nodes.add(id)
            texts[id] = [words]
            around += [found[1]] if found[1] else []
        elif found := re.fullmatch(r"  (n\d+) (?:-->|-\.->)(\|%\|)? (n\d+)", line):
            edges.append((found[1], found[3], words or "default"))
        elif found := re.fullmatch(r" +s(n\d+)\(\( \)\) --> (n\d+)", line):
            assert found[1] == around[-1]
        else:
            assert line.strip() == "end", line
            around.pop()
    assert not around
    return Read(nodes, {f"e{i}": edge for i, edge in enumerate(edges)}, texts)


def read_outline(text):
    """Read an outline in which all names differ and are words: the ids are paths, as in the model."""
    nodes, edges, names, path = set(), set(), {}, []
    for line in text.splitlines():
        depth, words = (len(line) - len(line.lstrip())) // 2, line.strip()
        if found := re.fullmatch(r"(?:then|on '(\w+)')(?: to| again| back to)? (\w+)", words):
            edges.add(("/".join(path[:depth]), found[2], found[1] or "default"))
            continue
        name = re.match(r"(?:flow |batch flow )?(\w+)", words)[1]
        path = [*path[:depth], name]
        names[name] = "/".join(path)
        nodes.add(names[name])
    return nodes, {(source, names[target], action) for source, target, action in edges}


# ---- texts that try to be more ---------------------------------------------------------------------------------------

FRAGMENTS = [
    *(
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "</text><script>alert(1)</script>",
        "]]>",
        "<b>x</b>",
    ),
    *(
        '"><a href="javascript:alert(1)">x',
        "<",
        ">",
        "<<TABLE HREF=",
        "<lambda>",
        "</title>",
        "<!--",
        "-->",
        "<![CDATA[",
    ),
    *(
        'a"];evil[URL="javascript:alert(1)"];"',
        "end\\",
        "end",
        '"',
        "'",
        "\\",
        "\\N \\G \\L",
        "\\n",
        "\\l",
        '\\"',
        "\\\\",
    ),
    *(
        "{rec|<p>port}",
        "a:b",
        "a/b",
        "#2",
        "#35;",
        "![x](https://evil.example/?q=1)",
        "`",
        "**",
        "%%",
        "|",
        "=1+1",
        "@SUM(1)",
    ),
    *(
        "&",
        "&amp;",
        "&amp",
        "&lt;b&gt;",
        "&#60;",
        "&#x3c;",
        "&#0;",
        "&nbsp;",
        "&quot",
        "A" * 400,
        "\x00",
        "\x0b",
        "\x1b[31m",
    ),
    *(
        "\n",
        "\r\n",
        "\t",
        "\x1c",
        "\x85",
        "\u2028",
        "\u202e",
        "\u2066",
        "\u200b",
        "\u00a0",
        "\ufeff",
        "\ufffe",
        "\uffff",
    ),
    *(
        "\ud800",
        "\udfff",
        "\ud83d\ude00",
        "\U0001f642",
        "\U0001fffe",
        "\U0010ffff",
        "\u0301",
        "模型",
        " ",
        "then ",
        "//",
    ),
]
odd = st.characters(categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp", "Mn", "Po", "Sm"])
parts = st.one_of(st.text(max_size=6), st.text(odd, max_size=4), st.sampled_from(FRAGMENTS), st.sampled_from(FRAGMENTS))
texts = st.lists(parts, min_size=1, max_size=3).map("".join).filter(bool)  # no name and no action is ""
STEPS = 15


@dataclass
class Words:
    """What is written at one place: of a flow, its name; the action is that of the edge to the next step."""

    name: str | None
    class_name: str
    doc: str
    action: str


def kind_at(i):
    """Which class stands at the i-th node of the model: the outer flow, its steps, the steps of the inner flows."""
    return (Node, BatchNode, Node, Flow, BatchFlow)[(i - 1) % 5] if 0 < i <= STEPS else Flow if i == 0 else Node


@st.composite
def all_words(draw):
    """Texts for all places, no two the same. Every other node has no name, so that the class's is shown."""
    size = 1 + STEPS + 2 * STEPS // 5
    found = iter(draw(st.lists(texts, min_size=3 * size, max_size=3 * size, unique=True)))
    words = []
    for i in range(size):
        is_flow, is_named = kind_at(i) in (Flow, BatchFlow), i % 2 == 1
        words.append(
            Words(
                name=next(found) if is_flow or is_named else None,
                # Python refuses to call a class some of these.
                class_name="" if is_flow else re.sub("[\0\ud800-\udfff]", "", next(found)),
                doc="" if is_flow else next(found),
                action=next(found) if 0 < i <= STEPS else "",
            )
        )
    return words


def chain(words):
    """A ring of steps, some of them flows with one step; ``words`` are in the order of the nodes of its model."""

    def node(i):
        cls = type(words[i].class_name, (kind_at(i),), {})
        cls.__doc__ = words[i].doc
        return cls(name=words[i].name)

    inner = iter(range(1 + STEPS, len(words)))
    steps = []
    for i in range(1, 1 + STEPS):
        cls = kind_at(i)
        steps.append(cls(node(next(inner)), name=words[i].name) if cls in (Flow, BatchFlow) else node(i))
    for i, step in enumerate(steps):
        _ = step - words[i + 1].action >> steps[(i + 1) % STEPS]
    return Flow(steps[0], name=words[0].name)


def is_noted(node):
    """Whether the class is named beside the name."""
    return node.class_name in node.notes


def harmless(words, model):
    """Words without guile: as long as what is shown of the others, and all different."""

    def word(first, i, text):
        return chr(first + i) + "h" * (len(shown(text)) - 1)

    found = []
    for i, (old, node) in enumerate(zip(words, model.nodes, strict=True)):
        name = word(0x4E00, i, node.name)
        class_name = word(0x5E00, i, node.class_name) if is_noted(node) else name
        action = "default" if old.action == "default" else word(0x6E00, i, old.action)
        found.append(Words(name, class_name, "doc" if node.doc else "", action))
    return found


def assert_has_words(model, words):
    """The model holds the words that were given: a name met again gets a number."""
    for old, node in zip(words, model.nodes, strict=True):
        assert node.name.startswith(old.name or old.class_name)
        if node.kind.endswith("node"):
            assert node.class_name == old.class_name
            lines = [line.strip() for line in old.doc.strip().splitlines()]
            assert node.doc == (lines[0] if lines else "")
    assert [edge.action for edge in model.edges] == [old.action for old in words[1 : 1 + STEPS]]


def assert_readable(model, lines_at):
    """Each node says its name, and its class where that is another; each edge its action."""
    for node, id in zip(model.nodes, model_ids(model).values(), strict=True):
        lines = lines_at[f"{id}i"] if node.kind == "batch_flow" else lines_at[id]
        assert lines[0] == shown(node.name)
        if is_noted(node):
            assert lines[1].startswith(shown(node.class_name))
    for i, edge in enumerate(model.edges):
        said = [] if edge.action == "default" else [f"{BLANK}{shown(edge.action)}{BLANK}"]
        assert lines_at[f"e{i}"] == said


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


def for_many_words(test):
    """Try many words, and see that there were at least 2,000 of them, counted once for each slot they were in."""
    tried = set()

    @laws
    @given(all_words())
    def holds(words):
        for i, old in enumerate(words):
            tried.update((slot, kind_at(i), text) for slot, text in vars(old).items() if text is not None)
        model = chain(words).graph()
        assert_has_words(model, words)
        test(model, chain(harmless(words, model)).graph())

    holds()
    assert len(tried) >= 2000, f"only {len(tried)} texts were tried"


@pytest.mark.parametrize("backend", BACKENDS)
def test_whatever_the_names_the_drawing_is_that_of_harmless_ones(backend):
    """As XML and as HTML a drawing has the elements and attributes that plain words give it, and says every name."""

    def holds(model, plain_model):
        svg, plain = model.svg(backend=backend), plain_model.svg(backend=backend)
        assert skeleton(svg) == skeleton(plain)
        page = Page(svg)
        assert page.tags == Page(plain).tags
        assert {tag.lstrip("/") for tag, _ in page.tags} <= HARMLESS_TAGS
        attributes = {name for _, names in page.tags for name in names}
        assert not [name for name in attributes if re.match("on|style|src|(.*:)?href", name)]
        found = groups(svg)
        assert "".join(page.data) == "".join(ElementTree.fromstring(svg).itertext())
        assert_readable(model, {id: lines_in(group) for id, group in found.items()})
        for node, id in zip(model.nodes, model_ids(model).values(), strict=True):
            assert found[id].findtext(f"{SVG}title") == ": ".join(shown(part) for part in (node.name, node.doc) if part)

    for_many_words(holds)


@needs_dot
def test_whatever_the_names_graphviz_reads_them_as_names():
    """Graphviz finds in the DOT text the nodes and edges that it finds with plain words, and draws every name."""

    def holds(model, plain_model):
        found, plain = read_dot(model.dot()), read_dot(plain_model.dot())
        assert found.nodes == plain.nodes
        assert found.texts.keys() == plain.texts.keys()
        assert {id: edge[:2] for id, edge in found.edges.items()} == {id: edge[:2] for id, edge in plain.edges.items()}
        assert_readable(model, found.texts)

    for_many_words(holds)


def test_whatever_the_names_the_lines_of_mermaid_and_outline_stay():
    """But for the words in quotes, the flowchart is that of plain words; the outline has its lines and indents."""

    def holds(model, plain_model):
        text, plain = model.mermaid(), plain_model.mermaid()
        assert re.sub('"[^"\n]*"', '""', text).splitlines() == re.sub('"[^"\n]*"', '""', plain).splitlines()
        found = read_mermaid(text)
        for node in model.nodes:
            assert found.texts[model_ids(model)[node.id]] == [", ".join(map(shown, (node.name, *node.notes)))]
        assert [edge[2] for edge in found.edges.values()] == [shown(edge.action) for edge in model.edges]
        indents = [
            [re.match(" *(?:then |on |)", line)[0] for line in graph.outline().splitlines()]
            for graph in (model, plain_model)
        ]
        assert len(indents[0]) == len(indents[1])
        outline = model.outline().splitlines()
        for node, depth in model.walk():
            assert any(line.startswith("  " * depth) and shown(node.name) in line for line in outline)

    for_many_words(holds)


# ---- random graphs ---------------------------------------------------------------------------------------------------


def nested(step):
    """The flow of a description with the world of its hooks."""
    world = World()
    return build(step, world), world


@needs_dot
@laws
@given(flows())
def test_dot_holds_the_nodes_and_edges_of_the_model(step):
    """What Graphviz reads are the nodes and edges of the model, also at the frames of flows."""
    model = nested(step)[0].graph()
    note(model.outline())
    found = read_dot(model.dot())
    assert found.nodes == set(model_ids(model).values())
    assert found.edges == model_edges(model)


@laws
@given(flows())
def test_mermaid_holds_the_nodes_and_edges_of_the_model(step):
    """The flowchart has the nodes and edges of the model, each once."""
    model = nested(step)[0].graph()
    found = read_mermaid(model.mermaid())
    assert found.nodes == set(model_ids(model).values())
    assert found.edges == model_edges(model)


@laws
@given(flows())
def test_the_outline_holds_the_nodes_and_edges_of_the_model(step):
    """Who reads the outline knows the path of every node, and every edge."""
    model = nested(step)[0].graph()
    note(model.outline())
    nodes, edges = read_outline(model.outline())
    assert nodes == {node.id for node in model.nodes}
    assert edges == {(edge.source, edge.target, edge.action) for edge in model.edges}


@pytest.mark.parametrize("backend", BACKENDS)
@laws
@given(flows())
def test_the_drawing_holds_the_nodes_and_edges_of_the_model(backend, step):
    """A group for each node, with its name, and one for each edge, with its action."""
    model = nested(step)[0].graph()
    found = groups(model.svg(backend=backend))
    ids = {id for id in found if re.fullmatch(r"[ne]\d+", id)}
    assert ids == {*model_ids(model).values(), *model_edges(model)}
    assert_readable(model, {id: lines_in(group) for id, group in found.items()})


@needs_dot
@laws
@given(flows())
def test_both_engines_draw_the_same_groups(step):
    """The program and the WebAssembly draw groups with the same ids, for nodes, edges, frames, starts and points."""
    model = nested(step)[0].graph()
    found = [groups(model.svg(backend=backend)) for backend in ("wasi", "dot")]
    assert found[0].keys() == found[1].keys()


@laws
@given(flows())
def test_writing_again_gives_the_same_text(step):
    """Every writer gives one text for one flow, also for one that was built anew."""
    models = [(flow := nested(step)[0]).graph(), flow.graph(), nested(step)[0].graph()]
    assert models[0] == models[1]
    for write in ("dot", "mermaid", "outline", "svg"):
        said = [getattr(model, write)() for model in (models[0], *models)]
        assert len(set(said)) == 1
    drawings = [draw(models[0].dot(), "wasi", seconds) for seconds in (30, 31)]  # else it would not draw again
    assert drawings[0].svg is not None
    assert drawings[0] == drawings[1]


@laws
@given(flows())
def test_looking_runs_nothing_and_every_problem_is_at_a_node(step):
    """Checking and drawing call no hook, never raise, and a problem names a node of the model."""
    flow, world = nested(step)
    problems, model = flow.check(), flow.graph()
    note("\n".join(map(str, problems)))
    _ = model.dot(legend=True), model.mermaid(), model.outline(), model.svg(legend=True, backend="wasi")
    assert world.trace == []
    assert tuple(problems) == model.problems
    assert {problem.path for problem in problems} <= {node.id for node in model.nodes}
    for problem in problems:
        if problem.kind == "unused_edge":
            assert problem.action in {edge.action for edge in model.edges if edge.source == problem.path}


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


SPECIAL = {
    "itself": (contains_itself, {"F", "F/a", "F/F"}),
    "itself at a distance": (contains_itself_at_a_distance, {"outer", "outer/a", "outer/inner", "outer/inner/outer"}),
    "no start": (lambda: Flow(name="F"), {"F"}),
    "no start within": (lambda: Flow(BatchFlow(name="E"), name="F"), {"F", "F/E"}),
    "one node": (lambda: Node(name="a"), {"a"}),
    "loops": (loops_on_itself, {"F", "F/a", "F/inner", "F/inner/b"}),
    "one name": (two_of_one_name, {"same", "same/same", "same/same#2", "same/same/a", "same/same#2/a"}),
    "two places": (one_in_two_places, {"F", "F/one", "F/other", "F/one/inner", "F/other/inner", "F/one/inner/a"}),
    "slashes": (slashes_and_numbers, {"F/", "F//a", "F//a/b", "F//a/b/c", "F//a/b/c#2", "F///", "F////"}),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("make", "ids"), SPECIAL.values(), ids=SPECIAL)
def test_odd_graphs_are_written_by_all(make, ids, backend):
    """Every writer knows each node and edge of a graph that cannot run, or whose names are alike."""
    flow = make()
    model = flow.graph()
    assert len({node.id for node in model.nodes}) == len(model.nodes)
    assert {node.id for node in model.nodes} >= ids
    assert tuple(flow.check()) == model.problems
    expected = {*model_ids(model).values(), *model_edges(model)}
    for legend in (False, True):
        found = groups(model.svg(backend=backend, legend=legend))
        assert {id for id in found if re.fullmatch(r"[ne]\d+", id)} == expected
    mermaid = read_mermaid(model.mermaid())
    assert mermaid.nodes | mermaid.edges.keys() == expected
    assert mermaid.edges == model_edges(model)
    assert len(model.outline().splitlines()) == len(expected)
    assert len(re.findall(r"\bid=([ne]\d+)[ \]]", model.dot())) == len(expected)


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
    assert {id for id in found if re.fullmatch(r"[ne]\d+", id)} == {*model_ids(model).values(), *model_edges(model)}
    assert lines_in(found["n499"]) == ["step 498"]
