"""Which webhooks are missing or wrong, for every way in which a registration can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.sender.registrations import MOST_ROWS, Wanted, meant, plan, removal, strays

WANTED = Wanted("org", "messages", "https://bridge.example/webhooks", "a-token")


def row(row_id="1", **columns):
    return {"id": row_id, **WANTED.row(), **columns}


def test_what_is_missing_is_registered_with_everything():
    (step,) = plan([row(table_name="conversations")], WANTED).steps
    assert (step.row_id, step.columns) == (None, WANTED.row())
    assert WANTED.row()["operations"] == ["insert", "update"]


def test_what_is_right_stays():
    assert plan([row()], WANTED).steps == []


@pytest.mark.parametrize(
    ("columns", "repaired", "why"),
    [
        ({"operations": ["insert"]}, "operations", "update not registered: statuses and edits never arrive"),
        ({"operations": None}, "operations", "insert and update not registered: new rows never arrive"),
        ({"token": None}, "token", "no token: every webhook is answered 401 and lost"),
        ({"token": "another"}, "token", "another token than the one given"),
        ({"url": "https://bridge.example"}, "url", "its path is empty, not /webhooks: every webhook is answered 404"),
        ({"url": "https://bridge.example/hooks"}, "url", "its path is /hooks, not /webhooks"),
        ({"url": "http://bridge.example/webhooks"}, "url", "its address begins with http, not https"),
        ({"url": "https://bridge.example/webhooks "}, "url", "its address has white space in it: webhooks are lost"),
        ({"url": "\thttps://bridge.example/webhooks"}, "url", "its address has white space in it"),
        ({"url": "https://bridge.example /webhooks"}, "url", "its address has white space in it"),
        ({"url": "https://bridge.example/webhooks?v=1"}, "url", "its address has a user name, a query or a fragment"),
        ({"url": "https://me:it@bridge.example/webhooks"}, "url", "its address has a user name"),
        ({"url": "https://bridge.example/Webhooks"}, "url", "its path is /Webhooks, not /webhooks"),
        ({"url": "https://bridge.example/webhooks/"}, "url", "its address is another than the one given"),
        ({"token": " "}, "token", "no token: every webhook is answered 401 and lost"),
        ({"token": "a-token\n"}, "token", "its token has white space around it: every webhook is answered 401"),
        ({"token": "Bearer a-token"}, "token", 'its token begins with "Bearer", which OpenBSP adds itself'),
        ({"operations": ["INSERT", "UPDATE"]}, "operations", "insert and update not registered"),
    ],
)
def test_what_is_wrong_is_named_and_only_that_is_repaired(columns, repaired, why):
    (step,) = plan([row(**columns)], WANTED).steps
    assert step.row_id == "1"
    assert step.columns == {repaired: WANTED.row()[repaired]}
    assert why in step.why


@pytest.mark.parametrize(
    ("columns", "place"),
    [
        ({"url": "https://bridge.example:8443/webhooks", "token": "another"}, "bridge.example:8443"),
        ({"url": "http://bridge.example:443/webhooks"}, "bridge.example:443"),
        ({"url": "https://me:it@brigde.example/webhooks"}, "brigde.example"),
        ({"url": None}, "no address"),
    ],
)
def test_a_row_that_leads_elsewhere_and_perhaps_should_lead_here_is_named_and_stays(columns, place):
    (step,) = plan([row(**columns)], WANTED).steps
    assert (step.row_id, step.columns) == (None, WANTED.row())
    assert step.why == (
        f"no webhook is registered for bridge.example; one leads to {place}: if that is a mistake, delete it in OpenBSP"
    )


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("message", "messages"),
        ("public.messages", "messages"),
        ("Conversations", "conversations"),
        ("organizations_addresses", None),
        (None, None),
    ],
)
def test_another_spelling_of_a_table_is_recognised(name, table):
    assert meant(name, ["messages", "conversations"]) == table


def test_the_token_is_never_in_a_reason():
    steps = plan([row(token="the-secret-of-old"), row("2")], WANTED).steps
    assert not any(secret in step.why for step in steps for secret in ("the-secret-of-old", "a-token"))


def test_of_two_the_better_one_stays():
    steps = plan([row("1", token=None), row("2")], WANTED).steps
    assert [(step.row_id, step.columns) for step in steps] == [("1", None)]


def test_a_fourth_webhook_would_get_nothing():
    others = [row(str(number), url=f"https://other.example/{number}") for number in range(MOST_ROWS)]
    found = plan(others, WANTED)
    assert found.steps == []
    assert "OpenBSP calls only 3" in found.hindrances[0]
    assert plan([*others, row("mine")], WANTED).hindrances


def test_only_what_leads_here_is_removed():
    rows = [row("1"), row("2", url="https://bridge.example/old"), row("3", url="https://other.example/webhooks")]
    rows.append(row("4", url="https://bridge.example/of-another-team", token="of-another-team"))
    assert [step.row_id for step in removal(rows, WANTED)] == ["1", "2"]


rows = st.lists(
    st.fixed_dictionaries(
        {
            "url": st.sampled_from([WANTED.url, "https://bridge.example", "https://other.example/webhooks", "", None]),
            "operations": st.sampled_from([["insert"], ["update"], ["insert", "update"], ["delete"], [], None]),
            "token": st.sampled_from(["a-token", "x", "", None]),
            "table_name": st.sampled_from(["messages", "conversations"]),
        }
    ),
    max_size=6,
)


@given(rows)
def test_after_the_steps_a_second_run_has_nothing_to_do(rows):
    there = {str(number): {"id": str(number), "organization_id": "org", **each} for number, each in enumerate(rows)}
    first = plan(there.values(), WANTED)
    for step in first.steps:
        if step.columns is None:
            del there[step.row_id]
        else:
            there.setdefault(step.row_id or "new", {"id": step.row_id or "new"}).update(step.columns)
    second = plan(there.values(), WANTED)
    assert second.steps == []
    assert second.hindrances == first.hindrances


def test_a_receiver_behind_the_same_gateway_is_left_alone():
    (step,) = plan([row(url="https://bridge.example/of-another-team", token="of-another-team")], WANTED).steps
    assert step.row_id is None, "ours is added, theirs stays"


def test_a_row_of_a_table_that_the_bridge_refuses_is_a_stray_only_where_it_leads_here():
    elsewhere = [
        row("1", table_name="agents", url="https://bridge.example/", token="of-another-team"),
        row("2", table_name="agents", url="https://other.example/webhooks"),
        row("3", url="https://bridge.example/webhooks"),
    ]
    here = [
        row("4", table_name="agents", token="another"),
        row("5", table_name="agents", url="https://bridge.example/"),
        row("6", table_name="agents", url="http://bridge.example/webhooks/"),
    ]
    assert strays([*elsewhere, *here], WANTED, ["messages"]) == here


@pytest.mark.parametrize(
    "url", ["https://[bridge", "https://bridge.example:port/webhooks", "https://bridge.example:99999/webhooks", "//", 7]
)
def test_an_address_that_is_none_is_somebody_elses(url):
    (step,) = plan([row(url=url, token="of-another-team")], WANTED).steps
    assert step.row_id is None
    assert removal([row(url=url)], WANTED) == strays([row(url=url)], WANTED, []) == []


@pytest.mark.parametrize("url", ["https://Bridge.Example/webhooks", "https://bridge.example:443/webhooks"])
def test_another_spelling_of_the_same_host_is_no_other_host(url):
    assert [step.row_id for step in plan([row(url=url)], WANTED).steps] == ["1"]
    assert [step.row_id for step in removal([row(url=url)], WANTED)] == ["1"]


@pytest.mark.parametrize(
    ("operations", "repaired"),
    [
        (["insert", "update", "delete"], None),
        (["update", "insert"], None),
        (["delete", "insert"], ["delete", "insert", "update"]),
        (["DELETE", "Insert", "update"], ["DELETE", "insert", "update"]),
        ("insert", ["insert", "update"]),
    ],
)
def test_other_operations_stay_registered_when_something_is_repaired(operations, repaired):
    (step,) = plan([row(operations=operations, token=None)], WANTED).steps
    assert step.columns.get("operations") == repaired
    assert step.columns["token"] == WANTED.token
