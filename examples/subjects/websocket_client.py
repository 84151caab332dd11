"""``websocket-client``: ``run_forever(reconnect=1)``, on a thread of its own."""

import json
import threading

import websocket
from contract import URL, commands, hello, say

# _app.py of websocket-client 1.9: it waits `reconnect` seconds before each retry, and never gives up; it pings nobody
# unless it is asked to, and waits 3 s for the answer to its Close.
hello(
    reconnect={"max_retries": None},
    backoff={"base": 1, "factor": 1, "cap": 1, "ceiling": 1, "stable_after": 0, "honour_retry_after": False},
    jitter={"shape": "none"},
    heartbeat={"interval": None},
    replay={"delivery": "at-most-once"},
    close={"timeout": 3},
)

app = websocket.WebSocketApp(
    URL,
    on_open=lambda app: say("ready", recovered=False),
    on_reconnect=lambda app: say("ready", recovered=False),
    on_message=lambda app, message: say("message", data=message),
    on_close=lambda app, code, reason: say("closed", code=code, reason=reason or ""),
)
thread = threading.Thread(target=app.run_forever, kwargs={"reconnect": 1}, daemon=True)
for command in commands():
    match command["do"]:
        case "connect" if not thread.is_alive():
            thread.start()
        case "send":
            try:
                app.send(json.dumps(command["data"]))
            except Exception as error:
                say("settled", ref=command["ref"], ok=False, error=str(error))
        case "close":
            app.close()
