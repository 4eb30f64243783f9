"""A token that is bound to organizations sees their rows and no others."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from avro import instants
from streams.settings import StreamsSettings
from streams.state import conversation
from streams.state.conversation import ConversationFacts, Tally
from streams.views.app import create_app

TOKENS = "all=token-for-everything,own=token-for-one-only@org-1"


class Tables:
    """Tables with a conversation and a message for each organization; `none` is not known yet."""

    ready = True

    def message(self, message_id: str) -> dict[str, Any] | None:
        return {"id": message_id, "status": {}, "extra": {}, "nulls": []} | self._organization(message_id)

    def conversation(self, conversation_id: str) -> dict[str, Any]:
        organization = self._organization(conversation_id)
        facts = ConversationFacts({name: (1, value) for name, value in organization.items()}) if organization else None
        return conversation.state(conversation_id, facts, Tally(), None)

    def messages(self, _: str) -> list[Any]:
        return []

    def _organization(self, key: str) -> dict[str, Any]:
        return {} if key == "none" else {"organization_id": key, "created_at": instants.now()}


@pytest.fixture
def client() -> TestClient:
    return TestClient(create_app(StreamsSettings(tokens=TOKENS, store="memory"), Tables()))


@pytest.mark.parametrize("path", ["/messages/{}", "/conversations/{}", "/conversations/{}/messages"])
def test_other_organizations_do_not_exist_for_a_bound_token(client: TestClient, path: str) -> None:
    def status(key: str, token: str) -> int:
        return client.get(path.format(key), headers={"Authorization": f"Bearer {token}"}).status_code

    assert [status(key, "token-for-everything") for key in ("org-1", "org-2", "none")] == [200, 200, 200]
    assert [status(key, "token-for-one-only") for key in ("org-1", "org-2", "none")] == [200, 404, 404]
    assert [status(key, "token-that-is-wrong") for key in ("org-1", "org-2", "none")] == [401, 401, 401]
