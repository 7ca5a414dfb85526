"""Twelve programs as PocketFlow users write them: the same under both packages; drawn, stepped to the end, tabled."""

import asyncio
import copy
import re
import shutil
import types
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parent
OURS = "llmflow_nb.pocketflow"
THEIRS = "pocketflow"


@dataclass(frozen=True)
class Expected:
    """What a program comes to.

    Attributes:
        answer: What its ``answer(shared)`` returns.
        visits: The steps that were visited, in the order in which their visits ended, without the flow around them all.
        action: What ``run`` returns.
        batches: How many rows each batch has, by status.
        lost: What it warns of: actions without an edge.
        notes: What a stepper says of it.
    """

    answer: Any
    visits: list[str]
    action: str | None = None
    batches: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


MONTH = ["ReadLevels", "MeanLevel"]
TURN = ["GetUserMessage", "Recall", "Answer"]
PROGRAMS = {
    "agent_loop": Expected(
        answer=("37 years old.", ["Lindow Bridge", "Ada Marsh"]),
        visits=[*["DecideAction", "SearchLibrary"] * 2, "DecideAction", "AnswerQuestion"],
        action="done",
    ),
    "rag": Expected(
        answer=("shelve", 'A "shelf" is a persistent, dictionary-like object.'),
        visits=["ChunkDocuments", "IndexChunks", "Flow", "EmbedQuestion", "Retrieve", "GenerateAnswer", "Flow#2"],
        batches={"ChunkDocuments": {"ok": 8}},
    ),
    "map_reduce": Expected(
        answer=["roads: 2", "lighting: 1", "for a clerk to read: 1", "waste: 1"],
        visits=["ReadLetters", "SortLetters", "CountSubjects"],
        batches={"SortLetters": {"ok": 4, "fallback": 1}},
    ),
    "chat_memory": Expected(
        answer=[
            *["I shall remember."] * 3,
            "You said: My bicycle is green.",
            "You said: My cat is called Pixel.",
            "You have not told me.",
            "Goodbye.",
        ],
        visits=[*TURN * 2, *[*TURN, "Archive"] * 4, "GetUserMessage", "SayGoodbye"],
    ),
    "majority_vote": Expected(
        answer=(8, [(8, 5), (10, 4)]),
        visits=["AskManyTimes", "CountVotes", "AskMore", "AskManyTimes", "CountVotes", "Announce"],
        batches={"AskManyTimes": {"ok": 17, "fallback": 2}},
    ),
    "nested_batch": Expected(
        answer=("The brill rose by 2.2 m.", {"april": 0.5, "may": 2.7}),
        visits=[*MONTH * 3, "EachMonth", *[*MONTH * 2, "EachMonth"] * 2, "EachRiver", "Warn"],
        batches={"EachRiver": {"ok": 3}, "EachMonth": {"ok": 7}},
    ),
    "parallel_batch": Expected(
        answer=[
            "The harbour is beautiful in the evening.",
            "Visit the library, and the old mill.",
            "No dogs are allowed on the beach; the rule is old.",
            "(this page is empty)",
            "Boats go definitely at noon.",
        ],
        visits=["ReadPages", "Proofread", "WritePages"],
        batches={"Proofread": {"ok": 4, "fallback": 1}},
        notes=["AsyncFlow/Proofread: exec changes self.asked in place, so it is called again"],
    ),
    "supervisor": Expected(
        answer=(
            "On 2 days a week.",
            ["Ferries, as we all know, love the sea.", "On 7 days a week.", "On 2 days a week."],
        ),
        visits=[
            *["Decide", "WriteDraft", "Flow", "Supervisor"] * 2,
            *["Decide", "ReadTimetable", "Decide", "WriteDraft", "Flow", "Supervisor", "Publish"],
        ],
    ),
    "structured_output": Expected(
        answer=("Harrow Lane School", 4805),
        visits=["ParseOrder", "PriceOrder"],
        action="done",
    ),
    "text_to_sql": Expected(
        answer=(
            [("Ines Vale", 2150)],
            "SELECT author, SUM(price_pence) FROM books GROUP BY author ORDER BY SUM(price_pence) DESC LIMIT 1",
        ),
        visits=["GetSchema", "GenerateSQL", *["ExecuteSQL", "DebugSQL"] * 3, "ExecuteSQL"],
        lost=["Flow ends: 'None' not found in ['debug']"],
    ),
}
PROGRAMS |= {
    "traced_review": Expected(
        answer=("The coast in forty minutes.", 12, "Rate ends: None"),
        visits=["Write", "Rate", "Review"] * 3,
        action="Approve",
        batches={"Rate": {"ok": 6}},
        lost=["Flow ends: 'Approve' not found in ['Disapprove']"],
    ),
    "throttled_batch": Expected(
        answer="Hello cutter net fish ebb tide",
        visits=["ReadLetter", "Translate"],
        action="done",
    ),
}
each_program = pytest.mark.parametrize("name", PROGRAMS)
tolerant = pytest.mark.filterwarnings(
    "ignore:Flow ends. '(None|Approve)' not found in .'(debug|Disapprove)'."
)  # as test_same_here compares


def load(name, package):
    """Import a program with the names of this package: its line ``from pocketflow import ...`` is all that changes."""
    path = HERE / f"{name}.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    changed = [line.replace(f"from {THEIRS} import", f"from {package} import") for line in lines]
    assert sum(old != new for old, new in zip(lines, changed, strict=True)) == (package != THEIRS)
    program = types.ModuleType(f"{name} on {package}")
    exec(compile("\n".join(changed), path, "exec"), vars(program))
    return program


def classes_of(program):
    """The names of the classes that a program defines; all of them are nodes and flows."""
    return [
        name
        for name, value in vars(program).items()
        if getattr(value, "__module__", "") == program.__name__ and isinstance(value, type)
    ]


def plain(value):
    """The same with lists for numpy's arrays, which do not compare as a whole."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.fixture
def fresh(tmp_path):
    """Make a program's ``shared``, each time in the same folder, where nothing is but what the program put there."""

    def make(program):
        folder = tmp_path / "work"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return program.make_shared(folder)

    return make


def plain_run(flow, shared):
    return flow.run(shared)


def async_run(flow, shared):
    return asyncio.run(flow.run_async(shared))


def run_in_cell(flow, shared):
    """Run as a cell of a notebook does, where an event loop is running already."""

    async def cell():
        return flow.run(shared)

    return asyncio.run(cell())


class Outcome(NamedTuple):
    """What came of running a program."""

    action: Any
    answer: Any
    shared: dict[str, Any]
    warned: list[str]


def outcome_of(program, shared, run):
    flow = program.make_flow()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        action = run(flow, shared)
    return Outcome(action, program.answer(shared), plain(shared), [str(warning.message) for warning in seen])


def outcome_there(name, fresh):
    """What a program comes to on PocketFlow itself."""
    program = load(name, THEIRS)
    return outcome_of(program, fresh(program), async_run if hasattr(program, "AsyncFlow") else plain_run)


def run_of(program, fresh):
    """Run a program; return the record."""
    flow = program.make_flow()
    flow.run(fresh(program))
    return flow.last_run


def visits_of(run):
    """The nodes of a record's rows, in order, without the flow around them all."""
    *visits, around = run.steps["node"]
    assert around == run.name
    return visits


def stepped_to_the_end(program, shared):
    """Step into every hook, up to the end."""
    stepper = program.make_flow().stepper(shared)
    while not stepper.place.is_end:
        stepper.into()
        assert stepper.error is None
    return stepper


# ---- the same under both packages ------------------------------------------------------------------------------------


@each_program
def test_on_pocketflow(name, fresh):
    """On PocketFlow itself a program does what is expected of it here."""
    there, expected = outcome_there(name, fresh), PROGRAMS[name]
    assert (there.action, there.answer, there.warned) == (expected.action, expected.answer, expected.lost)


@pytest.mark.parametrize("run", [plain_run, async_run, run_in_cell])
@each_program
def test_same_here(name, run, fresh):
    """With one line changed: the same action, answer, ``shared`` and warnings, whichever way it is run."""
    there, program = outcome_there(name, fresh), load(name, OURS)
    here = outcome_of(program, fresh(program), run)
    assert here.answer == PROGRAMS[name].answer
    assert here[:3] == there[:3]
    assert len(here.warned) == len(there.warned)
    assert all(ours.startswith(theirs) for ours, theirs in zip(here.warned, there.warned, strict=True))


@pytest.mark.parametrize(
    "name", [name for name in PROGRAMS if name not in ("parallel_batch", "traced_review", "throttled_batch")]
)
def test_same_with_everyday_names(name, fresh):
    """What has no Async in its names and overrides no private method runs with the everyday names, to the same end."""
    there, program = outcome_there(name, fresh), load(name, "llmflow_nb")
    assert outcome_of(program, fresh(program), plain_run)[:3] == there[:3]


# ---- drawn -----------------------------------------------------------------------------------------------------------


@each_program
def test_drawn(name):
    """Every node has its line in the outline, and is in DOT and picture; nothing is a problem."""
    program = load(name, OURS)
    flow = program.make_flow()
    graph = flow.graph()
    outline, dot, picture = graph.outline(), graph.dot(), "".join(ElementTree.fromstring(graph.svg()).itertext())
    assert len(classes_of(program)) > 1
    for node in classes_of(program):
        assert re.search(rf"^ *(batch flow )?{node}\b", outline, re.MULTILINE), outline
        assert node in dot
        assert node in picture
    assert flow.check() == []


@tolerant
@each_program
def test_run_drawn(name, fresh):
    """The drawing of a run has a mark on every node, as a program visits all that it has."""
    outline = run_of(load(name, OURS), fresh).graph().outline()
    assert ": ok" in outline
    assert "not visited" not in outline


# ---- stepped to the end ----------------------------------------------------------------------------------------------


@tolerant
@each_program
def test_stepped_to_the_end(name, fresh):
    """Hook by hook it comes to the same as in one go, with the same visits in the record."""
    program, there = load(name, OURS), outcome_there(name, fresh)
    shared = fresh(program)
    stepper = stepped_to_the_end(program, shared)
    assert (stepper.place.action, program.answer(shared), plain(shared)) == there[:3]
    assert visits_of(stepper.record) == PROGRAMS[name].visits
    assert stepper.notes == PROGRAMS[name].notes


@tolerant
@each_program
def test_back_and_on_again(name, fresh):
    """Back at the first place ``shared`` is as it was, and to go on from there to the end asks no model again."""
    program = load(name, OURS)
    shared = fresh(program)
    at_first = copy.deepcopy(shared)
    stepper = stepped_to_the_end(program, shared)
    called, at_last = stepper.called, plain(copy.deepcopy(shared))
    assert called > 0
    stepper.goto(0)
    assert shared == at_first
    assert stepper.run().is_end
    assert plain(shared) == at_last
    assert stepper.called == called


@tolerant
@pytest.mark.parametrize(
    "name", [name for name, expected in PROGRAMS.items() if "fallback" not in str(expected.batches)]
)
def test_anew(name, fresh):
    """Run anew, every hook but ``exec`` runs, and each call is answered by what the model said the first time.

    But for calls that went to a fallback: those have no answer that could be kept, so they are made again.
    """
    program = load(name, OURS)
    shared = fresh(program)
    stepper = stepped_to_the_end(program, shared)
    called, at_last = stepper.called, plain(copy.deepcopy(shared))
    stepper.goto(0)
    stepper.rerun()
    assert stepper.run().is_end
    assert plain(shared) == at_last
    assert (stepper.called, stepper.replayed > 0) == (called, True)


# ---- tabled ----------------------------------------------------------------------------------------------------------


@tolerant
@each_program
def test_tabled(name, fresh):
    """``steps`` has a row for each visit, and each batch a row for every item or param set, with what came of it."""
    expected, run = PROGRAMS[name], run_of(load(name, OURS), fresh)
    assert visits_of(run) == expected.visits
    assert set(run.steps["status"]) == {"ok"}
    assert {batch.path.rpartition("/")[2] for batch in run.batches} == set(expected.batches)
    for node, counts in expected.batches.items():
        assert run.batch(node).df["status"].value_counts().to_dict() == counts
