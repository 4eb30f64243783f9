"""Whose rows are of a suppressed contact, and what the list gives away."""

import pytest

from bridge.suppressions.hashes import NOBODY, Contact, Suppressed, key_id, row_hash

KEY = b"a key of the deployment, 32 bytes or more"
ROW = {"contact_address": "+100", "service": "whatsapp", "organization_id": "o1"}


def suppressed(*contacts: Contact) -> Suppressed:
    found = Suppressed(KEY)
    found.take({contact.hash(KEY): "" for contact in contacts})
    return found


@pytest.mark.parametrize(
    "contact",
    [
        Contact("+100"),
        Contact("+100", "whatsapp"),
        Contact("+100", None, "o1"),
        Contact("+100", "whatsapp", "o1"),
    ],
)
def test_an_entry_is_of_one_service_and_organization_or_of_any(contact):
    assert suppressed(contact).has("messages", ROW)
    assert not suppressed(contact).has("messages", {**ROW, "contact_address": "+200"})
    assert suppressed(contact).has("messages", {**ROW, "service": "instagram"}) is (contact.service is None)
    assert suppressed(contact).has("messages", {**ROW, "organization_id": "o2"}) is (contact.organization_id is None)


def test_a_row_that_names_less_fits_only_entries_that_name_no_more():
    assert suppressed(Contact("+100")).has("messages", {"contact_address": "+100"})
    assert not suppressed(Contact("+100", "whatsapp")).has("messages", {"contact_address": "+100"})
    for address in (None, "", 100, ["+100"]):
        assert not suppressed(Contact("+100")).has("messages", {"contact_address": address})


def test_an_address_has_its_own_column_and_a_contact_nothing_but_its_id():
    found = suppressed(Contact("+100"))
    assert found.has("contacts_addresses", {"address": "+100", "contact_address": "+200"})
    assert not found.has("contacts_addresses", {"address": "+200", "contact_address": "+100"})
    found.take({row_hash(KEY, "k1", None): ""})
    assert found.has("contacts", {"id": "k1"})
    assert not found.has("contacts", {"id": "k2", "contact_address": "+100", "address": "+100"})
    assert not found.has("messages", {"id": "k1"})
    others = {Contact("k1").hash(KEY), Contact("contacts", "k1").hash(KEY), row_hash(KEY, "k1", "o1")}
    assert len({row_hash(KEY, "k1", None), *others}) == 4


def test_a_contact_that_another_organization_has_under_the_same_id_is_not_suppressed():
    found = Suppressed(KEY)
    found.take({row_hash(KEY, "k1", of): "" for of in ("o1", None)})
    assert found.has("contacts", {"id": "k1", "organization_id": "o1"})
    assert not found.has("contacts", {"id": "k1", "organization_id": "o2"})
    for of in (None, 7, []):
        assert found.has("contacts", {"id": "k1", "organization_id": of}), "whose it is is not known"


def test_what_is_lifted_comes_in_again():
    found = suppressed(Contact("+100"), Contact("+200"))
    assert (len(found), found.active) == (2, True)
    found.take({Contact("+100").hash(KEY): None})
    assert not found.has("messages", ROW)
    assert found.active
    found.take({Contact("+200").hash(KEY): None, "never there": None})
    assert (len(found), found.active) == (0, False)


def test_without_the_key_nobody_can_try_addresses():
    assert Contact("+100").hash(KEY) != Contact("+100").hash(KEY + b"x")
    assert len({Contact("a", "b", None).hash(KEY), Contact("a", None, "b").hash(KEY), Contact("ab").hash(KEY)}) == 3


def test_entries_of_another_key_are_counted_until_they_are_lifted():
    found = Suppressed(KEY)
    found.take({"mine": key_id(KEY), "of a former version": "", "another's": key_id(KEY + b"x")})
    assert (len(found), found.void) == (3, 1)
    found.take({"another's": None})
    assert found.void == 0
    assert len(key_id(KEY)) == 16
    assert key_id(KEY) not in KEY.decode()


def test_without_a_key_the_list_is_known_and_empty():
    assert NOBODY.known
    assert not NOBODY.active
    assert not Suppressed(KEY).known
