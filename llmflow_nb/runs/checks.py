"""What is checked before a hook runs: the wiring, the classes of the nodes, the executor, the options."""

from concurrent.futures import Executor
from typing import Any

from ..core.edited import rebind
from ..core.errors import SettingError, did_you_mean, warn
from ..core.node import BaseNode, label
from ..core.text import quoted
from ..core.traversal import Survey, last_name, survey, within
from ..engine.budget import Budget
from ..engine.remote import check_can_be_sent

__all__ = ["check_budget", "check_executor", "check_fresh", "survey_again"]


def survey_again(node: BaseNode, known: Survey | None) -> Survey:
    """Survey the wiring, and give nodes the new versions of classes whose cell was run again.

    Args:
        node: The node or flow to run.
        known: The survey of the previous run, which is used again if it is still valid.
    """
    wiring = known if known is not None and known.is_valid_for(node) else survey(node)
    edited = rebind(wiring.nodes)
    if not edited:
        return wiring
    _warn_of_new_classes(edited)
    return survey(node)


def _warn_of_new_classes(edited: list[tuple[BaseNode, type[BaseNode]]]) -> None:
    """Warn of each node whose new class has different code from its previous class."""
    from ..core.fingerprint import fingerprint  # with its imports 25 ms, which few runs need

    for node, old in edited:
        if fingerprint(old) != fingerprint(type(node)):
            warn(f"{label(node)}: its class was defined again, and this run uses the new class.")


def check_executor(node: BaseNode, executor: Executor | None) -> None:
    """Check the executor, and that the nodes can be sent to it.

    Raises:
        SettingError: The executor has no ``submit``.
        SendError: A node cannot be pickled.
    """
    if executor is not None and not (hasattr(type(executor), "submit") or hasattr(type(executor), "send_call")):
        raise SettingError(f"executor={quoted(executor)} has no submit(); pass a concurrent.futures.Executor.")
    if executor is not None:
        check_can_be_sent(within(node), executor)


def check_budget(budget: Any) -> None:
    """Check that a budget is one.

    Raises:
        SettingError: It is something else.
    """
    if not isinstance(budget, Budget):
        raise SettingError(
            f"budget={quoted(budget)} is not a Budget; write Budget(calls=200), or Budget(cost=1.50) for US dollars."
        )


def check_fresh(fresh: str, name: str, wiring: Survey, journal: Any) -> None:
    """Check the node whose results in the journal are not used.

    Raises:
        SettingError: There is no journal, or no such node.
    """
    if journal is None:
        raise SettingError(f"fresh={quoted(fresh)} needs journal=: without a journal, every call is made.")
    known = [name, *(step for names in wiring.names.values() for step in names.values())]
    if last_name(fresh) not in known:
        raise SettingError(f"fresh={quoted(fresh)}: the flow has no such node{did_you_mean(fresh, known)}")
