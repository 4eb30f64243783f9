"""Log lines: whole, on time, and without what was received."""

import json
import logging
import os
import threading

import pytest

from openbsp.errors import KafkaUnavailableError
from openbsp.log import LineWriter, LogHandler, as_text, event, line_of

SECRET = "what-was-received"


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


def record(message: str, *arguments: object, error: BaseException | None = None, **extra: object) -> logging.LogRecord:
    trace = None if error is None else (type(error), error, error.__traceback__)
    made = logging.LogRecord("a.logger", logging.ERROR, "", 1, message, arguments, trace)
    made.__dict__.update(extra)
    return made


def test_a_line_has_its_event_and_the_values_with_it():
    line = line_of(record("%d went", 3, **event("spool.drained", events=3)))
    assert (line["event"], line["events"], line["message"], line["level"]) == ("spool.drained", 3, "3 went", "ERROR")
    assert line["time"].endswith("Z")
    assert as_text(line).endswith(" ERROR   spool.drained 3 went events=3")


def test_a_line_of_a_library_has_its_logger_for_an_event():
    assert line_of(record("x"))["event"] == "a.logger"


def test_no_line_has_the_text_of_an_exception_that_is_not_ours():
    """They may quote what was received, wherever they are: raised, in a chain, or as an argument."""

    def fail() -> None:
        raise ValueError(SECRET) from KeyError(SECRET)

    with pytest.raises(ValueError, match=SECRET) as raised:
        fail()
    error = raised.value
    line = line_of(record("failed: %r, %s", error, ConnectionError(SECRET), error=error))
    assert SECRET not in json.dumps(line) + as_text(line)
    assert line["message"] == "failed: 'ValueError', ConnectionError"
    assert line["error"] == "ValueError <- KeyError"
    assert any(__file__ in frame for frame in line["trace"])


def test_a_line_has_what_we_and_the_operating_system_say_of_a_fault():
    ours = KafkaUnavailableError("no broker answered")
    system = FileNotFoundError(2, "No such file or directory", "/data/tokens")
    line = line_of(record("waiting: %s; %s", ours, system, error=ours))
    assert line["message"] == (
        "waiting: no broker answered; FileNotFoundError: No such file or directory: /data/tokens"
    )
    assert line["error"] == "KafkaUnavailableError: no broker answered"


def test_a_line_that_cannot_be_formatted_or_encoded_is_written_all_the_same(pipe: tuple[int, int]):
    out, into = pipe
    writer = LineWriter(into)
    handler = LogHandler(writer)
    handler.handle(record("%d and %d", 1))
    handler.handle(record("a file named %s", "\udcff"))
    handler.close()
    os.close(into)
    assert [line["message"] for line in read_lines(out)] == ["%d and %d (1,)", "a file named \udcff"]


def test_an_exception_is_logged_without_its_text(pipe: tuple[int, int]):
    """The text may quote what was received, such as a token of another table."""
    out, into = pipe
    writer = LineWriter(into)
    logger = logging.getLogger("test-of-the-log")
    logger.propagate = False
    logger.handlers = [LogHandler(writer)]
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
