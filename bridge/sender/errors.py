"""What can go wrong with OpenBSP's REST API."""


class PlatformError(Exception):
    """OpenBSP's API did not answer, or refused. The message says what to do; it quotes no key and no row."""


class PlatformBusyError(PlatformError):
    """The request may succeed later: a time-out, too many requests, a fault of the server.

    `after_s` is how long the server asks to wait, None if it does not say.
    """

    def __init__(self, text: str, after_s: float | None = None) -> None:
        super().__init__(text)
        self.after_s = after_s


class AnswerTooLargeError(PlatformError):
    """An answer that would not fit into memory: ask for fewer rows."""


class UnfitValueError(PlatformError):
    """A requested value that the column cannot have, such as an id that is no UUID."""
