"""The table of a call's states, and the picture of it in the documentation."""

import pytest

from docs.call_states import picture
from llmflow_nb.engine.calls import NEXT_STATE, SETTLED

STATES = list(NEXT_STATE)


def reached_from(state):
    found = {state}
    todo = [state]
    for one in todo:  # grows as it is read
        new = set(NEXT_STATE[one].values()) - found
        found |= new
        todo += new
    return found


def test_every_state_follows_from_the_first():
    """No state of the table is out of reach of a new call."""
    assert reached_from(STATES[0]) == set(STATES)


@pytest.mark.parametrize("state", STATES)
def test_a_call_can_be_settled_from_any_state(state):
    """Whatever a call waits for, an interrupt or a failure elsewhere can settle it with one step."""
    assert SETTLED in NEXT_STATE[state].values()


def test_nothing_follows_a_settled_call():
    """A settled call stays settled."""
    assert set(NEXT_STATE[SETTLED].values()) == {SETTLED}


def test_the_picture_is_the_table():
    """The architecture page draws every state, and an edge for every event that may happen in it."""
    model = picture()
    assert [node.id for node in model.nodes] == STATES
    drawn = {(edge.source, edge.action, edge.target) for edge in model.edges}
    assert drawn == {(state, event, then) for state, steps in NEXT_STATE.items() for event, then in steps.items()}
    assert model.svg()
