"""The world of a run: a platform that answers five rows at a time, and an index of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from avro.columns import ENTITIES
from openbsp_testkit.postgrest import running_postgrest
from support.reconcile_world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running_postgrest(*ENTITIES, most_rows=5) as platform:
        world = World(tmp_path, platform)
        with world.index:
            yield world
