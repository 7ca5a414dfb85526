"""Prototype LLM flows in a notebook: see them as graphs, step through them, read batches as tables."""

from .core.errors import (
    AllFailedError,
    CallTimeoutError,
    FlowError,
    FlowWarning,
    HookReturnError,
    ItemsNotKeptError,
    LostActionError,
    MaxStepsError,
    NestedLoopError,
    SettingError,
    SignatureError,
    WiringError,
    WiringTypeError,
)
from .core.flow import BatchFlow, Flow
from .core.node import BatchNode, Node
from .engine.limiter import Limiter
from .runs.run import Run

__all__ = [
    "AllFailedError",
    "BatchFlow",
    "BatchNode",
    "CallTimeoutError",
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
    "Run",
    "SettingError",
    "SignatureError",
    "WiringError",
    "WiringTypeError",
]
