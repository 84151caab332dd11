"""handshake: changes the server's answer to the upgrade request. A toxic of the stream ``downstream``.

- ``status``: answered in the server's place, with ``reason`` (none: the usual one) and no body; then both sides are
  closed. 0: the server's own answer.
- ``headers``: a name and a text each, added to the answer in place of those of the same name.
- ``retry_after``: seconds, as the header Retry-After; -1: none.
- ``accept``: the text in place of the key in Sec-WebSocket-Accept; empty: the right one.
- ``silence``: true: the answer is swallowed, with all that follows it but the end.
- ``delay``: milliseconds before each byte of the answer.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from ..frames import Head
from ..stage import Attributes, End
from ..websocket_stage import END_OF_HEAD, WebSocketStage

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e\xa0-\xff]*")


class Handshake(WebSocketStage):
    """The answer is changed on its way to the client; connections whose handshake has passed are left alone."""

    type = "handshake"
    defaults = {
        "status": 0,
        "reason": "",
        "headers": {},
        "retry_after": -1,
        "accept": "",
        "silence": False,
        "delay": 0,
    }

    @classmethod
    def check(cls, attributes: Attributes) -> None:
        if attributes["status"] and not 200 <= attributes["status"] <= 599:
            raise cls.wrong("status", attributes["status"], "200 to 599, or 0 for the server's own")
        if attributes["retry_after"] < -1:
            raise cls.wrong("retry_after", attributes["retry_after"], "0 s or more, or -1 for none")
        if attributes["delay"] < 0:
            raise cls.wrong("delay", attributes["delay"], "0 ms or more")
        for name in ("reason", "accept"):
            if not _VALUE.fullmatch(attributes[name]):
                raise cls.wrong(name, attributes[name], "a text in one line")
        for name, value in attributes["headers"].items():
            if not _NAME.fullmatch(name) or not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise cls.wrong("headers", attributes["headers"], "names of headers, each with a text in one line")

    def on_start(self, at: float) -> None:
        super().on_start(at)
        if self.upstream or not self.opened_with:
            self.pass_all()

    def on_head(self, text: str, head: Head) -> str | None:
        if head.start[1].startswith("1") and head.start[1] != "101":
            return text
        self.pass_all()  # of what follows nothing is read
        silence, status = self.attributes["silence"], self.attributes["status"]
        self.tell(did="silence" if silence else "answer", what=str(status or head.start[1]))
        if silence:
            return None
        answer = self._answer(text).encode("latin-1") + END_OF_HEAD
        due = self.now
        for place in range(len(answer) if self.attributes["delay"] else 0):
            due += self.attributes["delay"] / 1000
            self.write(answer[place : place + 1], due)
        self.write(answer if not self.attributes["delay"] else b"", due)
        if status:
            self.flush()
            self.cut(due)
            self.swallow_all()
        return ""

    def on_end(self, end: End, at: float) -> None:
        if not self.cuts:  # which ends it already
            super().on_end(end, at)

    def _answer(self, text: str) -> str:
        first, *lines = text.split("\r\n")
        headers = dict(self.attributes["headers"])
        if status := self.attributes["status"]:
            first, lines = f"HTTP/1.1 {status} {self.attributes['reason'] or _phrase(status)}", []
            headers = {"Content-Length": "0", "Connection": "close", **headers}
        if self.attributes["retry_after"] >= 0:
            headers["Retry-After"] = f"{self.attributes['retry_after']:g}"
        if self.attributes["accept"]:
            headers["Sec-WebSocket-Accept"] = self.attributes["accept"]
        replaced = {name.lower() for name in headers}
        lines = [line for line in lines if line.partition(":")[0].strip().lower() not in replaced]
        return "\r\n".join([first, *lines, *(f"{name}: {value}" for name, value in headers.items())])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
