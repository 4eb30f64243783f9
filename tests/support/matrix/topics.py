"""Topics that the bridge writes to, as somebody else changes them."""

import secrets

from confluent_kafka.admin import NewTopic

from support.bridge_process import TOKEN
from support.delivery_world import World, another_world
from support.join_cases import Envelope, inserted
from support.matrix.first import started
from support.topic_settings import change_settings, settings_of
from support.wait import eventually


def topic_that_is_deleted(world: World, since: int) -> str:
    topic = world.bridge.topic
    world.admin.delete_topics([topic])[topic].result(10)
    world.lose(0)
    seen = world.degraded("waiting_for", f"{topic}: missing")
    world.some_more()
    world.bridge.prepare()
    return f"{seen}; {world.logged('topics.wrong', since)}"


def topic_with_wrong_settings(world: World, since: int) -> str:
    topic = world.bridge.topic

    def delete() -> None:
        world.admin.delete_topics([topic])[topic].result(10)
        eventually(lambda: topic not in world.admin.list_topics(timeout=10).topics, within=30)

    def create() -> bool:
        world.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
        return True

    delete()
    eventually(create)
    world.lose(0)
    seen = world.degraded("waiting_for", f"{topic}: 1 partitions")
    world.some_more()
    delete()
    world.bridge.prepare()
    return f"{seen}; {world.logged('topics.replaced', since)}"


def topic_with_settings_of_an_operators_choice(world: World, since: int) -> str:
    """While both run, and at a start of the worker."""
    first, topic = len(world.fleet.lines), world.bridge.topic
    former = settings_of(world.admin, topic)
    change_settings(world.admin, topic, retention_ms="3600000", max_message_bytes="500000")
    world.fleet.restart(world.worker)
    seen = world.degraded("remarks", "retention.ms is 3600000")
    world.logged("topics.remark", since)
    world.said("retention.ms is 3600000", first)
    names = ("retention.ms", "max.message.bytes")
    change_settings(world.admin, topic, **{name.replace(".", "_"): former[name] for name in names})
    world.fleet.wait_ready(90)
    return seen


def suppression_list_that_is_lost(world: World, since: int) -> str:
    """Beside the world: its topic is deleted, and made again. Who was erased stays out."""
    del since
    key = {"BRIDGE_SUPPRESSION_KEY": secrets.token_hex(32)}
    with another_world(world, world.bridge.directory / "list", **key) as other:
        other.bridge.prepare()
        with started(other):
            other.start_worker()
            assert other.posted(of_the_erased("erased-1")).status == 202
            eventually(lambda: other.view("messages/erased-1") == 200, within=60)
            views = ("--views", other.fleet.urls[0], "--views-token", TOKEN)
            erased = ("erase", "--contact", "+100", "--execute", "--url", other.bridge.url, "--token", TOKEN, *views)
            other.run("bridge", *erased)
            eventually(lambda: other.posted(of_the_erased("erased-2")).status == 422, within=60)
            topic = f"{other.bridge.prefix}suppressions"
            other.admin.delete_topics([topic])[topic].result(10)
            seen = other.degraded("remarks", "lacks 1 of its entries")
            assert other.posted(of_the_erased("erased-3")).status == 422
            other.bridge.prepare()
            other.some_more()
            assert other.posted(of_the_erased("erased-4")).status == 422
            other.degraded("remarks", "lacks 1 of its entries")
            lost = other.metric(other.bridge.url, "bridge_suppressions_lost")
        return f"{seen}; bridge_suppressions_lost {lost:g}"


def of_the_erased(key: str) -> Envelope:
    row = inserted(key, "erased-c", "incoming", 1)
    return {**row, "data": row["data"] | {"organization_id": "erased", "contact_address": "+100"}}
