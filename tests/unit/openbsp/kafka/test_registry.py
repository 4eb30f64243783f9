"""What a registry's answer means: no, or not now."""

from types import SimpleNamespace

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from openbsp.errors import RegistryError
from openbsp.kafka.connection import RegistrySettings
from openbsp.kafka.registry import Registry


def failure(monkeypatch: pytest.MonkeyPatch, status: int, code: int | None = None) -> RegistryError:
    """Return what becomes of an answer with this status, and with an error code of the registry's."""

    def answer(*_: object) -> None:
        raise SchemaRegistryError(status, status * 100 + 1 if code is None else code, "the registry's reason")

    monkeypatch.setattr(SchemaRegistryClient, "get_schema", answer)
    with Registry(RegistrySettings(), "") as registry, pytest.raises(RegistryError, match="the registry's reason") as e:
        registry.text(1)
    return e.value


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "SCHEMA_REGISTRY_PASSWORD"), (403, "the right"), (408, "later"), (429, "later")]
)
def test_a_registry_that_does_not_let_one_ask_has_refused_nothing_and_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, status: int, hint: str
):
    error = failure(monkeypatch, status)
    assert (error.refused, error.absent) == (False, False)
    assert hint in str(error)


@pytest.mark.parametrize("status", [301, 500, 503])
def test_a_registry_that_fails_has_refused_nothing(monkeypatch: pytest.MonkeyPatch, status: int):
    assert not failure(monkeypatch, status).refused


@pytest.mark.parametrize(("status", "code"), [(400, 40001), (404, 40403), (409, 409), (422, 42201)])
def test_only_what_is_not_found_is_absent(monkeypatch: pytest.MonkeyPatch, status: int, code: int):
    error = failure(monkeypatch, status, code)
    assert (error.refused, error.absent) == (True, status == 404)


@pytest.mark.parametrize("code", [-1, 0, 404, 40401, 40402, 40499])
def test_a_404_without_the_registrys_own_code_for_what_was_asked_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, code: int
):
    """A proxy answers it, a wrong path; or the code is about something else than a schema id."""
    error = failure(monkeypatch, 404, code)
    assert (error.refused, error.absent) == (False, False)
    assert "SCHEMA_REGISTRY_URL" in str(error)


def test_its_patience_is_more_than_all_its_requests_may_take(monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []

    def answer(_: object, *arguments: object) -> SimpleNamespace:
        asked.append(arguments)
        return SimpleNamespace(schema_id=len(asked), schema_str="{}")

    monkeypatch.setattr(SchemaRegistryClient, "lookup_schema", answer)
    monkeypatch.setattr(SchemaRegistryClient, "get_schema", answer)
    settings = RegistrySettings(url="http://127.0.0.1:1,http://127.0.0.1:2", timeout_s=60)
    with Registry(settings, "") as registry, pytest.raises(RegistryError, match="contradicts itself"):
        registry.ids()
    # Of each, connecting, sending and receiving may take as long, at either address.
    assert registry.patience_s > len(asked) * 2 * 3 * 60 > 0
