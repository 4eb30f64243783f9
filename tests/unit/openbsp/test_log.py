"""Log lines: whole, on time, and without what was received."""

import json
import logging
import os
import threading

import pytest

from openbsp.log import JsonHandler, LineWriter


def read_lines(descriptor: int) -> list[dict]:
    with os.fdopen(descriptor, "rb") as stream:
        return [json.loads(line) for line in stream]


def line(number: int, detail: str) -> bytes:
    return json.dumps({"number": number, "detail": detail}).encode() + b"\n"


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def test_lines_are_written_whole_and_in_order(pipe: tuple[int, int]):
    out, into = pipe
    writer = LineWriter(into)
    received = []
    reader = threading.Thread(target=lambda: received.extend(read_lines(out)))
    reader.start()
    for number in range(5000):
        writer.write(line(number, "x" * (number % 97)))
    writer.write(line(-1, "x" * 10_000))
    writer.close()
    os.close(into)
    reader.join()
    assert [each["number"] for each in received] == [*range(5000), -1]


def test_a_reader_that_stalls_makes_nobody_wait(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("openbsp.log._CAPACITY", 100)
    out, into = pipe
    writer = LineWriter(into)
    dropped = []
    writer.dropped = lambda: dropped.append(1)
    for _ in range(1000):
        writer.write(b"x" * 2000 + b"\n")
    assert dropped
    os.close(out)
    writer.close()
    os.close(into)


def test_a_log_that_nobody_reads_any_more_is_no_fault(pipe: tuple[int, int]):
    out, into = pipe
    os.close(out)
    writer = LineWriter(into)
    dropped = []
    writer.dropped = lambda: dropped.append(1)
    writer.write(b"x\n")
    writer.close()
    assert dropped == [1]
    os.close(into)


def test_an_exception_is_logged_without_its_text(pipe: tuple[int, int]):
    """The text may quote what was received, such as a token of another table."""
    out, into = pipe
    writer = LineWriter(into)
    logger = logging.getLogger("test-of-the-log")
    logger.propagate = False
    logger.handlers = [JsonHandler(writer)]
    try:
        int("EAAG-secret")
    except ValueError:
        logger.exception("a fault of the %s", "bridge")
    writer.close()
    os.close(into)
    (line,) = read_lines(out)
    assert line["message"] == "a fault of the bridge"
    assert line["error"] == "ValueError"
    assert "test_log.py" in line["trace"][0]
    assert "EAAG-secret" not in json.dumps(line)
