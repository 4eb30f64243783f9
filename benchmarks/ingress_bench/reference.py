"""A Starlette endpoint that answers 202 and does nothing, on the same server as the bridge."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def webhooks(_: Request) -> Response:
    return Response(status_code=202)


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[Route("/webhooks", webhooks, methods=["POST"])]),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
