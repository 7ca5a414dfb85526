"""Prototype LLM flows in a notebook: see them as graphs, step through them, read batches as tables."""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from .core.errors import (
    AllFailedError,
    BudgetError,
    CallTimeoutError,
    ExecutorError,
    ExportError,
    FlowError,
    FlowWarning,
    HookCancelledError,
    HookReturnError,
    ItemsNotKeptError,
    JournalError,
    LostActionError,
    MaxStepsError,
    NestedLimiterError,
    NestedLoopError,
    RemoteError,
    RowError,
    RunStateError,
    SendError,
    SettingError,
    SignatureError,
    StoppedError,
    WiringError,
    WiringTypeError,
)
from .core.flow import BatchFlow, Flow
from .core.node import BatchNode, Node
from .core.spend import spend
from .engine.budget import Budget
from .engine.limiter import Limiter
from .runs.batch import BatchResult
from .runs.run import Run

if _TYPE_CHECKING:
    from .journal.journal import Journal
    from .stepper.stepper import Stepper

__all__ = [
    "AllFailedError",
    "BatchFlow",
    "BatchNode",
    "BatchResult",
    "Budget",
    "BudgetError",
    "CallTimeoutError",
    "ExecutorError",
    "ExportError",
    "Flow",
    "FlowError",
    "FlowWarning",
    "HookCancelledError",
    "HookReturnError",
    "ItemsNotKeptError",
    "Journal",
    "JournalError",
    "Limiter",
    "LostActionError",
    "MaxStepsError",
    "NestedLimiterError",
    "NestedLoopError",
    "Node",
    "RemoteError",
    "RowError",
    "Run",
    "RunStateError",
    "SendError",
    "SettingError",
    "SignatureError",
    "Stepper",
    "StoppedError",
    "WiringError",
    "WiringTypeError",
    "spend",
]


def __getattr__(name: str) -> _Any:
    """Import a name on first use, if its import takes long."""
    if name == "Stepper":
        from .stepper.stepper import Stepper

        return Stepper
    if name == "Journal":
        from .journal.journal import Journal

        return Journal
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
