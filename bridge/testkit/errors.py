"""What can go wrong before a test begins.

TestkitError
+-- BackendError      the wanted kind of stack cannot be started here
+-- StartError        a container does not get ready
+-- NotAcceptedError  the bridge did not take a webhook
"""


class TestkitError(Exception):
    """Any error of the test kit."""

    __test__ = False  # no class of tests, whatever its name begins with


class BackendError(TestkitError):
    """The wanted kind of stack cannot be started here; the text says why."""


class StartError(TestkitError):
    """A container does not get ready. `log` is the end of what it wrote."""

    def __init__(self, image: str, reason: str, log: str) -> None:
        super().__init__(f"{image} {reason}:\n{log}")
        self.image = image
        self.log = log


class NotAcceptedError(TestkitError):
    """The bridge did not take a webhook. `status` is None when there was no answer in the sender's 5 s."""

    def __init__(self, status: int | None, answer: str) -> None:
        super().__init__(f"{status or 'no answer'}: {answer}")
        self.status = status
        self.answer = answer
