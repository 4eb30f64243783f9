"""The valid tokens: reloaded when their file changes and on SIGHUP, without a restart."""

import asyncio
import logging
from typing import TYPE_CHECKING

from openbsp.errors import TokensError
from openbsp.http.tokens.settings import TokenSettings
from openbsp.http.tokens.source import TokenSource
from openbsp.http.tokens.token_set import Token, TokenSet, token_of
from openbsp.log import event
from openbsp.metrics import ServiceMetrics

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0


class Access:
    """Decides who gets answers, and who may read metrics too."""

    def __init__(
        self,
        settings: TokenSettings,
        metrics: ServiceMetrics,
        source: TokenSource | None = None,
        on_reload: "Callable[[Callable[[Token], bool]], None]" = lambda _: None,
    ) -> None:
        """Take the tokens of `source`, such as a supervisor's, or read them. Raises TokensError.

        `on_reload` is called after tokens were reloaded, with `is_valid`.
        """
        self._metrics = metrics
        self._source = source or TokenSource(settings)
        metrics.tokens.set(len(self._source.current))
        if self._source.fault is not None:
            self._not_reloaded(self._source.fault)
        secret = settings.metrics_token
        self._observers = TokenSet([] if secret is None else [token_of("metrics", secret.get_secret_value())])
        self._on_reload = on_reload

    def authenticate(self, authorization: bytes | None) -> Token | None:
        """Return the valid token in the value of an Authorization header, or None."""
        return self._source.current.authenticate(authorization)

    def is_valid(self, token: Token) -> bool:
        """Return whether a token that was valid once still is, for the same organizations."""
        return token in self._source.current

    def may_observe(self, authorization: bytes | None) -> bool:
        """Return whether it is the metrics token."""
        return self._observers.authenticate(authorization) is not None

    def reload(self) -> None:
        """Reload the tokens. If that fails, the former ones stay valid; it is logged and counted."""
        try:
            self._source.reload()
        except TokensError as error:
            self._not_reloaded(error)
            return
        self._metrics.tokens.set(len(self._source.current))
        _log.info("tokens reloaded: %d", len(self._source.current), extra=event("tokens.reloaded"))
        self._on_reload(self.is_valid)

    async def watch(self) -> None:
        """Reload whenever the file has changed and settled, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._source.settled():
                self.reload()

    def _not_reloaded(self, error: TokensError) -> None:
        self._metrics.token_reload_failures.inc()
        _log.error("tokens not reloaded, the former ones stay valid: %s", error, extra=event("tokens.not_reloaded"))
