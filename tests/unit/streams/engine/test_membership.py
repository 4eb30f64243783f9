"""The group's client: what Faust and aiokafka would do by themselves and must not."""

import aiokafka.client
from aiokafka.protocol.metadata import MetadataRequest_v5

from streams.engine import faust_internals


def test_the_member_lets_no_broker_create_a_topic():
    assert faust_internals
    request = aiokafka.client.MetadataRequest(["missing"]).build(MetadataRequest_v5)
    assert request.to_object()["allow_auto_topic_creation"] is False
