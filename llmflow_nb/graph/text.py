"""Words that several writers and displays show."""

from ..core.text import LABEL_LENGTH, shown
from .model import GraphData
from .status import STATE_WORDS, NodeStatus

__all__ = ["problem_lines", "status_words"]


def problem_lines(model: GraphData) -> list[str]:
    """Return a line for each probable mistake in the wiring."""
    return [f"! {shown(problem.path, 4 * LABEL_LENGTH)}: {shown(problem.text, 400)}" for problem in model.problems]


def status_words(status: NodeStatus) -> list[str]:
    """Return the state of a node and the notes on it."""
    return [STATE_WORDS[status.state], *map(shown, status.notes)]
