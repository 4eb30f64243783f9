"""What a request held is given back when it is answered: not at its deadline, nor with its connection."""

import gc
import time
import weakref
from pathlib import Path

from bridge.delivery.items import DeadLetter
from support.ingress import message, running_ingress
from support.wait import eventually


class Item(DeadLetter):
    """A dead letter that can be watched: without slots of its own it may have weak references."""


def test_an_item_is_let_go_when_it_is_kept_and_not_at_its_deadline(tmp_path: Path):
    """That of a body which took long, and has a timer of its own. The collector of cycles does not run meanwhile."""
    kept: list[weakref.ref[Item]] = []
    with running_ingress(tmp_path, deadline_s=4) as ingress:

        def keep() -> None:
            item = Item("e1", "malformed_json", "not JSON", 0, payload=b"{")
            watched = weakref.ref(item)
            ingress.service.keeper.keep(item, time.monotonic() - 0.1, lambda *_: kept.append(watched))

        gc.disable()
        try:
            ingress.on_loop(keep)
            eventually(lambda: kept and kept[0]() is None, within=3)
        finally:
            gc.enable()
    assert len(ingress.kafka.topic("dead-letters")) == 1


def test_a_connection_that_is_idle_does_not_keep_what_it_read_last(tmp_path: Path):
    with running_ingress(tmp_path) as ingress:
        assert ingress.post(message(content="x" * 200_000)).json()["disposition"] == "published"
        (connection,) = ingress.service.acceptor._connections

        def large() -> list[str]:
            return [name for name, value in vars(connection).items() if isinstance(value, bytes) and len(value) > 1000]

        eventually(lambda: large() == [])
        assert connection in ingress.service.acceptor._connections
