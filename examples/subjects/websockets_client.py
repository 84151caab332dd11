"""``websockets``: its endless iterator, as its documentation shows it."""

import asyncio
import json

import websockets
from contract import URL, commands_here, hello, say, sent

# asyncio/client.py of websockets 17: the first wait is drawn from 0 to 5 s, the second is 3.1 s, then each is 1.618
# times the one before, to 90 s; a ping every 20 s, 20 s for its pong, 10 s for a close handshake.
hello(
    reconnect={"max_retries": None},
    backoff={
        "base": 3.1 / 1.618,
        "factor": 1.618,
        "cap": 90,
        "ceiling": 90,
        "first_low": 0,
        "first_high": 5,
        "stable_after": 0,
        "honour_retry_after": False,
    },
    jitter={"shape": "none"},
    heartbeat={"interval": 20, "deadline": 20},
    replay={"delivery": "at-most-once"},
    close={"timeout": 10},
)

live: list[websockets.ClientConnection] = []


async def listen() -> None:
    try:
        async for connection in websockets.connect(URL):
            live[:] = [connection]
            say("ready", recovered=False)
            try:
                async for message in connection:
                    say("message", data=message if isinstance(message, str) else len(message))
            except websockets.ConnectionClosed:
                continue
            finally:
                say("closed", code=connection.close_code, reason=connection.close_reason)
    except Exception as error:  # what it takes for final it raises
        say("gave_up", error=str(error), undelivered=[])


async def main() -> None:
    task = None
    async for command in commands_here():
        match command["do"]:
            case "connect" if task is None:
                task = asyncio.create_task(listen())
            case "send" if live:
                await sent(command["ref"], live[0].send(json.dumps(command["data"])))
            case "send":
                say("settled", ref=command["ref"], ok=False, error="not connected")
            case "close" if task is not None:
                task.cancel()  # the way to end the iterator
                if live:
                    await live[0].close()


asyncio.run(main())
