"""Errors before a test begins, and in the fixtures.

TestkitError +-- OptionError         a setting of the test kit has an invalid value +-- BackendError        the wanted
kind of stack cannot be started here +-- ServicesError       the distribution of the services cannot be found or
installed +-- StartError          a process or a container of the stack does not get ready +-- MissingPackageError a
package is not installed that this part of the kit needs +-- UnknownTopicError   there is no topic of that name +--
NotAcceptedError    the bridge did not accept a webhook
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class TestkitError(Exception):
    """Any error of the test kit."""

    __test__ = False  # not a test class, despite its name


class OptionError(TestkitError):
    """A setting of the test kit has an invalid value."""


class BackendError(TestkitError):
    """The wanted kind of stack cannot be started here; the text says why."""


class ServicesError(TestkitError):
    """The distribution of the services cannot be found or installed; the text says why and what to set."""


class StartError(TestkitError):
    """A process or a container of the stack does not get ready. `log` is the end of what it wrote."""

    def __init__(self, name: str, reason: str, log: str) -> None:
        super().__init__(f"{name} {reason}:\n{log}")
        self.name = name
        self.log = log


class MissingPackageError(TestkitError):
    """A package is not installed that this part of the kit needs."""

    def __init__(self, part: str, package: str, extra: str) -> None:
        super().__init__(f"{part} needs {package}, which is not installed: pip install 'openbsp-testkit[{extra}]'")


class UnknownTopicError(TestkitError):
    """There is no topic of that name; the text says which ones there are."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(f"there is no topic {name!r}; the topics are {', '.join(sorted(known))}")
        self.name = name


class NotAcceptedError(TestkitError):
    """The bridge did not accept a webhook. `status` is None when there was no answer in the sender's 5 s."""

    def __init__(self, status: int | None, answer: str) -> None:
        super().__init__(f"{status or 'no answer'}: {answer}")
        self.status = status
        self.answer = answer
