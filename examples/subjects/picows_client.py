"""``picows``: it does not reconnect, so people write this loop around it."""

import asyncio
import json
from typing import Any

import picows
from contract import URL, commands_here, hello, say

# What the loop below does: 1 s before each attempt. picows pings nobody unless it is asked to.
hello(
    reconnect={"max_retries": None, "open_timeout": 5},
    backoff={"base": 1, "factor": 1, "cap": 1, "ceiling": 1, "stable_after": 0, "honour_retry_after": False},
    jitter={"shape": "none"},
    heartbeat={"interval": None},
    replay={"delivery": "at-most-once"},
)

live: list[Any] = []


class Listener(picows.WSListener):
    def on_ws_connected(self, transport: Any) -> None:
        live[:] = [transport]
        say("ready", recovered=False)

    def on_ws_frame(self, transport: Any, frame: Any) -> None:
        if frame.msg_type == picows.WSMsgType.TEXT:
            say("message", data=frame.get_payload_as_utf8_text())
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: Any) -> None:
        live.clear()


async def listen() -> None:
    while True:
        say("connecting")
        try:
            transport, _ = await picows.ws_connect(Listener, URL)
            await transport.wait_disconnected()
            closed = transport.close_handshake and transport.close_handshake.recv
            say("closed", code=int(closed.code) if closed else 1006, reason=closed.reason if closed else "")
        except Exception as error:
            say("closed", code=None, reason=str(error))
        await asyncio.sleep(1)


async def main() -> None:
    task = None
    async for command in commands_here():
        match command["do"]:
            case "connect" if task is None:
                task = asyncio.create_task(listen())
            case "send":
                try:
                    live[0].send(picows.WSMsgType.TEXT, json.dumps(command["data"]).encode())
                except Exception as error:
                    say("settled", ref=command["ref"], ok=False, error=str(error) or "not connected")
            case "close" if task is not None:
                task.cancel()
                for transport in live:
                    transport.send_close(picows.WSCloseCode.OK)
                    transport.disconnect()  # as its README does


asyncio.run(main())
