"""What the script of a case for servers plays on: a server behind chaos, and clients of ours that do right or wrong."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ...checks.tolerance import Timing, by, late_by
from ...checks.verdict import Finding, failed, inconclusive, passed
from ...cursor import EventTimeout
from ...engine.frames import Opcode
from ...reference.protocol import COOKIE, SUBPROTOCOL
from ..subjects.server import Running, Server
from ..subjects.subject import Client, SubjectError, Unsupported
from .closing import GOOD, Closing
from .guest import Guest
from .raw_client import RawClient

if TYPE_CHECKING:
    from ...harness import ChaosProxy
    from .case import Case

ALLOWED = "https://app.example"
"""The origin that a case allows where it sets an allow-list."""
PATIENCE = (1.5, 2.5, 4.0)
"""How many times the time that an end may take it is waited for: longer only where the harness itself was late."""
AT_ONCE = 20
"""Connections of a crowd that are opened at the same time, or half of what a peer may have, if that is less."""


class ServerStage:
    """A server and its clients. Scripts are written in the profile's figures, and play on either clock.

    Args:
        running: the life of the server that the case is about.
        slack: seconds for which a busy machine may be late.
    """

    def __init__(self, chaos: ChaosProxy, server: Server, running: Running, case: Case, *, slack: float = 0.0) -> None:
        self.chaos = chaos
        self.profile = chaos.profile
        self.running = running
        self.speaks = server.speaks
        self.takes_profile = server.takes_profile
        self.case = case
        self.slack = slack
        self.tokens = running.tokens
        self.guests: list[RawClient] = []
        self.clients: list[Client] = []
        self._url = urlsplit(running.url)

    def needs_protocol(self) -> None:
        """Only a server that speaks the reference protocol can be judged by this case.

        Raises:
            Unsupported: it speaks something else.
        """
        if self.speaks == "raw":
            raise Unsupported("the server does not speak wschaos.v1, of whose messages this rule is")

    # --- clients

    async def guest(self, name: str = "guest", *, headers: Mapping[str, str] | None = None, query: str = "") -> Guest:
        """A raw client that has asked for its upgrade, and got an answer, or an end.

        Args:
            headers: of its handshake, besides what is needed; an Origin that is allowed is given by itself.
            query: is put behind the path.

        Raises:
            SubjectError: the server does not answer its handshake in time.
        """
        guest = await self.stranger(name)
        given = {"Origin": self.origin} if self.profile.security.origins else {}
        if self.speaks == "wschaos.v1":
            given["Sec-WebSocket-Protocol"] = SUBPROTOCOL
        wanted = {**given, **(headers or {})}
        path = "?".join(
            part for part in (f"{self._url.path}", "&".join(filter(None, (self._url.query, query)))) if part
        )
        guest.write(guest.upgrade(self._host(name), path, {key: value for key, value in wanted.items() if value}))
        longest = self.profile.security.handshake_timeout + self.slack
        if not await guest.until(lambda: guest.status is not None or guest.over, longest):
            raise SubjectError(f"the server does not answer a handshake within {longest:.3f} s")
        return guest

    async def stranger(self, name: str = "guest") -> Guest:
        """A raw client that has connected, and sent nothing yet."""
        guest = Guest(self.chaos.timeline.elapsed, name, self.speaks, self.patience)
        self.guests.append(guest)
        host, _, port = self._host(name).rpartition(":")
        await guest.connect(host.strip("[]"), int(port), self._tls)
        return guest

    async def ready(self, name: str = "guest", *, token: str | None = None) -> Guest:
        """A raw client that is open, and where the protocol is spoken welcomed.

        Raises:
            SubjectError: the server does not let it in.
        """
        guest = await self.guest(name)
        if guest.status != 101:
            raise SubjectError(f"a well-behaved client was not let in: {self.answered(guest)}")
        if self.speaks == "wschaos.v1" and await self.authenticate(guest, token) is None:
            raise SubjectError(f"a well-behaved client was not welcomed: {self.state(guest)}")
        return guest

    async def authenticate(self, guest: Guest, token: str | None = None, **resume: object) -> dict[str, object] | None:
        """Present a token (by default a good one) in the first message; the welcome, or None."""
        guest.say(type="auth", token=self.tokens.good() if token is None else token, **resume)
        return await guest.answer("welcome")

    async def crowd(
        self, count: int, *, ready: bool, name: str = "crowd", peer: Callable[[int], str] | None = None
    ) -> list[Guest]:
        """So many clients, some of which may have been turned away; ``peer``: as whose each says that it comes."""

        async def one(number: int) -> Guest:
            headers = {} if peer is None else {"X-Forwarded-For": peer(number)}
            try:
                guest = await self.guest(name, headers=headers)
            except (OSError, SubjectError):
                guest = Guest(self.chaos.timeline.elapsed, name, self.speaks, self.patience)
                guest.ended = self.now()
            if ready and guest.open and self.speaks == "wschaos.v1":
                await self.authenticate(guest, token)
            return guest

        token = self.tokens.good() if ready and self.speaks == "wschaos.v1" else ""
        at_once = min(AT_ONCE, max(1, self.profile.security.connections // 2))
        crowd: list[Guest] = []
        while len(crowd) < count:
            some = range(len(crowd), min(count, len(crowd) + at_once))
            crowd += await asyncio.gather(*(one(number) for number in some))
        return crowd

    async def client(self, name: str) -> Client:
        """The reference client, which begins to connect."""
        from ..subjects.factory import InProcess
        from ..subjects.reference import reference
        from ..subjects.subject import Setting

        client = InProcess(reference).client(self.chaos, name)
        self.clients.append(client)
        url = self.chaos.url_for(name)
        await client.start(Setting(url, url, self.tokens.good(), self.profile, self.case.id))
        await client.connect()
        return client

    def credentials(self, mode: str, token: str) -> dict[str, object]:
        """How a token travels with the handshake in a mode: arguments for :meth:`guest`."""
        match mode:
            case "query":
                return {"query": f"token={quote(token, safe='')}"}
            case "header":
                return {"headers": {"Authorization": f"Bearer {token}"}}
            case "cookie":
                return {"headers": {"Cookie": f"{COOKIE}={token}"}}
        return {}

    @property
    def origin(self) -> str:
        """An origin that the server allows."""
        return (self.profile.security.origins or (ALLOWED,))[0]

    @property
    def _tls(self) -> ssl.SSLContext | None:
        return self.chaos.ssl_context if self._url.scheme == "wss" else None

    def _host(self, name: str) -> str:
        return urlsplit(self.chaos.url_for(name)).netloc

    async def stop(self) -> None:
        """End all clients, at once."""
        for guest in self.guests:
            guest.leave()
        await asyncio.gather(*(client.stop() for client in self.clients), return_exceptions=True)

    # --- waiting

    @property
    def patience(self) -> float:
        """Seconds in which a server that lives has answered, on a busy machine too."""
        return self.profile.heartbeat.server_deadline + 5 * self.slack

    def now(self) -> float:
        """Seconds from the start of the record."""
        return self.chaos.timeline.elapsed()

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def saw(self, kind: str, count: int = 1, timeout: float | None = None, *, client: str | None = None) -> bool:
        """Wait for events at the proxy, for the profile's patience by default; False: they do not come."""
        longest = self.profile.patience if timeout is None else timeout
        try:
            await self.chaos.wait_for(kind, count, longest + self.slack, client=client)
        except EventTimeout:
            return False
        return True

    @property
    def reaping(self) -> float:
        """Seconds in which a server finds out that a client is dead.

        Raises:
            Unsupported: the profile declares that it does not look.
        """
        beat = self.profile.heartbeat
        if beat.server_interval is None:
            raise Unsupported("the profile declares no heartbeat of the server (heartbeat.server_interval)")
        return beat.server_interval + beat.server_deadline

    # --- judging

    def answered(self, guest: RawClient) -> str:
        """How a handshake was answered, in words."""
        if guest.status is not None:
            return f"its handshake was answered {guest.status}"
        return f"its connection was ended ({guest.how}) without an answer" if guest.over else "nothing was answered"

    def state(self, guest: RawClient) -> str:
        """How a connection stands, in words."""
        if guest.close is not None:
            return f"it got Close {guest.close.code} {guest.close.reason!r}"
        if guest.ended is not None:
            return f"TCP was ended ({guest.how}) without a Close"
        return "it is open, and was answered nothing" if guest.status == 101 else self.answered(guest)

    async def closed(
        self, guest: RawClient, codes: Collection[int], what: str, *, since: float | None = None, within: float = 0.0
    ) -> Finding:
        """Whether the server closes a connection with one of some codes.

        Args:
            what: what the client did, in words that begin the evidence.
            since: from when ``within`` counts, by default now.
            within: seconds that it may take; 0: as long as a close handshake may.
        """
        start = self.now() if since is None else since
        longest = within or self.profile.close.timeout

        def end() -> float | None:
            return guest.close.at if guest.close is not None else guest.ended

        timing = await self._timing(guest, end, start, longest)
        told, at = " or ".join(map(str, sorted(codes))), end()
        if at is None:
            seen = f"{what}; {self.now() - start:.3f} s later the connection is open, expected Close {told}"
            return failed(f"{seen} within {longest:.3f} s", at=start) if timing is Timing.BROKEN else inconclusive(seen)
        took = at - start
        if guest.close is None or guest.close.code not in codes:
            return failed(f"{what}; {self.state(guest)} after {took:.3f} s, expected Close {told}", at=at)
        seen = f"{what}; Close {guest.close.code} {guest.close.reason!r} after {took:.3f} s"
        if timing is Timing.BROKEN:
            return failed(f"{seen}, expected within {longest:.3f} s", at=at, closed_s=took)
        if timing is Timing.DOUBTFUL:
            return inconclusive(f"{seen}, of {longest:.3f} s; {late_by(self.chaos.freeze(), start, at)}")
        return passed(seen, closed_s=took)

    async def _timing(self, guest: RawClient, end: Callable[[], float | None], since: float, within: float) -> Timing:
        """How the end of a connection lies to its bound; waited for until it can be told."""
        timing = Timing.DOUBTFUL
        for share in PATIENCE:
            await guest.until(lambda: end() is not None, since + share * within + self.slack - self.now())
            timing = by(self.chaos.freeze(), since + within + self.slack, end(), since=since)
            if end() is not None or timing is not Timing.DOUBTFUL:
                break
        return timing

    async def ends(self, guest: RawClient, what: str, *, since: float, within: float) -> Finding:
        """Whether the server ends a connection's TCP in time, in whatever way."""
        timing = await self._timing(guest, lambda: guest.ended, since, within)
        if guest.ended is None:
            seen = f"{what}; {self.now() - since:.3f} s later TCP stands, expected its end within {within:.3f} s"
            return failed(seen, at=since) if timing is Timing.BROKEN else inconclusive(seen)
        took = guest.ended - since
        seen = f"{what}; TCP was ended ({guest.how}) after {took:.3f} s"
        if timing is Timing.BROKEN:
            return failed(f"{seen}, expected within {within:.3f} s", at=guest.ended, ended_s=took)
        if timing is Timing.DOUBTFUL:
            return inconclusive(f"{seen}, of {within:.3f} s; {late_by(self.chaos.freeze(), since, guest.ended)}")
        return passed(seen, ended_s=took)

    async def undisturbed(self, witness: Guest, finding: Finding) -> Finding:
        """A finding, unless another connection was disturbed meanwhile, which is worse."""
        took = await witness.alive() if witness.open else None
        if took is not None:
            return finding
        ill = self.running.failure or f"another connection was disturbed: {self.state(witness)}"
        return failed(f"{finding.seen}; and {ill}", at=self.now())

    # --- the end

    async def closing(self) -> Closing:
        """How the server answers the Close of a client that does all right."""
        for guest in self.guests:
            guest.leave()
        self.guests.clear()
        try:
            guest = await self.guest("closing")
        except (OSError, SubjectError):
            return Closing.UNCLEAN
        if guest.status != 101:
            return Closing.UNSUPPORTED
        guest.frame(Opcode.CLOSE, (1000).to_bytes(2, "big"))
        guest.closes = False
        await guest.until(lambda: guest.ended is not None, self.profile.close.timeout + self.slack)
        if guest.close is None or guest.ended is None:
            return Closing.UNCLEAN
        return Closing.OK if guest.close.code in GOOD else Closing.WRONG_CODE
