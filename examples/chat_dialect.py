"""How the rules read the chat protocol of ``chat.py``: a dialect says what each message means to them."""

import json
from typing import Any

from pytest_wschaos import Dialect
from pytest_wschaos.dialect import Ack, Credentials, Message, Ping, Pong, Welcome


class ChatDialect(Dialect):
    name = "chat"
    tells = (Credentials, Welcome, Message, Ack, Ping, Pong)

    def read(self, way: str, message: str | bytes) -> Any:
        frame = json.loads(message)
        match frame["op"]:
            case "login":
                return Credentials(token=frame["key"])
            case "hello":
                return Welcome()
            case "say":
                return Message(id=frame["n"], data=frame["text"])
            case "got":
                return Ack(id=frame["n"])
            case "ping":
                return Ping(key=frame["t"])
            case "pong":
                return Pong(key=frame["t"])
        return None
