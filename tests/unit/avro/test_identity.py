"""Ids are UUIDv5 of what they identify, and nothing else goes into them."""

from uuid import UUID, uuid5

from avro import identity
from avro.jsontext import decode, encode


def test_the_name_space_never_changes() -> None:
    assert str(identity.NAMESPACE) == "736c88cf-d85f-5a5a-847b-f13129c5da9c"


def test_an_id_is_the_uuid5_of_the_name() -> None:
    for name in (b"", b"a", "é".encode(), b"x" * 1000):
        assert identity.name_id(name) == str(uuid5(identity.NAMESPACE, name.decode()))
        assert UUID(identity.name_id(name)).version == 5


def test_an_event_has_the_same_id_however_its_json_was_written() -> None:
    one = decode(b'{"id":"m1","content":{"b":1.5,"a":"\\u00e9"}}')
    other = decode('{ "content" : {"a":"é","b":1.5}, "id":"m1" }'.encode())
    assert identity.event_id("messages", "insert", encode(one)) == identity.event_id(
        "messages", "insert", encode(other)
    )


def test_entity_action_and_data_all_count() -> None:
    ids = {
        identity.event_id(entity, action, data)
        for entity in ("messages", "conversations")
        for action in ("insert", "update")
        for data in (b'{"id":"a"}', b'{"id":"b"}', b'{"id":"b","x":null}')
    }
    assert len(ids) == 12


def test_published_ids_stay_what_they_are() -> None:
    """Consumers deduplicate by these: a change of the recipe would double everything."""
    assert identity.event_id("messages", "insert", b'{"id":"a"}') == "cd2211e6-7162-54a7-80af-9eecdfaf63f3"
    assert identity.status_change_id("a", "read") == "bbb8434d-7e9c-53fe-a42f-cc6a5eba204c"


def test_a_change_with_its_conversation_and_without_are_two_events() -> None:
    told, untold = (identity.status_change_event_id("a", "read", conversation_known=known) for known in (True, False))
    assert (told, untold) == ("827f0798-b7e8-594c-a931-cc3875fa61fe", "a201532b-9727-51bc-bfee-a3ddce2d5410")
    assert len({told, untold, identity.status_change_id("a", "read")}) == 3


def test_no_two_status_changes_share_an_id() -> None:
    assert identity.status_change_id("b\nc", "a") != identity.status_change_id("c", "a\nb")
    assert identity.status_change_id("a", "b") != identity.status_change_id("b", "a")
