"""A Starlette endpoint that answers 200 and does nothing, on the same server as the views."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def conversation(_: Request) -> Response:
    return Response()


async def ready(_: Request) -> Response:
    return Response()


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[Route("/conversations/{conversation_id}", conversation), Route("/readyz", ready)]),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
