"""Turns the bytes at both sides of the proxy into events on the timeline."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from .dialect import Ack, Credentials, Dialect, Meaning, Message, Ping, Pong, Welcome, kind
from .engine.frames import Encrypted, Head, Malformed, Opcode, Seen, StreamReader, inflaters
from .engine.observer import Both, Observer, Place, Tap, Way
from .retry_after import retry_after
from .timeline import SECRET_PARAMETERS, Timeline, digest, fingerprint

LONGEST_NAME = 32
"""Characters of a subprotocol's name above which it is taken for a token."""
SECRET_COOKIE = "wschaos_token"


class Recorder:
    """Writes what the engine sees onto a timeline; the engine's observer.

    Args:
        dialect: tells what messages mean; None: frames are told, messages are not read.
    """

    _spoken = False

    def __init__(self, timeline: Timeline, dialect: Dialect | None = None) -> None:
        self.timeline = timeline
        self.dialect = dialect
        self._counting: dict[str, tuple[Observer, bool]] = {}
        self._tell(dialect)

    def handshake(self, path: str, subprotocols: str) -> Dialect | None:
        """The dialect of a new connection; None where it does not speak it."""
        if self.dialect is None or not self._speaks(self.dialect, path, subprotocols):
            if not self._spoken:
                self._tell(None)
            return None
        self._spoken = True
        self._tell(self.dialect)
        return self.dialect

    def _speaks(self, dialect: Dialect, path: str, subprotocols: str) -> bool:
        try:
            return dialect.speaks(path, subprotocols)
        except Exception as error:  # a dialect is the user's code; the traffic goes on whatever it does
            self.timeline.record("error", "proxy", error=_complaint(dialect, error))
            return False

    def _tell(self, dialect: Dialect | None) -> None:
        """Say on the timeline what can be told. Only when nobody speaks the dialect, nothing can."""
        self.timeline.dialect = dialect.name if dialect is not None else None
        self.timeline.tells = frozenset(kind(meaning) for meaning in dialect.tells) if dialect else frozenset()

    def count(self, proxy: str, observer: Observer, *, only: bool) -> None:
        """Tell an observer of a listener's connections too; ``only``: keep no record of them here."""
        self._counting[proxy] = observer, only

    def attempt(self, proxy: str) -> Tap | None:
        """A client has connected."""
        observer, only = self._counting.get(proxy, (None, False))
        if observer is None:
            return ConnectionRecorder(self, proxy)
        counted = observer.attempt(proxy)
        return counted if only or counted is None else Both(ConnectionRecorder(self, proxy), counted)

    def refused(self, proxy: str, at: float, late: float) -> None:
        """A client was refused."""
        observer, only = self._counting.get(proxy, (None, False))
        if observer is not None:
            observer.refused(proxy, at, late)
        if only:
            return
        number = self.timeline.next_connection()
        detail = {"refused": True, "late": late} if late else {"refused": True}
        self.timeline.record("attempt", "client", client=proxy, conn=number, at=at, **detail)

    def blind(self, proxy: str) -> None:
        """Refused attempts can no longer be told apart."""
        self.timeline.sees_refused = False


class ConnectionRecorder:
    """Writes one connection. It reads both directions at both sides: a frame that is held or lost in between
    is on record as sent, and not as arrived."""

    def __init__(self, recorder: Recorder, client: str) -> None:
        self._recorder = recorder
        self._timeline = recorder.timeline
        self._dialect: Dialect | None = None
        self._client = client
        self._conn = recorder.timeline.next_connection()
        self._readers = {(place, way): StreamReader() for place in ("client", "server") for way in ("up", "down")}
        self._record("attempt", "client")

    def data(self, place: Place, way: Way, data: bytes) -> None:
        """Bytes passed one side."""
        reader = self._readers[place, way]
        try:
            for item in reader.feed(data):
                if isinstance(item, Head):
                    self._head(item, place, way)
                else:
                    self._seen(item, place, way)
        except Malformed as error:
            reader.frames = False
            if self._enters(place, way):
                detail = {"encrypted": True} if isinstance(error, Encrypted) else {}
                self._record("error", "proxy", way, error=f"not WebSocket, no longer read: {error}", **detail)

    def ended(self, place: Place, by: Literal["peer", "proxy"], how: Literal["fin", "reset"]) -> None:
        """One side's TCP has ended."""
        self._record("end", place, by=by, how=how)

    def cut(self, fault: str, how: Literal["fin", "reset"]) -> None:
        """The engine ends the connection."""
        self._record("cut", "proxy", fault=fault, how=how)

    def acted(self, toxic: str, way: Way, **what: Any) -> None:
        """A toxic has done something to what passes in a direction."""
        self._record("acted", "proxy", way, toxic=toxic, **what)

    def error(self, text: str) -> None:
        """The upstream cannot be reached."""
        self._record("error", "proxy", error=text)

    def _record(
        self, name: str, place: Literal["client", "server", "proxy"], way: Way | None = None, **detail: Any
    ) -> None:
        self._timeline.record(name, place, client=self._client, conn=self._conn, way=way or "", **detail)

    def _head(self, head: Head, place: Place, way: Way) -> None:
        if way == "up":
            request = _request(head)
            if place == "client":
                self._dialect = self._recorder.handshake(request["path"], request.get("subprotocol", ""))
                if self._dialect is None and self._recorder.dialect is not None:
                    request["spoken"] = False
            self._record("handshake", place, way, **request)
            return
        status = int(head.start[1]) if re.fullmatch(r"[0-9]{3}", head.start[1]) else 0
        detail: dict[str, Any] = {"status": status}
        asked = retry_after({"Retry-After": head.headers.get("retry-after", ""), "Date": head.headers.get("date", "")})
        if asked is not None:
            detail["retry_after"] = asked
        if to := _target(head.headers.get("location", "")):
            detail["to"] = to
        self._record("response", place, way, **detail)
        if 100 <= status < 200 and status != 101:
            self._readers[place, way].expect_head()
            return
        up, down = self._readers[place, "up"], self._readers[place, "down"]
        if status != 101:
            up.frames = down.frames = False
            return
        up.inflater, down.inflater = inflaters(head)
        if place == "client" and not self._welcomes:
            self._record("ready", "client")

    @property
    def _welcomes(self) -> bool:
        return self._dialect is not None and Welcome in self._dialect.tells

    def _seen(self, seen: Seen, place: Place, way: Way) -> None:
        payload = seen.payload or b""
        match seen.opcode:
            case Opcode.PING | Opcode.PONG:
                self._record(seen.opcode.name.lower(), place, way, key=payload.hex(), level="frame")
            case Opcode.CLOSE:
                code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else None
                self._record("close", place, way, code=code, reason=payload[2:].decode("utf-8", "replace"))
            case _:
                self._message(seen, place, way)

    def _message(self, seen: Seen, place: Place, way: Way) -> None:
        read = self._read(seen, place, way)
        if read is None:
            self._record("text" if seen.opcode is Opcode.TEXT else "binary", place, way, size=seen.size)
            return
        meaning, detail = read
        self._record(kind(type(meaning)), place, way, size=seen.size, **detail)
        if isinstance(meaning, Welcome) and place == "client" and way == "down":
            self._record("ready", "client", recovered=meaning.recovered)

    def _read(self, seen: Seen, place: Place, way: Way) -> tuple[Meaning, dict[str, Any]] | None:
        """What a message means, with what is recorded of it."""
        if self._dialect is None or seen.payload is None:
            return None
        try:
            text = seen.payload.decode() if seen.opcode is Opcode.TEXT else seen.payload
            meaning = self._dialect.read(way, text)
            if meaning is not None and not isinstance(meaning, Meaning):
                raise TypeError(
                    f"read() returned {type(meaning).__name__}, which is no class of pytest_wschaos.dialect"
                )
            return None if meaning is None else (meaning, _detail(meaning))
        except Exception as error:  # a dialect is the user's code; a message that it cannot read is only unread
            if self._enters(place, way):
                self._record("error", "proxy", way, error=_complaint(self._dialect, error))
            return None

    @staticmethod
    def _enters(place: Place, way: Way) -> bool:
        """Whether this is where the direction enters the proxy: what is wrong is told once."""
        return (place == "client") == (way == "up")


def _complaint(dialect: Dialect, error: Exception) -> str:
    return f"dialect {dialect.name}: {type(error).__name__}: {error}"


def _detail(meaning: Meaning) -> dict[str, Any]:
    """What is recorded of a message: no secret, and of the data only its digest."""
    detail = {f.name: getattr(meaning, f.name) for f in dataclasses.fields(meaning)}
    detail = {name: value for name, value in detail.items() if value is not None}
    match meaning:
        case Ping() | Pong():
            return {"key": meaning.key, "level": "app"}
        case Credentials():
            token = detail.pop("token", None)
            if token is not None:
                detail |= {"fingerprint": fingerprint(str(token)), "mode": "first_message"}
        case Message():
            detail["digest"] = digest(detail.pop("data", None))
        case Ack():
            detail.pop("error", None)
            if meaning.error is not None:
                detail["error"] = str(meaning.error)[:200]
    if "session" in detail:
        detail["session"] = fingerprint(str(detail["session"]))
    return detail


def _request(head: Head) -> dict[str, Any]:
    """What is recorded of an upgrade request: query values and credentials only by fingerprint."""
    path, _, query = head.start[1].partition("?")
    if query:  # what has no name may be a secret as a whole
        names = [part.partition("=")[0] + "=***" if "=" in part else "***" for part in query.split("&")]
        path = f"{path}?{'&'.join(names)}"
    detail: dict[str, Any] = {"path": path, "host": _host(head.headers.get("host", ""))}
    if "origin" in head.headers:
        detail["origin"] = head.headers["origin"]
    if "sec-websocket-protocol" in head.headers:
        # Browsers have no other header to put a token into, and so it is found among the subprotocols.
        offered = [name.strip() for name in head.headers["sec-websocket-protocol"].split(",")]
        detail["subprotocol"] = ", ".join(name if len(name) <= LONGEST_NAME else fingerprint(name) for name in offered)
    token = next((value for name, value in parse_qsl(query) if name.lower() in SECRET_PARAMETERS), None)
    found: tuple[tuple[str, Callable[[], str | None]], ...] = (
        ("query", lambda: token),
        ("header", lambda: head.headers.get("authorization", "").rpartition(" ")[2] or None),
        ("cookie", lambda: _cookie(head.headers.get("cookie", ""))),
    )
    for mode, read in found:
        if secret := read():
            return detail | {"mode": mode, "fingerprint": fingerprint(secret)}
    return detail


def _host(authority: str) -> str:
    """Host and port as they are compared: lower case, without a scheme's own port."""
    return re.sub(r":(80|443)$", "", authority.lower())


def _target(location: str) -> str:
    """The host that a redirect points to; empty where it is the same one, as far as can be read."""
    try:
        return _host(urlsplit(location).netloc.rpartition("@")[2])
    except ValueError:
        return ""


def _cookie(header: str) -> str | None:
    """The cookie that holds the token; of other cookies the whole header, since any of them may."""
    try:
        cookies = SimpleCookie(header)
    except CookieError:
        return header or None
    return cookies[SECRET_COOKIE].value if SECRET_COOKIE in cookies else header or None
