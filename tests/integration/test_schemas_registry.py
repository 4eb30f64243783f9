"""The schemas in a real registry: registered at deploy, only read at run time, incompatible ones refused."""

import json
from typing import Any

import httpx
import pytest

import openbsp.kafka.registry
from avro.catalogue import TOPICS, subject
from avro.compatibility import COMPATIBILITY
from avro.errors import SchemasError
from avro.schemas import Schema, latest, records, versions
from openbsp.errors import RegistryError
from openbsp.kafka.connection import RegistrySettings
from openbsp.kafka.registry import Registry

pytestmark = pytest.mark.integration

SUBJECTS = {topic.schema: topic.name for topic in TOPICS.values() if topic.schema}


@pytest.fixture
def registry(bare_contract):
    with Registry(bare_contract.registry, bare_contract.prefix) as opened:
        yield opened


@pytest.fixture
def http(bare_contract):
    """Talk to the registry as somebody else does."""
    with httpx.Client(base_url=bare_contract.registry.url, timeout=10, trust_env=False) as client:
        yield client


def put(http, name: str, schema: Any) -> httpx.Response:
    return http.post(f"/subjects/{name}/versions", json={"schema": json.dumps(schema), "schemaType": "AVRO"})


def again(bare_contract) -> Registry:
    """Return a second client, which has nothing in its cache."""
    return Registry(bare_contract.registry, bare_contract.prefix)


def test_registering_twice_gives_the_same_ids_and_sets_the_compatibility_of_each_subject(bare_contract, registry, http):
    first = registry.register()
    with again(bare_contract) as other:
        assert other.register() == first
    assert {(done.record, done.version) for done in first} == {
        (record, schema.version) for record in records() for schema in versions(record)
    }
    for done in first:
        assert done.subject == subject(bare_contract.prefix, SUBJECTS[done.record])
        assert http.get(f"/config/{done.subject}").json() == {"compatibilityLevel": COMPATIBILITY}
        assert http.get(f"/subjects/{done.subject}/versions").json() == list(range(1, len(versions(done.record)) + 1))


def test_the_ids_and_texts_are_found_by_reading_alone(bare_contract, registry):
    newest = {done.record: done.schema_id for done in registry.register()}
    with again(bare_contract) as reader:
        assert reader.ids() == newest
        for record, schema_id in newest.items():
            assert json.loads(reader.text(schema_id)) == json.loads(latest(record).text)


def test_run_time_writes_nothing(bare_contract, registry, http):
    """`ids`, `text` and `check` work with a registry that lets this client only read, and leave no subject behind."""
    with pytest.raises(RegistryError) as missing:
        registry.ids()
    assert missing.value.refused
    assert "bridge schemas register" in str(missing.value)
    registry.check()
    assert not [name for name in http.get("/subjects").json() if name.startswith(bare_contract.prefix)]


def test_an_unknown_id_is_refused_not_unavailable(registry):
    with pytest.raises(RegistryError) as refused:
        registry.text(2_000_000_000)
    assert refused.value.refused


def test_a_registry_that_is_not_there_is_not_a_refusal(unused_registry):
    with Registry(unused_registry, "x.") as nowhere:
        for ask in (nowhere.register, nowhere.ids, nowhere.check, lambda: nowhere.text(1)):
            with pytest.raises(RegistryError) as failed:
                ask()
            assert not failed.value.refused
            assert unused_registry.url in str(failed.value)


@pytest.fixture
def unused_registry():
    # Port 9 is `discard`: below the ports that anything of ours takes.
    return RegistrySettings(url="http://127.0.0.1:9", timeout_s=2)


def test_a_subject_that_holds_something_else_refuses_with_the_registrys_reason(bare_contract, registry, http):
    name = subject(bare_contract.prefix, "status-changes")
    foreign = {
        "type": "record",
        "name": "StatusChange",
        "namespace": "openbsp",
        "fields": [{"name": "x", "type": "int"}],
    }
    assert put(http, name, foreign).is_success
    with pytest.raises(SchemasError, match="x: absent and without a default"):
        registry.check()
    with pytest.raises(RegistryError, match="ncompatible") as refused:
        registry.register()
    assert refused.value.refused
    assert name in str(refused.value)


def test_a_compatibility_that_somebody_relaxed_is_named_and_set_again(bare_contract, registry, http):
    registry.register()
    name = subject(bare_contract.prefix, "messages")
    assert http.put(f"/config/{name}", json={"compatibility": "NONE"}).is_success
    with pytest.raises(SchemasError) as found:
        registry.check()
    assert found.value.faults == [f"{name}: compatibility is NONE, the contract: {COMPATIBILITY}"]
    with again(bare_contract) as other:
        other.register()
    registry.check()


def changed(edit) -> Schema:
    read = json.loads(latest("StatusChange").text)
    edit(read)
    return Schema("StatusChange", latest("StatusChange").version + 1, json.dumps(read))


def with_version(monkeypatch: pytest.MonkeyPatch, schema: Schema) -> None:
    """Let the installation have one more version of a record."""
    monkeypatch.setattr(
        openbsp.kafka.registry,
        "versions",
        lambda record: (*versions(record), schema) if record == schema.record else versions(record),
    )


def test_a_compatible_next_version_is_accepted_and_gets_its_own_id(bare_contract, registry, monkeypatch):
    first = registry.register()
    with_version(
        monkeypatch,
        changed(lambda s: s["fields"].append({"name": "channel", "type": ["null", "string"], "default": None})),
    )
    with again(bare_contract) as other:
        other.check()
        second = other.register()
    assert set(first) < set(second)
    assert len({done.schema_id for done in second}) == len(second)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda s: s["fields"].pop(0), "id: absent and without a default"),
        (lambda s: s["fields"].append({"name": "channel", "type": "string"}), "channel: absent and without a default"),
        (lambda s: s["fields"][0].update(type="long"), "id: string is not long"),
        (lambda s: s["fields"][3].update(type="string", default=""), "organization_id: null is not string"),
    ],
    ids=["a field goes", "a field comes", "a type changes", "null goes"],
)
def test_a_breaking_next_version_is_refused_by_the_registry_too(bare_contract, registry, monkeypatch, edit, reason):
    registry.register()
    with_version(monkeypatch, changed(edit))
    with again(bare_contract) as other:
        with pytest.raises(SchemasError, match=reason):
            other.check()
        with pytest.raises(RegistryError, match=r"(?i)incompatible") as refused:
            other.register()
    assert refused.value.refused
