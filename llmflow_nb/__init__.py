"""Prototype LLM flows in a notebook: see them as graphs, step through them, read batches as tables."""

from .core.errors import (
    AllFailedError,
    CallTimeoutError,
    ExportError,
    FlowError,
    FlowWarning,
    HookReturnError,
    ItemsNotKeptError,
    LostActionError,
    MaxStepsError,
    NestedLoopError,
    RowError,
    RunStateError,
    SettingError,
    SignatureError,
    StoppedError,
    WiringError,
    WiringTypeError,
)
from .core.flow import BatchFlow, Flow
from .core.node import BatchNode, Node
from .engine.limiter import Limiter
from .runs.batch import BatchResult
from .runs.run import Run
from .stepper.stepper import Stepper

__all__ = [
    "AllFailedError",
    "BatchFlow",
    "BatchNode",
    "BatchResult",
    "CallTimeoutError",
    "ExportError",
    "Flow",
    "FlowError",
    "FlowWarning",
    "HookReturnError",
    "ItemsNotKeptError",
    "Limiter",
    "LostActionError",
    "MaxStepsError",
    "NestedLoopError",
    "Node",
    "RowError",
    "Run",
    "RunStateError",
    "SettingError",
    "SignatureError",
    "Stepper",
    "StoppedError",
    "WiringError",
    "WiringTypeError",
]
