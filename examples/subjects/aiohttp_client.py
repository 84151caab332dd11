"""``aiohttp``: it does not reconnect, so people write this loop around it."""

import asyncio
import json

import aiohttp
from contract import URL, commands_here, hello, say, sent

# What the loop below does: at once where the connection was open, after 1 s where there was none. aiohttp pings nobody
# unless it is given a heartbeat, and waits 10 s for the answer to its Close.
hello(
    reconnect={"max_retries": None},
    backoff={"base": 1, "factor": 1, "cap": 1, "ceiling": 1, "stable_after": 0, "honour_retry_after": False},
    jitter={"shape": "none"},
    heartbeat={"interval": None},
    replay={"delivery": "at-most-once"},
    close={"timeout": 10},
)

live: list[aiohttp.ClientWebSocketResponse] = []


async def listen() -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            say("connecting")
            try:
                async with session.ws_connect(URL) as connection:
                    live[:] = [connection]
                    say("ready", recovered=False)
                    async for message in connection:
                        if message.type is aiohttp.WSMsgType.TEXT:
                            say("message", data=message.data)
                say("closed", code=connection.close_code, reason="")
            except (aiohttp.ClientError, TimeoutError) as error:
                say("closed", code=None, reason=str(error))
                await asyncio.sleep(1)


async def main() -> None:
    task = None
    async for command in commands_here():
        match command["do"]:
            case "connect" if task is None:
                task = asyncio.create_task(listen())
            case "send" if live:
                await sent(command["ref"], live[0].send_str(json.dumps(command["data"])))
            case "send":
                say("settled", ref=command["ref"], ok=False, error="not connected")
            case "close" if task is not None:
                task.cancel()
                if live:
                    await live[0].close()


asyncio.run(main())
