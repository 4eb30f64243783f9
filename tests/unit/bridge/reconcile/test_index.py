"""The index on disk: what it keeps, and that it can always be made again."""

import sqlite3
from functools import partial
from pathlib import Path

import pytest

from bridge.reconcile.comparison import Facts
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.index import Index, Posted, Progress, State


def facts(stamp: int, **columns: bytes) -> Facts:
    return Facts(1, 2, stamp, {"status.sent": b"123456", **columns})


def test_facts_come_back_after_a_restart_and_a_tombstone_removes_them(tmp_path: Path):
    one, two = facts(5, name=b"aaaaaa"), facts(6, name=b"bbbbbb")
    with Index(tmp_path) as index:
        index.take(
            "messages", [State("a", two, "o", "c"), State("a", one, "o", "c"), State("b", two, "o")], {0: 3, 1: 1}
        )
        index.advance("messages", "", Progress(1, 9))
    with Index(tmp_path) as index:
        assert index.facts("messages", ["a", "b", "x"]) == {"a": one, "b": two}
        assert index.facts("conversations", ["a"]) == {}
        assert index.positions("messages") == {0: 3, 1: 1}
        assert index.progress("messages", "") == Progress(1, 9)
        assert [tuple(row) for row in index.behind("messages", "", 7, 10)] == [
            ("a", "o", "c", 5, "a"),
            ("b", "o", None, 6, "b"),
        ]
        assert [row.id for row in index.behind("messages", "a", 7, 10)] == ["b"]
        assert index.organizations("messages") == ["o"]
        assert set(index.witnesses("messages", "o")) == {"a", "b"}
        index.take("messages", [State("a")], {0: 4})
        assert index.facts("messages", ["a"]) == {}
        assert index.witnesses("messages", "o") == ["b"]
        index.forget("messages")
        assert (index.count("messages"), index.positions("messages")) == (0, {})
        assert index.progress("messages", "") == Progress(1, 9)


def test_what_was_posted_is_known_until_its_state_is_right(tmp_path: Path):
    with Index(tmp_path) as index:
        index.post("messages", "run", [("a", Posted(7, facts(1), heard=False, organization="o"))])
        index.post("messages", "run", [("b", Posted(8, None, heard=False, organization=None))])
        index.take("messages", [State("b")], {0: 1})
        assert index.posted("messages", ["a", "b", "c"]) == {
            "a": Posted(7, facts(1), heard=False, organization="o"),
            "b": Posted(8, None, heard=True, organization=None),
        }
        assert [id_ for _, id_, _ in index.of_run("run", ("", ""), 1)] == ["a"]
        assert [id_ for _, id_, _ in index.of_run("run", ("messages", "a"), 5)] == ["b"]
        index.settled("messages", ["a"])
        assert index.posted("messages", ["a"]) == {}


def test_orphans_are_kept_until_their_row_comes(tmp_path: Path):
    with Index(tmp_path) as index:
        index.take("messages", [State("a", facts(1), orphan=True), State("b", facts(1), orphan=True)], {0: 1})
        index.take("conversations", [State("c", organization="o", orphan=True)], {0: 1})
        assert index.orphans("messages", "", 1) == [("a", None)]
        assert index.orphans("messages", "a", 5) == [("b", None)]
        assert index.count_orphans("conversations") == {"o": 1}
        index.take("messages", [State("a", facts(2), "o", "c"), State("b")], {0: 3})
        index.take("conversations", [State("c", facts(2), "o")], {0: 2})
        assert index.count_orphans("messages") == index.count_orphans("conversations") == {}


def test_an_index_of_a_release_without_orphans_reads_the_topics_again_and_keeps_its_progress(tmp_path: Path):
    with Index(tmp_path) as index:
        index.take("messages", [State("a", facts(1))], {0: 1})
        index.advance("messages", "", Progress(1, 9))
    with sqlite3.connect(tmp_path / "index.db") as db:
        db.execute("DROP TABLE orphans")
    db.close()
    with Index(tmp_path) as index:
        assert index.positions("messages") == {}
        assert index.progress("messages", "") == Progress(1, 9)


def test_two_runs_do_not_share_a_directory(tmp_path: Path):
    with Index(tmp_path), pytest.raises(ReconcileError, match="another reconcile"):
        Index(tmp_path)


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b""], ids=["damaged", "empty"])
def test_an_index_that_cannot_be_read_is_made_again(tmp_path: Path, damage: bytes):
    (tmp_path / "index.db").write_bytes(damage)
    with Index(tmp_path) as index:
        assert index.count("messages") == 0


def test_others_may_not_read_it(tmp_path: Path):
    with Index(tmp_path):
        assert (tmp_path / "index.db").stat().st_mode & 0o077 == 0


def test_an_index_that_cannot_be_opened_is_named(tmp_path: Path):
    (tmp_path / "index.db").mkdir()
    with pytest.raises(ReconcileError, match=r"index\.db: unable to open database file"):
        Index(tmp_path)


def test_a_fault_of_the_disk_does_not_cost_how_far_runs_came(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with Index(tmp_path) as index:
        index.advance("messages", "", Progress(0, 9))
    # A lock of somebody else is a fault of that kind which needs no full disk.
    monkeypatch.setattr("bridge.reconcile.index.sqlite3.connect", partial(sqlite3.connect, timeout=0))
    with sqlite3.connect(tmp_path / "index.db", isolation_level=None) as db:
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ReconcileError, match="locked"):
            Index(tmp_path)
        db.execute("ROLLBACK")
    db.close()
    with Index(tmp_path) as index:
        assert index.progress("messages", "") == Progress(0, 9)


def test_a_transaction_that_cannot_be_ended_does_not_hinder_the_next_one(tmp_path: Path):
    with Index(tmp_path) as index:
        index._db.executescript(
            "CREATE TABLE one (id INTEGER PRIMARY KEY);"
            "CREATE TABLE other (id INTEGER REFERENCES one DEFERRABLE INITIALLY DEFERRED); PRAGMA foreign_keys=ON"
        )
        with pytest.raises(sqlite3.IntegrityError), index.transaction():
            index._db.execute("INSERT INTO other VALUES (1)")
        index.settled("messages", ["a"])


def test_an_index_of_a_release_that_did_not_compare_contacts_is_used(tmp_path: Path):
    with Index(tmp_path) as index:
        index.take("messages", [State("a", facts(5), "o", "c")], {0: 3})
        index.advance("messages", "", Progress(0, 9))
        for table in ("cuts", "asked", "turned_away"):
            index._db.execute(f"DROP TABLE {table}")
    with Index(tmp_path) as index:
        assert index.positions("messages") == {0: 3}
        assert index.positions("contacts") == {}
        assert index.progress("messages", "") == Progress(0, 9)
        index.take("contacts", [State("p", cut=7)], {0: 1})
        assert index.cuts("contacts", ["p", "q"]) == {"p": 7}
        index.take("contacts", [State("p", facts(8), "o")], {0: 2})
        assert index.cuts("contacts", ["p"]) == {}
