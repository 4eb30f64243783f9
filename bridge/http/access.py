"""The tokens that count now: read anew when their file changes, without a restart."""

import asyncio
import hmac
import logging

from bridge.metrics import Metrics
from bridge.settings import BridgeSettings
from openbsp.errors import TokensError
from openbsp.http.tokens import Token

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class Access:
    """Knows who may send and who may look."""

    def __init__(self, settings: BridgeSettings, metrics: Metrics) -> None:
        """Read the tokens. Raises TokensError."""
        self._settings = settings
        self._metrics = metrics
        self._looked_at = self._file_state()
        self._tokens = settings.token_set()
        metrics.tokens.set(len(self._tokens))
        secret = settings.metrics_token
        self._observer = None if secret is None else b"bearer " + secret.get_secret_value().encode()

    def authenticate(self, authorization: bytes | None) -> Token | None:
        """Return the token that may send, or None."""
        return self._tokens.authenticate(authorization)

    def may_observe(self, authorization: bytes | None) -> bool:
        """Tell whether metrics and details may be read: with the metrics token, or any that may send."""
        if authorization is None:
            return False
        if self._observer is not None and hmac.compare_digest(
            authorization[:7].lower() + authorization[7:], self._observer
        ):
            return True
        return self.authenticate(authorization) is not None

    def reload(self) -> None:
        """Read the tokens again. If that fails, those from before stay valid, and the log and a metric tell."""
        self._looked_at = self._file_state()
        try:
            self._tokens = self._settings.token_set()
        except TokensError as error:
            self._metrics.token_reload_failures.inc()
            _log.error("the tokens stay as they were: %s", error)
            return
        self._metrics.tokens.set(len(self._tokens))
        _log.info("tokens read: %d", len(self._tokens))

    async def watch(self) -> None:
        """Reload whenever the file changes, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._file_state() != self._looked_at:
                self.reload()

    def _file_state(self) -> tuple[int, int, int] | None:
        """Identify the content as far as that goes without reading it. None: no file, or none that can be read."""
        if self._settings.tokens_file is None:
            return None
        try:
            status = self._settings.tokens_file.stat()
        except OSError:
            return None
        return (status.st_ino, status.st_mtime_ns, status.st_size)
