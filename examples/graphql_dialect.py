"""How the rules read ``graphql-transport-ws``: a dialect says what a message of the protocol means to them."""

import json
from typing import Any

from pytest_wschaos import Dialect
from pytest_wschaos.dialect import Credentials, Message, Ping, Pong, Subscribe, Unsubscribe, Welcome


class GraphQLDialect(Dialect):
    """The protocol has no ids on pings, no acknowledgements and no sequence numbers, so nothing is told of these."""

    name = "graphql-transport-ws"
    tells = (Credentials, Welcome, Subscribe, Unsubscribe, Message, Ping, Pong)

    def read(self, way: str, message: str | bytes) -> Any:
        frame = json.loads(message)
        payload = frame.get("payload") or {}
        match way, frame["type"]:
            case "up", "connection_init":
                return Credentials(token=payload.get("token"))
            case "down", "connection_ack":
                return Welcome()
            case "up", "subscribe":
                return Subscribe(id=frame["id"], topic=payload["query"])
            case "up", "complete":
                return Unsubscribe(id=frame["id"], topic="")
            case "down", "next":
                return Message(data=payload)
            case _, "ping":
                return Ping()
            case _, "pong":
                return Pong()
        return None
