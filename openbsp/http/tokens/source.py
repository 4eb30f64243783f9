"""The latest usable tokens of variables and file; a changed file is read once it has settled."""

from openbsp.errors import TokensError
from openbsp.http.tokens.settings import TokenSettings
from openbsp.http.tokens.token_set import TokenSet, parse_file

_FileState = tuple[int, int, int] | None


class TokenSource:
    """Reads the tokens, and detects changes of their file. `current` are the latest usable ones.

    Trap: a half-written file can be valid and incomplete. It is reloaded only when two checks in a row find it the
    same. Replacing it by a rename is safe even for a writer that pauses for longer. A last line that a full disk has
    cut off may admit its token for more organizations: of a file that ended with a line feed before, one without is
    used only if its token is known.
    """

    def __init__(self, settings: TokenSettings) -> None:
        """Read the tokens. Raises TokensError."""
        self._settings = settings
        self._read = self._seen = self._file_state()
        self.current = settings.token_set()
        self._ended = self._last_line().endswith("\n")
        #: Why the file, as it is now, is unusable; None if it is usable.
        self.fault: TokensError | None = None

    def settled(self) -> bool:
        """Check the file. Returns whether it differs from the one read, and is the same as at the last check."""
        state = self._file_state()
        at_rest = state == self._seen
        self._seen = state
        return at_rest and state != self._read

    def reload(self) -> None:
        """Reload the tokens. Raises TokensError if they are unusable: the former ones stay."""
        self._read = self._file_state()
        try:
            self.current = self._usable()
        except TokensError as error:
            self.fault = error
            raise
        self.fault = None

    def _usable(self) -> TokenSet:
        tokens, last = self._settings.token_set(), self._last_line()
        if self._file_state() != self._read:
            raise TokensError([f"{self._settings.tokens_file}: written while it was read"])
        ended = last.endswith("\n")
        if self._ended and not ended and any(token not in self.current for token in parse_file(last)):
            raise TokensError([f"{self._settings.tokens_file}: its last line lacks its line feed: was it cut off?"])
        self._ended = ended
        return tokens

    def _last_line(self) -> str:
        """Return the last line of the file; nothing of an empty one, of none, and of one that cannot be read."""
        if self._settings.tokens_file is None:
            return ""
        try:
            text = self._settings.tokens_file.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
        return "".join(text.splitlines(keepends=True)[-1:])

    def _file_state(self) -> _FileState:
        """Identify the content as far as possible without reading it. None: no readable file."""
        if self._settings.tokens_file is None:
            return None
        try:
            status = self._settings.tokens_file.stat()
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size)
