"""The stand-in of a whole OpenBSP tells those who have registered, and nobody else."""

import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from openbsp_testkit.postgrest import Postgrest, Refusal, running_postgrest
from openbsp_testkit.rows import Organization
from openbsp_testkit.stand_in import ORGANIZATION, StandIn, history, main


@pytest.fixture
def receiver() -> Iterator[ThreadingHTTPServer]:
    """Run what takes webhooks; `bodies` has what came."""
    bodies: list[tuple[str | None, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append((self.headers["Authorization"], body))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.bodies = bodies  # type: ignore[attr-defined] # for the test alone
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def platform() -> Iterator[Postgrest]:
    with running_postgrest("messages", "conversations") as server:
        yield server


def test_each_row_goes_to_those_who_registered_for_its_table_and_action(platform, receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    url = f"http://127.0.0.1:{receiver.server_port}/webhooks"
    own = {"organization_id": ORGANIZATION, "url": url, "operations": ["insert"]}
    platform.put("webhooks", **own, table_name="messages", token="a-token")
    platform.put("webhooks", **{**own, "organization_id": "another"}, table_name="conversations", token="x")
    stand_in = StandIn(platform)
    told = [stand_in.happen(webhook) for webhook in itertools.islice(history(Organization()), 11)]
    assert [answers for answers in told if answers] == [[f"insert of messages to {url}: 202"]] * 4
    for authorization, body in receiver.bodies:
        assert authorization == "Bearer a-token"
        assert (body["entity"], body["action"]) == ("messages", "insert")
        assert body["data"]["organization_id"] == ORGANIZATION
    assert len(platform.rows("messages")) == 4
    assert len(platform.rows("conversations")) == 1


def test_a_receiver_that_does_not_answer_is_named_and_is_no_end(platform):
    row = {"organization_id": ORGANIZATION, "table_name": "conversations", "operations": ["insert"]}
    platform.put("webhooks", **row, url="http://127.0.0.1:1/webhooks")
    (answer,) = StandIn(platform).happen(next(history(Organization())))
    assert "refused" in answer


def test_an_address_is_its_own_key_and_has_no_id():
    with running_postgrest("contacts_addresses") as platform:
        for name in ("Ana", "Eva"):
            row = {"organization_id": "o", "service": "whatsapp", "address": "+1", "extra": {"name": name}}
            assert "id" not in platform.put("contacts_addresses", **row)
        assert platform.rows("contacts_addresses") == [row]
        query = [("organization_id", "eq.o"), ("address", "eq.+1")]
        assert platform.select("contacts_addresses", query)[1] == 1
        platform.change("contacts_addresses", query, None)
        assert platform.rows("contacts_addresses") == []


def test_it_refuses_what_postgrest_refuses():
    """A column that a table does not have; a text that is no UUID, where ids are such."""
    with running_postgrest("messages", "contacts_addresses") as platform:
        platform.put("contacts_addresses", organization_id="o", service="whatsapp", address="+1")
        for query in ([("id", "eq.1")], [("order", "updated_at.desc,id.desc")], [("select", "id")]):
            with pytest.raises(Refusal, match="column id does not exist"):
                platform.select("contacts_addresses", query)
        platform.uuids = True
        key = "0a000000-0000-0000-0000-00000000000b"
        platform.put("messages", id=key, organization_id=key)
        assert platform.select("messages", [("id", f"in.({key.upper()})")])[1] == 1
        for query in ([("id", f'in.("{key}","m1")')], [("or", "(organization_id.eq.acme,id.is.null)")]):
            with pytest.raises(Refusal, match="invalid input syntax for type uuid"):
                platform.select("messages", query)


def test_nulls_are_ordered_as_postgresql_orders_them():
    with running_postgrest("messages") as platform:
        for key, stamp in (("a", None), ("b", "2026-05-01T00:00:00Z"), ("c", "2026-05-02T00:00:00Z")):
            platform.put("messages", id=key, updated_at=stamp)
        for order, ids in (("asc", "bca"), ("desc", "acb"), ("desc.nullslast", "cba"), ("asc.nullsfirst", "abc")):
            found, _ = platform.select("messages", [("order", f"updated_at.{order}"), ("select", "id")])
            assert "".join(json.loads(text)["id"] for text in found) == ids


@pytest.mark.parametrize("port", [None, 70000])
def test_a_port_that_cannot_be_had_is_a_sentence(receiver, monkeypatch, capsys, port):
    port = receiver.server_port if port is None else port
    monkeypatch.setattr("sys.argv", ["stand_in", "--port", str(port)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"port {port} of 127.0.0.1 cannot be had: ")
