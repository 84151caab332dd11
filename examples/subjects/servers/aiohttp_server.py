"""aiohttp's server at its defaults: an echo at /ws, health at /healthz."""

import os

from aiohttp import WSMsgType, web


async def health(request):
    return web.json_response({"status": "ok"})


async def echo(request):
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        if message.type is WSMsgType.TEXT:
            await websocket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await websocket.send_bytes(message.data)
    return websocket


app = web.Application()
app.add_routes([web.get("/healthz", health), web.get("/ws", echo)])
web.run_app(app, host="127.0.0.1", port=int(os.environ["WSCHAOS_PORT"]))
