"""Mermaid, files, direction, legend, depth, places in the source."""

import re
import shutil

import pytest

from llmflow_nb import BatchFlow, BatchNode, Flow, Node


class Ask(Node):
    """Ask the model."""

    def exec(self, question):
        return question


def nested():
    first = Ask()
    inner = Flow(Node(name="Deep"), name="Inner")
    first >> BatchNode(name="Map", max_concurrency=4) >> inner
    inner - "again" >> first
    return BatchFlow(first, name="Outer")


def test_mermaid():
    """Subgraphs for flows, their start, labels on edges, dotted edges back."""
    assert (
        nested().graph().mermaid()
        == """\
flowchart TB
  subgraph n0 ["Outer, for each param set"]
    sn0(( )) --> n1
    n1("Ask")
    n2[["Map, for each item, 4 at a time"]]
    subgraph n3 ["Inner"]
      sn3(( )) --> n4
      zn3((( )))
      n4("Deep")
    end
  end
  n1 --> n2
  n2 --> n3
  n3 -.->|"again"| n1
  n4 --> zn3"""
    )


@pytest.mark.parametrize(
    "text", ['"] --> evil["', "<b>x</b>", "`code`", "#35;", "**bold**", "a|b", "end", "%% x", "{{x}}"]
)
def test_mermaid_labels_are_texts(text):
    """Whatever a name holds, the lines are those of a harmless one, and the name can be read back."""
    lines = Flow(Node(name=text), name="F").graph().mermaid().splitlines()
    harmless = Flow(Node(name="harmless"), name="F").graph().mermaid().splitlines()
    label = re.fullmatch(r'    n1\("(.*)"\)', lines[4])[1]
    assert re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label) == text
    assert not set(label) & set('"<>`|*%{}')
    assert [*lines[:4], *lines[5:]] == [*harmless[:4], *harmless[5:]]


def test_direction():
    """The drawing runs the way that is asked for, else as it fits a cell."""
    flow = Flow(Node())
    assert "rankdir=LR" in flow.graph().dot()
    assert "rankdir=TB" in flow.graph(direction="TB").dot()
    with pytest.raises(ValueError, match=r"direction='up'\): it must be 'LR'"):
        flow.graph(direction="up")


def test_legend():
    """A legend names the shapes and signs that are there, and no others; without one, nothing is said of them."""
    dot = nested().graph(depth=1, legend=True).dot()
    for words in ("rounded box: node", "box with depth: batch node", "double frame: batch flow", "dashed box: flow"):
        assert words in dot
    assert "attempts" not in dot
    assert "  frame: flow" not in dot
    assert "rounded box" not in nested().graph().dot()


def test_depth():
    """Flows further in than the depth are there, and closed."""
    flow = nested()
    assert [node.id for node in flow.graph().nodes][-1] == "Outer/Inner/Deep"
    assert [node.id for node in flow.graph(depth=1).nodes][-1] == "Outer/Inner"
    assert "Inner, steps not shown" in flow.graph(depth=1).outline()
    assert [node.id for node in flow.graph(depth=0).nodes] == ["Outer"]
    with pytest.raises(ValueError, match="depth must be 0"):
        flow.graph(depth=-1)
    with pytest.raises(ValueError, match="depth must be 0"):
        flow.graph(depth="1")


def test_location():
    """A class of a module has its module and line; one of the library, or typed into a notebook, has none."""
    typed = type("Typed", (Node,), {"exec": lambda self, x: x, "__module__": "__main__"})
    first = Ask()
    first >> Node(name="plain") >> typed()
    locations = [node.location for node in Flow(first).graph().nodes]
    assert locations == ["", f"{__name__}:{Ask.exec.__code__.co_firstlineno}", "", ""]


@pytest.mark.parametrize(
    ("name", "begins"),
    [("f.svg", "<svg "), ("f.dot", "digraph {"), ("f.mmd", "flowchart "), ("F.TXT", "batch flow Outer")],
)
def test_save(tmp_path, name, begins):
    """The name of the file says in which form the graph is written."""
    path = nested().graph().save(tmp_path / name)
    assert path == tmp_path / name
    assert path.read_text(encoding="utf-8").startswith(begins)


def test_save_under_another_name(tmp_path):
    """A name that says no form, or one that is not known, is refused with those that are."""
    with pytest.raises(ValueError, match=r"must end in one of \.svg, \.dot, \.mmd, \.txt, \.png, \.pdf"):
        nested().graph().save(tmp_path / "f.jpeg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not on the PATH")
@pytest.mark.parametrize(("name", "begins"), [("f.png", b"\x89PNG"), ("f.pdf", b"%PDF")])
def test_save_what_only_dot_draws(tmp_path, name, begins):
    """PNG and PDF are drawn by the dot program."""
    assert nested().graph().save(tmp_path / name).read_bytes().startswith(begins)


def test_save_what_only_dot_draws_without_it(tmp_path, monkeypatch):
    """Without that program the error says what to do, and nothing is written."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"a \.png file needs the dot program.*save as \.svg instead"):
        nested().graph().save(tmp_path / "f.png")
    assert list(tmp_path.iterdir()) == []


def test_backend():
    """What draws can be chosen for one drawing."""
    assert nested().graph().svg(backend="wasi").startswith("<svg ")
    with pytest.raises(RuntimeError, match="switched off"):
        nested().graph().svg(backend="none")
    with pytest.raises(ValueError, match=r"svg\(backend='cairo'\): it may be auto, dot, wasi, none"):
        nested().graph().svg(backend="cairo")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("1. Load", "1#46; Load"),
        ("2)", "2#41;"),
        ("- dash", "#45; dash"),
        ("+ plus", "#43; plus"),
        ("---", "#45;--"),
        ("__init__", "#95;#95;init#95;#95;"),
        ("[x](y)", "#91;x#93;(y)"),
        ("https://a.b", "https#58;//a.b"),
        ("www.a.b", "www#46;a.b"),
        ("snake_case, v1.2 (a - b)", "snake_case, v1.2 (a - b)"),
    ],
)
def test_mermaid_labels_are_no_markdown(name, label):
    """What Markdown reads as a list, a line, an emphasis or a link is written as a code; other names stay readable."""
    first = Node(name=name)
    first - name >> Node()
    text = Flow(first, name=name).graph().mermaid()
    assert f'n0 ["{label}"]' in text
    assert f'n1("{label}")' in text
    assert f'-->|"{label}"|' in text


# ---- styles ----------------------------------------------------------------------------------------------------------


def test_style():
    """A function chooses colours and widths, node by node; what it leaves out stays. It is called once for each."""
    seen = []

    def style(node):
        seen.append(node.name)
        return {"fillcolor": "#ffd700", "penwidth": "3"} if node.kind == "batch_node" else None

    graph = nested().graph(depth=1, style=style)
    assert graph.dot() == graph.dot()
    assert graph.dot().count("#ffd700") == graph.dot().count("penwidth=3") == 1
    assert seen == ["Outer", "Ask", "Map", "Inner"]
    assert nested().graph(style=lambda node: {}).dot() == nested().graph().dot()


def test_style_of_a_frame():
    """A flow whose steps are drawn takes the colours for its frame."""
    dot = nested().graph(style=lambda node: {"fillcolor": "#ffd700"} if node.name == "Inner" else None).dot()
    [frame] = [line for line in dot.splitlines() if "#ffd700" in line]
    assert 'label="Inner' in frame
    assert 'style="rounded,filled"' in frame


@pytest.mark.parametrize(
    "looks",
    [
        {"URL": "https://evil.example"},
        {"fillcolor": "red"},
        {"color": '#000000" evil="'},
        {"penwidth": "wide"},
        {"penwidth": "99"},
        {"penwidth": "\u0663"},
        ["#000000"],
        5,
    ],
)
def test_style_is_colours_and_widths_only(looks):
    """Anything else is refused at once with what may be, since the drawing must refer to nothing."""
    with pytest.raises(ValueError, match=r"style\(.*it may return .*color, fillcolor and fontcolor .* and penwidth"):
        nested().graph(style=lambda node: looks)
