"""The tokens that are valid now: read again when their file changes and on SIGHUP, without a restart."""

import asyncio
import logging
from typing import TYPE_CHECKING

from openbsp.errors import TokensError
from openbsp.http.settings import ServiceSettings
from openbsp.http.tokens import Token, TokenSet, token_of
from openbsp.log import event
from openbsp.metrics import ServiceMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class Access:
    """Knows whose requests are answered, and who may read metrics besides."""

    def __init__(self, settings: ServiceSettings, metrics: ServiceMetrics) -> None:
        """Read the tokens. Raises TokensError."""
        self._settings = settings
        self._metrics = metrics
        self._looked_at = self._file_state()
        self._tokens = settings.token_set()
        metrics.tokens.set(len(self._tokens))
        secret = settings.metrics_token
        self._observers = TokenSet([] if secret is None else [token_of("metrics", secret.get_secret_value())])
        #: Called after tokens were read again.
        self.on_reload: Callable[[], None] = lambda: None

    def authenticate(self, authorization: bytes | None) -> Token | None:
        """Return the valid token in the value of an Authorization header, or None."""
        return self._tokens.authenticate(authorization)

    def is_valid(self, token: Token) -> bool:
        """Return whether a token that was valid once still is, for the same organizations."""
        return token in self._tokens

    def may_observe(self, authorization: bytes | None) -> bool:
        """Return whether it is the metrics token."""
        return self._observers.authenticate(authorization) is not None

    def reload(self) -> None:
        """Read the tokens again. If that fails, the former ones stay valid; it is logged and counted."""
        self._looked_at = self._file_state()
        try:
            self._tokens = self._settings.token_set()
        except TokensError as error:
            self._metrics.token_reload_failures.inc()
            _log.error("tokens not reloaded, the former ones stay valid: %s", error, extra=event("tokens.not_reloaded"))
            return
        self._metrics.tokens.set(len(self._tokens))
        _log.info("tokens reloaded: %d", len(self._tokens), extra=event("tokens.reloaded"))
        self.on_reload()

    async def watch(self) -> None:
        """Reload whenever the file changes, until cancelled."""
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
