import os
import shutil
import threading

import pytest

from llmflow_nb import Flow, Node
from llmflow_nb.graph.render import DrawingError, coordinates

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz's dot is not on the PATH")

HUGE = "digraph {" + "".join(f"a{i} -> a{j};" for i in range(120) for j in range(120) if i != j) + "}"


def names(dot, backend=None, **options):
    """The nodes that Graphviz has placed."""
    [found] = coordinates([dot], backend, **options)
    return [node["name"] for node in found["objects"] if node["pos"]]


def refusal(dot, backend=None, **options):
    """Why Graphviz has placed nothing."""
    with pytest.raises(DrawingError) as caught:
        coordinates([dot], backend, **options)
    return str(caught.value)


def test_webassembly_draws_without_the_dot_program(monkeypatch, tmp_path):
    """With no dot on the PATH the drawing still comes."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LLMFLOW_NB_GRAPHVIZ", raising=False)
    assert names("digraph { without -> program }") == ["without", "program"]


@pytest.mark.parametrize("backend", ["wasi", pytest.param("dot", marks=needs_dot)])
def test_several_graphs_at_once(backend):
    """The answers are in the order of the graphs."""
    found = coordinates(["digraph { a }", "digraph { b -> c }", "digraph { d }"], backend)
    assert [[node["name"] for node in each["objects"]] for each in found] == [["a"], ["b", "c"], ["d"]]


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for dot is a shell script")
def test_a_dot_program_that_fails_is_no_end(monkeypatch, tmp_path):
    """A broken installation of Graphviz gives way to WebAssembly; asked for by name, it says what is wrong."""
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\necho "Format: json0 not recognized" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert names("digraph { broken -> program }", "auto") == ["broken", "program"]
    assert refusal("digraph { broken -> program }", "dot") == "dot failed: Format: json0 not recognized"


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for dot is a shell script")
def test_a_dot_program_that_writes_something_else(monkeypatch, tmp_path):
    """An answer that cannot be read is a failure like any other."""
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal("digraph { odd -> program }", "dot") == "dot failed: it did not write JSON"


def test_a_good_graph_after_a_bad_one_is_drawn():
    """An error does not spoil the next drawing."""
    assert refusal("digraph { a -> ", "wasi") == "Graphviz as WebAssembly failed: Failed to parse DOT source"
    assert names("digraph { after -> error }", "wasi") == ["after", "error"]


def test_a_drawing_that_takes_too_long_is_given_up():
    """WebAssembly stops at its time limit, and draws the next graph."""
    assert refusal(HUGE, "wasi", seconds=0.05) == "Graphviz as WebAssembly took longer than 0.05 s"
    assert names("digraph { after -> long }", "wasi") == ["after", "long"]


@needs_dot
def test_a_dot_program_that_takes_too_long_is_stopped():
    """The same limit holds for the program."""
    assert refusal(HUGE, "dot", seconds=0.05) == "dot took longer than 0.05 s"


def test_threads_draw_one_after_the_other():
    """Drawings asked for by several threads at once all come out right."""
    drawn = {}
    start = threading.Barrier(4)

    def work(i):
        start.wait()
        drawn[i] = names(f"digraph {{ thread{i} }}", "wasi")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn == {i: [f"thread{i}"] for i in range(4)}


def test_the_environment_chooses(monkeypatch):
    """LLMFLOW_NB_GRAPHVIZ switches drawing off, and a value that means nothing is named."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "none")
    assert refusal("digraph {}") == "drawing is switched off by LLMFLOW_NB_GRAPHVIZ=none"
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "gif")
    assert refusal("digraph {}") == "LLMFLOW_NB_GRAPHVIZ is 'gif'; it may be auto, dot, wasi, none"


def test_svg_says_why_there_is_none(monkeypatch):
    """The error names the flow, the reason and the way out."""
    monkeypatch.setenv("LLMFLOW_NB_GRAPHVIZ", "none")
    with pytest.raises(
        DrawingError, match=r"Job cannot be drawn: drawing is switched off .* Use outline\(\) or dot\(\)"
    ):
        Flow(Node(), name="Job").graph().svg()


@needs_dot
def test_a_graph_that_took_too_long_is_not_tried_again(monkeypatch):
    """Neither by the other way of drawing, nor at the next display: a cell must not hang twice."""
    monkeypatch.delenv("LLMFLOW_NB_GRAPHVIZ", raising=False)
    text = HUGE.replace("digraph", "digraph again")
    reasons = [refusal(text, "auto", seconds=0.05) for _ in range(2)]
    assert reasons == ["dot took longer than 0.05 s"] * 2
    assert refusal(text.replace("again", "other"), "dot", seconds=0.05)
