"""Rows as events hold them: what consumers find where, and the row that can be rebuilt from it."""

from hashlib import sha256
from typing import Any

import pytest

from avro.columns import ENTITIES
from avro.rows import id_of, ids_of, to_fields, to_row

MESSAGES = ENTITIES["messages"]
SECOND = 1_778_038_763_000_000


def fields_of(**columns: Any) -> dict[str, Any]:
    return to_fields(MESSAGES, {"id": "m", **columns})


@pytest.mark.parametrize("text", ["2026-05-06T03:39:23.1234567Z", "2026-05-06T03:39:23.123456789+00:00"])
def test_an_instant_with_more_than_microseconds_has_its_field_and_its_text_beside_it(text: str) -> None:
    fields = fields_of(updated_at=text, status={"sent": text})
    assert (fields["updated_at"], fields["extra"]) == (SECOND + 123_456, {"updated_at": f'"{text}"'})
    assert (fields["status"], fields["status_extra"]) == ({"sent": SECOND + 123_456}, {"sent": f'"{text}"'})
    assert to_row(MESSAGES, fields) == {"id": "m", "updated_at": text, "status": {"sent": text}}


@pytest.mark.parametrize("text", ["2026-05-06 03:39:23+00", "20260506T033923Z", "Wed, 06 May 2026 03:39:23 GMT"])
def test_an_instant_of_an_odd_spelling_comes_back_in_the_usual_one(text: str) -> None:
    fields = fields_of(updated_at=text, status={"sent": text})
    assert (fields["updated_at"], fields["extra"]) == (SECOND, {})
    assert (fields["status"], fields["status_extra"]) == ({"sent": SECOND}, {})
    usual = "2026-05-06T03:39:23+00:00"
    assert to_row(MESSAGES, fields) == {"id": "m", "updated_at": usual, "status": {"sent": usual}}


@pytest.mark.parametrize("value", ["just now", "2026-05-06T03:39:23", 1_778_038_763, 1_778_038_763_000, True, {}, []])
def test_a_status_without_an_instant_is_present_beside_the_rows_updated_at(value: Any) -> None:
    row = {"id": "m", "status": {"read": value}, "updated_at": "2026-05-06T03:39:23+00:00"}
    fields = to_fields(MESSAGES, row)
    assert (fields["status"], fields["status_extra"].keys()) == ({}, {"read"})
    assert fields["status_extra"]["read"] != "null"
    assert fields["updated_at"] == SECOND
    assert to_row(MESSAGES, fields) == row


def test_a_status_that_is_taken_back_is_told_as_null() -> None:
    fields = fields_of(status={"read": None})
    assert (fields["status"], fields["status_extra"]) == ({}, {"read": "null"})
    assert to_row(MESSAGES, fields) == {"id": "m", "status": {"read": None}}


@pytest.mark.parametrize(
    ("errors", "kept"),
    [
        ([{"code": 131047, "title": "Re-engagement message"}], ['{"code":131047,"title":"Re-engagement message"}']),
        (["media download failed", "again"], ['"media download failed"', '"again"']),
        ([None], ["null"]),
        ([None, {"code": 1}], ["null", '{"code":1}']),
        ([], []),
    ],
)
def test_errors_that_are_a_list_are_texts_of_its_members(errors: Any, kept: list[str]) -> None:
    fields = fields_of(status={"errors": errors})
    assert (fields["errors"], fields["status_extra"]) == (kept, {})
    assert to_row(MESSAGES, fields) == {"id": "m", "status": {"errors": errors}}


@pytest.mark.parametrize(("errors", "text"), [(None, "null"), ("failed", '"failed"'), ({"code": 1}, '{"code":1}')])
def test_errors_that_are_no_list_are_a_member_without_an_instant(errors: Any, text: str) -> None:
    fields = fields_of(status={"errors": errors, "error": "404"})
    assert "errors" not in fields
    assert fields["status_extra"] == {"errors": text, "error": '"404"'}
    assert to_row(MESSAGES, fields) == {"id": "m", "status": {"errors": errors, "error": "404"}}


def test_a_row_without_an_id_gets_one_from_which_only_its_organization_can_be_read() -> None:
    entity = ENTITIES["contacts_addresses"]
    row = {"organization_id": "o", "service": "whatsapp", "address": "+100", "extra": {"name": "Ana"}}
    fields = to_fields(entity, row)
    assert fields["id"] == "o:" + sha256(b'["o","whatsapp","+100"]').hexdigest()
    assert to_row(entity, fields) == row
    assert len({id_of(entity, {**row, name: "x"}) for name in row}) == 4

    deleted = ids_of(entity, row)
    assert deleted == {"id": fields["id"], "organization_id": "o"}
    of_it = to_fields(entity, deleted)
    assert (of_it["id"], of_it["extra"], to_row(entity, of_it)) == (fields["id"], {}, deleted)
    for other in ({"organization_id": "p"}, {"organization_id": None}, {"id": "o:short"}, {"service": "whatsapp"}):
        assert id_of(entity, {**deleted, **other}) is None, other
