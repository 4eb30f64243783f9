import os

import pytest


@pytest.fixture
def environment(monkeypatch):
    """Return what sets variables in an environment that names no collector."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)

    def use(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return use
