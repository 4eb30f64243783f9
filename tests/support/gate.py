"""Holds a piece of work at its first pause: a test decides what comes in between, not the speed of the machine."""

import asyncio
from types import ModuleType, SimpleNamespace

import pytest


def hold(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> asyncio.Event:
    """Have each `asyncio.sleep` of `module` wait for the event that is returned."""
    go_on = asyncio.Event()
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": lambda _: go_on.wait()}))
    return go_on
