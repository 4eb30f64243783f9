"""docs/faust.md: each trap is on it, the version is the pinned one, and what it names is there."""

import re
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "faust.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| trap")
]
#: The ways in which a plain program on Faust loses or corrupts data, or waits: words of their rows.
TRAPS = (
    # Losing events
    "an exception in `async for`",
    "`take()` acknowledges a batch",
    "a decode error under `take()`",
    "out of order",
    "a failed produce is logged",
    "the flush before a commit",
    "`group_by` drops events",
    "codec errors",
    "`producer_max_request_size`",
    "never acknowledged blocks",
    "`exactly_once`",
    "a replay finds the change in the table",
    "sends awaited in two agents",
    "commits can stop for good",
    "an agent that returns",
    # Tables
    "serializers default to JSON",
    "the partition of the current event",
    "keys of revoked partitions",
    "a tombstone, then a value that counts as false",
    "in memory is read in full",
    "2 GiB of cache",
    "share a data directory",
    "errors in recovery",
    "timers cannot write tables",
    # Topics, rebalance, web
    "a missing or wrong topic",
    "lets the broker create",
    "asks again after five minutes",
    "wait 45 s",
    "one replica",
    "a table read during a rebalance",
    "`router.key_store`",
    "rebalances are eager",
    "sends no commit of nothing",
    "fetcher ends the app",
    "the first event loop that touches it",
    "`GlobalTable` and `table_route`",
    "not mounted under ASGI",
    "`web_enabled`",
    "lag freezes",
    "`confluent://`",
    "`producer_threaded`",
    "`on_window_close`",
    "`LiveCheck`",
    # Speed, tests
    "two tasks for each record",
    "send of each record",
    "`max_messages`",
    "`test_context()`",
)
#: Of the page's part "Not used": what the program would say if it used it.
NOT_USED = (
    *("GlobalTable", "table_route", "faust_lifespan", "serve_asgi", "confluent://", "producer_threaded", "tumbling"),
    *("hopping", "on_window_close", "LiveCheck", "livecheck", "_drain_messages", "max_messages", "test_context"),
    *("exactly_once", "app.page", "faust.web", "topic_replication_factor", "send_soon", "AIOKafkaProducer"),
)


def test_it_speaks_of_the_faust_that_is_installed():
    assert f"faust-streaming {version('faust-streaming')}" in PAGE
    assert set(re.findall(r"in Faust ([\d.]+\d)", PAGE)) == {version("faust-streaming")}


@pytest.mark.parametrize("trap", TRAPS)
def test_each_trap_has_one_row(trap: str):
    assert len([row for row in ROWS if trap in row[0]]) == 1


def test_each_row_has_a_place_an_answer_and_a_test():
    for row in ROWS:
        assert len(row) == 4
        assert all(row), row
        assert re.search(r"`[\w/]*test_\w+\.py(::test_\w+)?`", row[3]), row


def test_each_test_that_it_names_is_there_once():
    named = set(re.findall(r"`([\w/]*\btest_\w+\.py)(?:::(\w+))?`", PAGE))
    assert named
    files = list((ROOT / "tests").rglob("test_*.py"))
    for file, test in named:
        found = [one for one in files if f"/{one.relative_to(ROOT)}".endswith(f"/{file}")]
        assert len(found) == 1, f"{file}: {found}"
        assert (f"def {test}(" if test else "def test_") in found[0].read_text("utf-8"), f"{file}::{test}"


def test_the_places_that_it_names_are_in_faust():
    words: set[str] = set()
    for name, package in (("faust-streaming", "faust"), ("mode-streaming", "mode"), ("aiokafka", "aiokafka")):
        for file in Path(str(distribution(name).locate_file(package))).rglob("*.py"):
            words.update(re.findall(r"\w+", file.read_text("utf-8")), {file.stem})
    places = {name for row in ROWS for name in re.findall(r"`([\w.]+)`", row[1]) if "librdkafka" not in row[1]}
    assert {name for name in places if set(name.split(".")) - words} == set()


@pytest.mark.parametrize("name", NOT_USED)
def test_what_is_not_used_is_not_named(name: str):
    texts = {path: path.read_text("utf-8") for path in (ROOT / "streams").rglob("*.py")}
    assert [path for path, text in texts.items() if name in text] == []


def test_fausts_own_web_server_is_off():
    assert '"web_enabled": False' in (ROOT / "streams" / "engine" / "app.py").read_text("utf-8")
