"""The tokens of variables and file that were usable last; a changed file is read once it has come to rest."""

from openbsp.errors import TokensError
from openbsp.http.settings import ServiceSettings
from openbsp.http.tokens import TokenSet

_FileState = tuple[int, int, int] | None


class TokenSource:
    """Reads the tokens, and notices that their file has changed. `current` are those that were usable last.

    Trap: a file that is being written can be usable and too short. It is read again only when two looks in a row find
    it the same. Whoever replaces it by a rename is safe even from a writer that pauses for longer than that.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        """Read the tokens. Raises TokensError."""
        self._settings = settings
        self._read = self._seen = self._file_state()
        self.current = settings.token_set()
        #: Why the file, as it is now, could not be used; None if it could.
        self.fault: TokensError | None = None

    def settled(self) -> bool:
        """Look at the file. Returns whether it is another than was read, and the same as at the last look."""
        state = self._file_state()
        at_rest = state == self._seen
        self._seen = state
        return at_rest and state != self._read

    def reload(self) -> None:
        """Read the tokens again. Raises TokensError if they cannot be used: the former ones stay."""
        self._read = self._file_state()
        try:
            self.current = self._usable()
        except TokensError as error:
            self.fault = error
            raise
        self.fault = None

    def _usable(self) -> TokenSet:
        tokens = self._settings.token_set()
        if self._file_state() != self._read:
            raise TokensError([f"{self._settings.tokens_file}: written while it was read"])
        return tokens

    def _file_state(self) -> _FileState:
        """Identify the content as far as that goes without reading it. None: no file, or none that can be read."""
        if self._settings.tokens_file is None:
            return None
        try:
            status = self._settings.tokens_file.stat()
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size)
