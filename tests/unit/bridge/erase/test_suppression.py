"""The suppression list of `bridge erase`: nothing is written with another key than the one that it was made with."""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bridge.erase import commands
from bridge.erase.errors import EraseError
from bridge.erase.find import Found, Row, Wanted
from bridge.suppressions import topic
from bridge.suppressions.commands import lift
from bridge.suppressions.hashes import Contact
from openbsp.kafka.connection import KafkaSettings

KEY = b"a key of the deployment, 32 bytes or more"
OTHER = b"a key that somebody has made once more..."
WANTED = Wanted(contact="+100")


class Cluster:
    """One whose list is in memory, and which has no other topics."""

    def __init__(self) -> None:
        self.kafka = KafkaSettings()
        self.topics = SimpleNamespace(prefix="p.")
        self.records: list[Any] = []

    @contextlib.contextmanager
    def reader(self, name: str) -> Iterator[Any]:
        """As Cluster.reader."""
        assert name == "suppressions"
        yield SimpleNamespace(range=dict, read=lambda _: iter(self.records))

    def write(self, _: object, name: str, key: bytes, value: bytes | None, __: object) -> None:
        """As openbsp.kafka.writing.write_one."""
        assert name == "p.suppressions"
        self.records.append(SimpleNamespace(key=lambda: key, value=lambda: value))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Cluster()
    monkeypatch.setattr(topic, "write_one", made.write)
    return made


def servers(cluster: Any, key: bytes) -> commands.Servers:
    return commands.Servers(cluster, cast("Any", None), "http://bridge", "token", key=key)


def test_with_another_key_than_that_of_the_list_nothing_is_written(cluster: Any):
    """It would find its own entry, and say that webhooks are turned away, which no bridge does."""
    topic.add(cluster, KEY, Contact("+200"))
    topic.suppress_rows(cluster, KEY, Contact("+200"), [("contact-1", None)])
    written = list(cluster.records)
    with pytest.raises(EraseError, match="entries of another key than this BRIDGE_SUPPRESSION_KEY, 2: set that of the"):
        commands.execute(servers(cluster, OTHER), WANTED, cast("Any", None), patience_s=1)
    with pytest.raises(EraseError, match="another key"):
        commands.plan(servers(cluster, OTHER), WANTED)
    assert lift(cluster, OTHER, Contact("+200")) is not None
    assert cluster.records == written


def test_entries_of_a_former_version_do_not_say_of_which_key_they_are(cluster: Any):
    cluster.write(None, "p.suppressions", b"a hash", b'{"since": "2026-11-26T03:39:23+00:00"}', None)
    assert [entry.key_id for entry in topic.entries(cluster)] == [None]
    assert not commands._listed(servers(cluster, OTHER), WANTED)
    topic.add(cluster, OTHER, Contact("+100"))
    assert commands._listed(servers(cluster, OTHER), WANTED)


@pytest.mark.parametrize("key", [KEY, None])
@pytest.mark.parametrize("rows", [[], [Row("messages", "m1", "o1")]], ids=["nothing", "a message"])
def test_an_address_that_nothing_has_is_unknown_unless_it_was_erased_before(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, key: bytes | None, rows: list[Row]
):
    """It may be spelled otherwise than it was given, and the command would be well."""
    there = list(rows)

    def find(_: Wanted) -> Found:
        found = Found()
        found.add(there)
        return found

    states = SimpleNamespace(find=find, left=lambda *_: [])
    monkeypatch.setattr(commands, "States", lambda _: contextlib.nullcontext(states))
    monkeypatch.setattr(commands, "_places", lambda *_, **__: ([], []))
    bridge: Any = SimpleNamespace(send=lambda _: SimpleNamespace(taken=True))
    # Twice before it is deleted, to see whether the token may see it.
    answers = iter([True, True])
    views: Any = SimpleNamespace(has=lambda _: next(answers, False))
    own = commands.Servers(cluster, views, "http://bridge", "token", key=key)
    assert commands.plan(own, WANTED).unknown_address is not bool(rows)
    done = commands.execute(own, WANTED, bridge, patience_s=5)
    assert (done.well, done.unknown_address) == (True, not rows)
    # Without a list nobody knows that it was erased.
    there.clear()
    again = commands.execute(own, WANTED, bridge, patience_s=5)
    assert (again.well, again.unknown_address) == (True, key is None)
