"""Which kind of stack tests get: the wanted one or none, and without a wish containers where they can run."""

import pytest

from bridge.testkit.backend import Backend, choose
from bridge.testkit.errors import BackendError

NO_ENGINE = "no Docker engine answers"


def no_obstacle() -> str | None:
    return None


def no_engine() -> str | None:
    return NO_ENGINE


def must_not_look() -> str | None:
    raise AssertionError("nobody asked for Docker")


def test_containers_where_they_can_run():
    assert choose({}, no_obstacle).backend is Backend.CONTAINERS


def test_processes_where_containers_cannot_run_and_why():
    choice = choose({}, no_engine)
    assert choice.backend is Backend.LOCAL
    assert str(choice) == f"local ({NO_ENGINE})"


def test_processes_if_they_are_wanted_without_a_look_at_docker():
    assert choose({"BRIDGE_TEST_BACKEND": "local"}, must_not_look).backend is Backend.LOCAL


def test_containers_that_are_wanted_are_never_replaced():
    wanted = {"BRIDGE_TEST_BACKEND": "containers"}
    assert choose(wanted, no_obstacle).backend is Backend.CONTAINERS
    with pytest.raises(BackendError, match=NO_ENGINE):
        choose(wanted, no_engine)


def test_an_unknown_wish_is_an_error():
    with pytest.raises(BackendError, match="podman"):
        choose({"BRIDGE_TEST_BACKEND": "podman"}, no_obstacle)
