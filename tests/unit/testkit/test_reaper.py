"""Ryuk is used where its image can be had, and never in the way where it cannot."""

import docker
import pytest
from testcontainers.core.config import testcontainers_config

from openbsp_testkit.reaper import obstacle_to_ryuk


class Images:
    """An engine's images and its way to a registry."""

    def __init__(self, *, there: bool, pullable: bool) -> None:
        self.pulled: list[str] = []
        self._there = there
        self._pullable = pullable

    def get(self, name: str) -> None:
        if not self._there:
            raise docker.errors.ImageNotFound(name)

    def pull(self, name: str) -> None:
        if not self._pullable:
            raise docker.errors.APIError("no such host")
        self.pulled.append(name)


class Client:
    def __init__(self, images: Images) -> None:
        self.images = images
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("there", "pullable", "disabled", "pulls"),
    [(True, False, False, 0), (False, True, False, 1), (False, False, True, 0)],
)
def test_ryuk_is_used_where_its_image_can_be_had(monkeypatch, there, pullable, disabled, pulls):
    client = Client(Images(there=there, pullable=pullable))
    monkeypatch.setattr(docker, "from_env", lambda: client)
    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", False)
    obstacle = obstacle_to_ryuk()
    assert (obstacle is not None) is disabled
    assert testcontainers_config.ryuk_disabled is disabled
    assert len(client.images.pulled) == pulls
    assert client.closed


def test_nothing_is_asked_where_ryuk_is_switched_off(monkeypatch):
    monkeypatch.setattr(docker, "from_env", lambda: pytest.fail("asked"))
    monkeypatch.setattr(testcontainers_config, "_ryuk_disabled", True)
    assert "switched off" in obstacle_to_ryuk()
