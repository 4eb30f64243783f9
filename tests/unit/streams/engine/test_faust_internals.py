"""Of Faust's private parts, all that the engine relies on is there, or a sentence says what for."""

import importlib

import pytest

from streams.engine.faust_internals import NAMES


@pytest.mark.parametrize(("module", "owner", "name", "purpose"), NAMES)
def test_faust_has_what_is_relied_upon(module, owner, name, purpose):
    place = importlib.import_module(module)
    if owner is not None:
        place = getattr(place, owner, None)
        assert place is not None, f"{module} has no {owner} any more, which the engine needs for {purpose}"
    assert hasattr(place, name), f"{module}.{owner or ''} has no {name} any more, which the engine needs for {purpose}"
