"""`websockets`' asyncio server at its defaults: an echo at any path, health at /healthz."""

import asyncio
import http
import os
import signal

from websockets.asyncio.server import serve


async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)


def health(connection, request):
    return connection.respond(http.HTTPStatus.OK, "ok\n") if request.path == "/healthz" else None


async def main():
    async with serve(echo, "127.0.0.1", int(os.environ["WSCHAOS_PORT"]), process_request=health) as server:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
        await server.wait_closed()


asyncio.run(main())
