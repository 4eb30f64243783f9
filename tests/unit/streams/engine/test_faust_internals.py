"""Of Faust's private parts, all that the engine relies on is there, or a sentence says what for."""

import ast
import importlib
import inspect
from types import ModuleType

import pytest

from streams.engine import app, faust_internals
from streams.engine.faust_internals import NAMES


def has(place: object, name: str) -> bool:
    """Return whether a module or class has a name, or gives it to its instances."""
    given = inspect.isclass(place) and any(f"self.{name}{ends}" in inspect.getsource(place) for ends in (" = ", ": "))
    return given or hasattr(place, name)


@pytest.mark.parametrize(("module", "owner", "name", "purpose"), NAMES)
def test_faust_has_what_is_relied_upon(module, owner, name, purpose):
    place = importlib.import_module(module)
    if owner is not None:
        place = getattr(place, owner, None)
        assert place is not None, f"{module} has no {owner} any more, which the engine needs for {purpose}"
    assert has(place, name), f"{module}.{owner or ''} has no {name} any more, which the engine needs for {purpose}"


def private_names(module: ModuleType) -> set[str]:
    """Return the private names that a module has from elsewhere, or overrides."""
    used, own = set(), set()
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own.add(node.name)
        elif isinstance(node, ast.Attribute):
            used.add(node.attr)
            if isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self":
                own.add(node.attr)
    classes = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]
    bases = {base for one in classes for base in one.__mro__ if base.__module__ != module.__name__}
    inherited = {name for name in used | own if any(hasattr(base, name) for base in bases)}
    return {name for name in used - own | inherited if name.startswith("_") and not name.startswith("__")}


@pytest.mark.parametrize("module", [faust_internals, app])
def test_each_private_name_is_listed(module):
    found = private_names(module)
    assert found
    assert found - {name for _, _, name, _ in NAMES} == set()
