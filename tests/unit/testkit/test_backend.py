"""Which kind of stack tests get: the wanted one or none, and without a wish containers where they can run."""

import pytest

from openbsp_testkit.backend import Backend, choose
from openbsp_testkit.errors import BackendError, OptionError
from openbsp_testkit.options import Options

NO_ENGINE = "no Docker engine answers"


def no_obstacle(_: Options) -> str | None:
    return None


def no_engine(_: Options) -> str | None:
    return NO_ENGINE


def must_not_look(_: Options) -> str | None:
    raise AssertionError("nobody asked for Docker")


def test_containers_where_they_can_run():
    assert choose(Options(), no_obstacle).backend is Backend.CONTAINERS


def test_processes_where_containers_cannot_run_and_why():
    choice = choose(Options(), no_engine)
    assert choice.backend is Backend.LOCAL
    assert str(choice) == f"local ({NO_ENGINE})"


def test_processes_if_they_are_wanted_without_a_look_at_docker():
    assert choose(Options(backend="local"), must_not_look).backend is Backend.LOCAL


def test_containers_that_are_wanted_are_never_replaced():
    wanted = Options(backend="containers")
    assert choose(wanted, no_obstacle).backend is Backend.CONTAINERS
    with pytest.raises(BackendError, match=NO_ENGINE):
        choose(wanted, no_engine)


def test_an_unknown_wish_is_an_error():
    with pytest.raises(OptionError, match="podman"):
        choose(Options(backend="podman"), no_obstacle)
