"""uvicorn's HTTP protocol within the limits of every service, with a short way for webhooks."""

import functools
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from bridge.http.ingress import TIMED_OUT
from bridge.http.webhook import PATH
from openbsp.http.connections import Connections, GuardedProtocol
from openbsp.http.problems import CLOSE, Answer

if TYPE_CHECKING:
    from bridge.http.ingress import Ingress


class WebhookProtocol(GuardedProtocol):
    """Hands a webhook to the ingress as soon as all of it is there, without a task, and writes the answer itself.

    Whatever does not come whole in one read, is pipelined, or goes elsewhere takes uvicorn's way through ASGI; so does
    everything of a client that does not read its answers, since that way waits for it.
    """

    def __init__(
        self, guard: Connections, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None
    ) -> None:
        """Start with nothing received; see GuardedProtocol."""
        super().__init__(guard, config, server_state, app_state, _loop)
        self._ingress: Ingress = cast("Any", self.app).webhooks
        self._fresh: RequestResponseCycle | None = None
        self._receiving = False

    def parse(self, data: bytes) -> None:
        """Parse what came, and answer the webhook that is complete by now."""
        self._receiving = True
        try:
            super().parse(data)
        finally:
            self._receiving = False
            fresh, self._fresh = self._fresh, None
        if fresh is not None:
            if fresh.more_body or self.transport.is_closing():
                super()._start_asgi_task(fresh, self.app)
            else:
                self._ingress.answer(
                    cast("Any", fresh.scope), bytes(fresh.body), functools.partial(self._respond, fresh)
                )

    def body_timed_out(self) -> None:
        """Have the ingress refuse a webhook, which it counts and logs; see GuardedProtocol."""
        scope: Any = self.scope
        if scope["path"] == PATH:
            scope["state"][TIMED_OUT] = True
            self.cycle.message_event.set()
        else:
            super().body_timed_out()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        scope = cycle.scope
        if (
            self._receiving
            and scope["path"] == PATH
            and scope["method"] == "POST"
            and not cycle.waiting_for_100_continue
            and not self.parser.should_upgrade()
            and not self.flow.write_paused
        ):
            self._fresh = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def _respond(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        if cycle.disconnected or self.transport.is_closing():
            return
        if not cycle.keep_alive and not answer.close:
            answer.headers.append(CLOSE)
        cycle.keep_alive = cycle.keep_alive and not answer.close
        cycle.response_started = cycle.response_complete = True
        self.write(answer, cycle.default_headers)
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()
