"""A Starlette endpoint that answers and does nothing, on the same server as the bridge and the views."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def webhooks(_: Request) -> Response:
    return Response(status_code=202)


async def conversation(_: Request) -> Response:
    return Response()


async def ready(_: Request) -> Response:
    return Response()


if __name__ == "__main__":
    routes = [
        Route("/webhooks", webhooks, methods=["POST"]),
        Route("/conversations/{conversation_id}", conversation),
        Route("/readyz", ready),
    ]
    uvicorn.run(
        Starlette(routes=routes),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
