"""The name of a data directory, by which the group knows a worker again."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from openbsp.kafka.connection import KafkaSettings
from streams.engine.app import App
from streams.engine.settings import EngineSettings
from streams.engine.stores.identity import identity


def test_a_directory_has_the_same_name_each_time(tmp_path: Path):
    assert identity(tmp_path) == identity(tmp_path)


def test_a_copy_has_another_name_and_the_directory_keeps_its_own_when_it_is_moved(tmp_path: Path):
    """Two workers with one name would put each other out, again and again."""
    original, copy, moved = tmp_path / "original", tmp_path / "copy", tmp_path / "moved"
    original.mkdir()
    name = identity(original)
    shutil.copytree(original, copy)
    assert identity(copy) != name
    assert identity(copy) == identity(copy)
    original.rename(moved)
    assert identity(moved) == name


@pytest.mark.parametrize("content", [b"", b"\xff", b"half a na", b"a name 1:2"])
def test_what_is_no_name_of_this_directory_is_replaced(tmp_path: Path, content: bytes):
    (tmp_path / "identity").write_bytes(content)
    name = identity(tmp_path)
    assert name.encode() not in content or not content
    assert len(name) == 16
    assert identity(tmp_path) == name


def known_as(data_dir: Path | None, topic: str = "topic", **settings: Any) -> str | None:
    """Return the name by which a worker joins its group."""
    given = {"app_id": "app", "kafka": KafkaSettings(), "url": "http://127.0.0.1:1", "partitions": 2}
    own = EngineSettings(**{**given, "data_dir": data_dir, **settings})

    async def work(_: Any) -> None:
        raise AssertionError

    async def ask() -> str | None:
        app = App(own)
        app.agent(app.topic(topic), name="agent")(work)
        engine = app.engine
        assert app.conf.consumer_group_instance_id == engine.instance
        await engine.close()
        return engine.instance

    return asyncio.run(ask())


def test_the_group_knows_a_worker_by_its_directory_as_long_as_what_members_agree_on_is_the_same(tmp_path: Path):
    """The group tells others nothing new of a worker that comes back: neither its address nor what it reads."""
    name = known_as(tmp_path / "data")
    assert name is not None
    assert name == known_as(tmp_path / "data")
    others = [
        known_as(tmp_path / "other"),
        known_as(tmp_path / "data", url="http://127.0.0.1:2"),
        known_as(tmp_path / "data", partitions=4),
        known_as(tmp_path / "data", topic="another"),
        known_as(tmp_path / "data", standbys=1),
    ]
    assert len({name, *others}) == 6


def test_a_worker_whose_tables_are_in_memory_is_known_by_no_name():
    """Nothing proves that its former process is gone."""
    assert known_as(None) is None
