"""Ends of partitions are found as soon as the partitions have leaders again, whoever those are."""

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from openbsp.kafka import ends

AT = ("message-state", 3)


class Admin:
    """An AdminClient that knows the leaders of the moment when it was asked for topics last."""

    def __init__(self, fault: int) -> None:
        self.fault = fault
        self.epoch = 1
        self.known = 0
        self.asked = 0

    def list_topics(self, *, timeout: float) -> None:
        assert timeout > 0
        self.known = self.epoch

    def list_offsets(self, asked: dict[Any, Any], *, request_timeout: float) -> dict[Any, "Future[Any]"]:
        assert request_timeout > 0
        self.asked += 1
        futures: dict[Any, Future[Any]] = {place: Future() for place in asked}
        for future in futures.values():
            if self.known == self.epoch:
                future.set_result(SimpleNamespace(offset=7))
            else:
                future.set_exception(KafkaException(KafkaError(self.fault)))
        return futures


@pytest.mark.parametrize("fault", [KafkaError.FENCED_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION])
def test_after_a_change_of_leaders_the_topics_are_asked_for_and_then_the_ends_again(fault: int) -> None:
    admin: Any = Admin(fault)
    for _ in range(2):
        assert ends.wait_for(admin, iter([AT]), 1) == {AT: 7}
    assert admin.asked == 3


def test_the_second_refusal_is_the_callers() -> None:
    admin: Any = Admin(KafkaError.UNKNOWN_TOPIC_OR_PART)
    admin.list_topics = lambda **_: None
    with pytest.raises(KafkaException):
        ends.wait_for(admin, [AT], 1)
    assert admin.asked == 2
