"""What the fixtures hand to a test: proxy, server, timeline, faults and judgement in one object.

It needs no pytest: ``with Chaos() as wschaos: ...`` does the same.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit, urlunsplit

from .background import CANCEL_TIMEOUT, LoopThread
from .checks.rule import judge, select
from .checks.verdict import Outcome, Verdict
from .client_handle import ClientHandle
from .cursor import Cursor, EventTimeout
from .dialect import Dialect
from .engine.front import Trust
from .engines.embedded import Embedded
from .engines.link import Api, Link
from .faults import CLIENT, ClientFaults, NetworkFaults, PeerFaults
from .inline import runner
from .lag import LagMeter
from .network import ChaosNetwork
from .peers import Peer, ServerHandle
from .profile import Profile, ProfileError
from .recorder import Recorder
from .reference.client import ReferenceClient
from .reference.dialect import ReferenceDialect
from .reference.peer import Handler, HandlerServer
from .reference.server import ReferenceServer
from .report import explain
from .settings import ENGINES, is_engine
from .timeline import COLUMNS, Event, Place, Record, Timeline, digest, fingerprint, payload_size

if TYPE_CHECKING:
    from .engines.process import Instants
    from .simulation.fleet import Factory, Fleet

UPSTREAM_TIMEOUT = 2.0
"""Seconds in which an upstream must accept a connection when a proxy is put in front of it."""

OFTEN = 3
"""Standstills of the engine's thread in a test from which on the tests after it have the engine in a process."""

REFERENCE = ReferenceDialect()

NO_DETAIL = frozenset(["event", "data", *COLUMNS])
"""What of a reported event has a place of its own on the record, or none."""


class UpstreamError(RuntimeError):
    """Nothing answers at the address that a proxy was asked to stand in front of."""


class RuleBroken(AssertionError):
    """A rule was broken, or could not be judged where it had to be; the message shows why."""


class ChaosProxy(NetworkFaults, PeerFaults, ClientFaults):
    """Chaos in front of any server.

    Args:
        upstream: ``host:port``, or a ws or wss URL whose path is then kept.
        profile: the figures of the client under test.
        dialect: reads the protocol's messages; None: frames only.
        terminate: of a wss upstream: end TLS in the proxy and encrypt anew, so that frames can be read; clients need
            ``ssl_context``. Without it TLS passes through untouched.
        upstream_ssl: what the proxy trusts then; None: the system's authorities.
        seed: where the faults' randomness comes from.
        repeat: the command that repeats the test.
        loop: a virtual loop to run on; by default the one that is running, in real time a thread of its own.
        engine: where the engine runs: ``embedded``, on that thread, or ``process``, in a process of its own, whose
            timers no busy test makes late; or with a real Toxiproxy in front of it: ``binary`` (or ``binary:PATH``),
            ``docker`` (or ``docker:IMAGE``, and either with ``?network=`` and ``host``, ``ports`` or ``ports:COUNT``),
            or the URL of its API. On virtual time it is always with the test, and alone.

    Raises:
        EngineDied: the engine's process ended before it was of use.
        EngineMissing: there is no such process on this platform, no such program, no such container, or no answer
            at that URL.
        RuntimeError: the engine's process would have to know ``upstream_ssl``.
        UpstreamError: nothing listens there, or the name cannot be resolved; or TLS is to be ended in front of a
            server that speaks none.
        TrustmeMissing: TLS is to be ended, and the extra ``tls`` is not installed.
    """

    _serves = False
    """Whether the server is on the loop of the test's thread, so that its delays are the server's."""

    def __init__(
        self,
        upstream: str,
        *,
        profile: Profile | str | None = None,
        dialect: Dialect | None = None,
        terminate: bool = False,
        upstream_ssl: ssl.SSLContext | None = None,
        seed: int = 0,
        repeat: str = "",
        loop: asyncio.AbstractEventLoop | None = None,
        engine: str = "embedded",
    ) -> None:
        if not is_engine(engine):
            raise ValueError(f"engine = {engine!r}: must be {ENGINES}")
        self.profile = load_profile(profile)
        self.seed = seed
        self.dialect = dialect_instance(dialect)
        self.repeat = repeat
        self._scheme, self._address, self._path, self._query = _split(upstream)
        if (terminate or upstream_ssl is not None) and self._scheme != "wss":
            raise UpstreamError(f"upstream {upstream!r}: terminate and upstream_ssl are for a wss:// URL")
        if upstream_ssl is not None and not terminate:
            raise UpstreamError("upstream_ssl: goes with terminate=True; else the client itself trusts the server")
        self._terminates = terminate
        self._upstream_ssl = upstream_ssl
        self._peer: Peer | None = None
        self._listeners: dict[str, str] = {}
        self._tls_listeners: dict[str, str] = {}
        self._started = ExitStack()
        """What has to be ended, in the order in which it was started; all of it is, whatever fails."""
        self._runner = runner(loop)
        self._started.callback(self._runner.stop)
        try:
            self.engine = _engine(engine) if isinstance(self._runner, LoopThread) else "embedded"
            """Where the engine runs."""
            self._start()
        except BaseException:
            self._started.close()
            raise

    def _start(self) -> None:
        _require_listener(self._runner.loop, self._address)
        self._open()

    def _open(self) -> None:
        loop = self._runner.loop
        instants = self._instants()
        self.timeline = Timeline(instants or loop.time, seed=self.seed)
        self._cursor = Cursor(self.timeline)
        self._recorder = Recorder(self.timeline, self.dialect)
        self._network = ChaosNetwork(
            self._link(instants),
            self._runner,
            self.timeline,
            self._recorder,
            passes_tls=self._scheme == "wss" and not self._terminates,
        )
        self._started.callback(self._network.stop)
        self._meter = LagMeter(loop, self.timeline.late)
        if self._serves or self.engine != "process":
            self._runner.call(self._meter.start)
            self._started.callback(self._runner.call, self._meter.stop)
        self._listen(CLIENT)

    def _instants(self) -> Instants | None:
        if self.engine != "process":
            return None
        from .engines.process import Instants  # here, and below: only who has that engine needs it

        return Instants(self._runner.loop.time)

    def _link(self, instants: Instants | None) -> Link:
        trust: Trust = (self._upstream_ssl or "system") if self._terminates else None
        if instants is not None and isinstance(self._runner, LoopThread):
            from .engines.process import Process

            return Process(self._runner, self._recorder, instants, self._address, trust, seed=self.seed)
        if self.engine == "embedded":
            return Embedded(self._runner, self._recorder, self._address, trust, seed=self.seed)
        from .engines.named import find  # its client is toxiproxy-python's, which takes its time
        from .engines.real import Real

        api, route = find(self.engine)
        here = Embedded(self._runner, self._recorder, self._address, trust, seed=self.seed, host=route.host)
        return Real(here, api, route, self.timeline, slowest=self.profile.heartbeat.deadline / 2)

    def _listen(self, client: str) -> None:
        """A listener of a client, unless it has one."""
        if client not in self._listeners:
            listen = self._network.listen_tls(client, client) if self._terminates else self._network.listen(client)
            self._listeners[client] = listen

    def stop(self) -> None:
        """End everything: faults, connections, server, thread. A second call does nothing."""
        self.timeline.close()
        self._started.close()

    def __enter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        await self._runner.settled()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # --- where to connect ---

    @property
    def url(self) -> str:
        """Where the client under test connects: through the proxy."""
        return self.url_for(CLIENT)

    @property
    def host(self) -> str:
        """Host of the proxy."""
        return self._listeners[CLIENT].rpartition(":")[0]

    @property
    def port(self) -> int:
        """Port of the proxy."""
        return int(self._listeners[CLIENT].rpartition(":")[2])

    def url_for(self, client: str) -> str:
        """The URL of another client, on a listener of its own, so that the checks can tell the clients apart."""
        if not isinstance(client, str) or not client:
            raise ValueError(f"client = {client!r}: must be a name")
        self._listen(client)
        return urlunsplit((self._scheme, self._listeners[client], self._path, self._query, ""))

    @property
    def wss_url(self) -> str:
        """:attr:`url` for a client that speaks TLS, and trusts what :attr:`ssl_context` does."""
        return self.wss_url_for(CLIENT)

    def wss_url_for(self, client: str) -> str:
        """:meth:`url_for` for a client that speaks TLS. The proxy ends it, so that all that is judged can be read.

        Where the server itself speaks wss it is the same as :meth:`url_for`.

        Raises:
            TrustmeMissing: the extra ``tls`` is not installed.
        """
        url = self.url_for(client)
        if self._scheme == "wss":
            return url
        if client not in self._tls_listeners:
            self._tls_listeners[client] = self._network.listen_tls(f"{client}+tls", client)
        return urlunsplit(("wss", self._tls_listeners[client], self._path, self._query, ""))

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """For a client on :attr:`wss_url`: it trusts the authority of this test, and no other.

        Raises:
            FaultError: the proxy passes the server's own TLS through, whose authority it does not know.
            TrustmeMissing: the extra ``tls`` is not installed.
        """
        return self._network.authority.client

    @property
    def virtual(self) -> bool:
        """Whether it is on virtual time."""
        return self._network.virtual

    @property
    def held_up(self) -> bool:
        """Whether the engine's thread stood still so often that a process of its own would have judged better."""
        return self.engine == "embedded" and self._meter.standstills >= OFTEN

    def serve_api(self) -> int:
        """Serve Toxiproxy's HTTP API for the engine of the test; returns its port. A real one serves it itself."""
        return self.api.port

    @property
    def api(self) -> Api:
        """Where Toxiproxy's HTTP API is, which is served from now on; and what our names begin with there."""
        return self._network.serve_api()

    # --- waiting ---

    async def wait_for(
        self,
        kind: str,
        count: int = 1,
        timeout: float | None = None,
        *,
        client: str | None = None,
        place: Place | None = None,
    ) -> Event:
        """The next event of a kind after the one that the last wait returned; with ``count`` the n-th such.

        Events that came between two waits count.

        Args:
            timeout: seconds; None: the profile's patience, the time in which a client that keeps it is ready again
                whatever single thing went wrong (115 s by the default profile).
            client: the listener that it must concern; None: any.
            place: who must have seen it; None: anyone.

        Raises:
            EventTimeout: it did not come; the message says what came instead.
            ValueError: there is no such kind of event.
        """
        __tracebackhide__ = True
        try:
            return await self._cursor.wait_for(kind, count, self._timeout(timeout), client, place)
        except EventTimeout:
            self._network.catch_up()  # an engine that has ended is another matter
            raise

    def wait(
        self,
        kind: str,
        count: int = 1,
        timeout: float | None = None,
        *,
        client: str | None = None,
        place: Place | None = None,
    ) -> Event:
        """:meth:`wait_for`, for tests that are not asynchronous: blocks.

        Raises:
            EventTimeout, ValueError: as :meth:`wait_for` does.
            RuntimeError: a loop is running in this thread, and with it perhaps the client: nothing would ever come.
        """
        __tracebackhide__ = True
        self._runner.require_other_thread()
        _require_no_loop()
        try:
            return self._cursor.wait(kind, count, self._timeout(timeout), client, place)
        except EventTimeout:
            self._network.catch_up()
            raise

    def _timeout(self, timeout: float | None) -> float:
        return self.profile.patience if timeout is None else timeout

    # --- what only the client or the test can tell ---

    def report(self, event: Mapping[str, Any], client: str = CLIENT) -> None:
        """Put on record what the client told its application: ``{"event": "gave_up", ...}``.

        Pass it to a client as its ``on_event``. Rules about what the application sees need it.
        """
        if not isinstance(event, Mapping) or not isinstance(event.get("event"), str):
            raise ValueError(f'event = {event!r:.80}: must be a dict such as {{"event": "gave_up"}}')
        # A client's own clock or client id is its own affair; the record has columns of these names.
        detail = {name: value for name, value in event.items() if name not in NO_DETAIL}
        if "data" in event:
            detail["digest"] = digest(event["data"])
        self.timeline.record(f"app.{event['event']}", "app", client=client, **detail)

    def sent(self, data: Any, *, topic: str | None = None, ref: str | None = None, client: str = CLIENT) -> None:
        """Put on record that the application asked the client to send ``data``. Rules about loss need it."""
        detail: dict[str, Any] = {"digest": digest(data), "size": payload_size(data)}
        if isinstance(data, bytes | bytearray | memoryview):
            detail["binary"] = True
        self.timeline.record("app.send", "app", client=client, topic=topic, ref=ref, **detail)

    def closing(self, client: str = CLIENT) -> None:
        """Put on record that the application closes the client on purpose."""
        self.timeline.record("app.close", "app", client=client)

    # --- judging ---

    def freeze(self) -> Record:
        """The timeline up to now, to be judged or saved."""
        # Without its last delay on record, a loop that is behind would look like a client that is.
        self._network.catch_up()
        return self.timeline.freeze()

    def check(self, *rules: str, profile: Profile | str | None = None) -> list[Verdict]:
        """Judge what has happened so far by some rules, ids or globs (all where none is named).

        Raises:
            UnknownRule: a rule that there is not.
        """
        return judge(self.freeze(), self._profile(profile), *rules)

    def assert_rules(self, *rules: str, profile: Profile | str | None = None, strict: bool = False) -> list[Verdict]:
        """Judge, and raise on any FAIL, on a rule named in full that is neither PASS nor NON-STRICT, and on a
        glob of which nothing is PASS. ``strict``: on anything but PASS.

        Raises:
            RuleBroken: with verdicts, timeline, figures and seed.
            UnknownRule: a rule that there is not.
        """
        __tracebackhide__ = True
        record = self.freeze()
        figures = self._profile(profile)
        verdicts = judge(record, figures, *rules)
        broken = _broken(verdicts, rules or ("*",), strict)
        if broken:
            raise RuleBroken(explain(broken, verdicts, record, self.repeat))
        return verdicts

    def _profile(self, profile: Profile | str | None) -> Profile:
        return self.profile if profile is None else load_profile(profile)


class Chaos(ChaosProxy):
    """Chaos in front of the reference server; what the fixture ``wschaos`` is.

    Args:
        profile: the figures of the client under test, and of the reference server.
        dialect: reads the messages; None: frames only.
        seed: where all randomness comes from, tokens included.
        repeat, loop, engine: as for :class:`ChaosProxy`.
    """

    _serves = True

    def __init__(
        self,
        *,
        profile: Profile | str | None = None,
        dialect: Dialect | None = REFERENCE,
        seed: int = 0,
        repeat: str = "",
        loop: asyncio.AbstractEventLoop | None = None,
        engine: str = "embedded",
    ) -> None:
        self._handler: HandlerServer | None = None
        self._clients: set[str] = set()
        super().__init__(
            "127.0.0.1:0/ws", profile=profile, dialect=dialect, seed=seed, repeat=repeat, loop=loop, engine=engine
        )

    def _start(self) -> None:
        self._reference = ReferenceServer(
            profile=self.profile, seed=random.Random(f"server/{self.seed}").getrandbits(64)
        )
        self._runner.run(self._reference.start())
        self._ends(self._reference)
        self._address = f"127.0.0.1:{self._reference.port}"
        self.server = ServerHandle(self._reference, self._runner)
        self._token = self.server.issue_token()
        self._peer = Peer(self._reference)
        self._open()

    def _ends(self, server: ReferenceServer | HandlerServer) -> None:
        self._started.callback(self._stop_server, server)
        self._runner.at_close(lambda: server.stop(grace=0) if server.running else None)

    def _stop_server(self, server: ReferenceServer | HandlerServer) -> None:
        self._runner.finish(server.stop(grace=0), CANCEL_TIMEOUT)

    @property
    def echo_url(self) -> str:
        """A plain echo through the proxy, for clients that speak no protocol of ours."""
        return self.echo_url_for(CLIENT)

    def echo_url_for(self, client: str) -> str:
        """:attr:`echo_url` of another client; see :meth:`url_for`."""
        return urlunsplit(urlsplit(self.url_for(client))._replace(path="/echo", query=""))

    @property
    def wss_echo_url(self) -> str:
        """:attr:`echo_url` for a client that speaks TLS; see :attr:`wss_url`."""
        return urlunsplit(urlsplit(self.wss_url)._replace(path="/echo", query=""))

    @property
    def token(self) -> str:
        """The token that the server accepts now. Pass ``lambda: wschaos.token`` to a client that refreshes it."""
        return self._token

    def rotate_token(self, *, revoke: bool = False) -> str:
        """Issue a new token and let the old one expire (or ``revoke`` it); returns the new one."""
        old, self._token = self._token, self.server.issue_token()
        (self.server.revoke if revoke else self.server.expire)(old)
        self.timeline.record(
            "token", "harness", fingerprint=fingerprint(self._token), replaced=fingerprint(old), revoked=revoke
        )
        return self._token

    def client(
        self, name: str = CLIENT, *, kind: type[ReferenceClient] = ReferenceClient, wss: bool = False, **options: Any
    ) -> ClientHandle:
        """A reference client on the engine's loop, connecting through the proxy, its events on record.

        Args:
            name: the client's listener; each further client takes a name of its own.
            kind: the reference client, or a subclass of it.
            wss: whether it speaks TLS, trusting :attr:`ssl_context` unless it is given another ``ssl``.
            options: what the reference client takes; by default the test's profile and current token.

        Raises:
            ValueError: there is a client of that name already.
        """
        if name in self._clients:
            raise ValueError(f"there is a client named {name!r} already: each takes a name of its own")
        settings: dict[str, Any] = {
            "token": lambda: self.token,
            "seed": random.Random(f"{name}/{self.seed}").getrandbits(64),
            **({"ssl": self.ssl_context} if wss else {}),
            **options,
            "profile": self._profile(options.get("profile")),
        }
        told = settings.pop("on_event", None)

        def on_event(event: dict[str, object]) -> None:
            self.report(event, name)
            if told is not None:
                told(event)

        self._clients.add(name)
        return ClientHandle(
            self._runner,
            kind(self.wss_url_for(name) if wss else self.url_for(name), **settings, on_event=on_event),
            lambda topic, data, ref: self.sent(data, topic=topic, ref=ref, client=name),
            lambda what, detail: self.timeline.record(f"app.{what}", "app", client=name, **detail),
            settings["profile"].close.timeout,
        )

    def fleet(
        self,
        n: int,
        factory: Factory | None = None,
        *,
        name: str = "fleet",
        lanes: int = 1,
        progress: bool | None = None,
        **options: Any,
    ) -> Fleet:
        """``n`` clients that connect through the proxy, on the running loop; see :mod:`.simulation.fleet`.

        Args:
            factory: ``factory(url, number, report)`` makes a client; None: the reference client.
            name: of their listener.
            lanes: so many of them have a listener, a full record and so verdicts of their own; the others are counted.
            progress: whether a line tells how far it is; None: where there is a terminal.
            options: what the reference client takes.

        Raises:
            ValueError: ``n`` or ``lanes`` cannot be, or there are too few descriptors for ``n`` on the real clock.
            TypeError: the factory is none, or makes no clients; or the options are not for the clients that it makes.
            RuntimeError: no loop is running.
        """
        from .simulation.fleet import Fleet  # only few tests need it

        return Fleet(self, n, factory, self._recorder, name=name, lanes=lanes, progress=progress, options=options)

    def serve(self, handler: Handler, *, path: str = "/", subprotocols: tuple[str, ...] = ()) -> str:
        """Put a handler of your own (``async def handler(websocket)``, as for ``websockets.serve``) behind the proxy
        in place of the reference server, with all faults; returns the URL to connect to.

        The handler runs on the engine's loop. Its protocol is read by the dialect of the test.

        Raises:
            RuntimeError: a handler is being served already.
            TypeError: it cannot be called, or the subprotocols are no tuple.
        """
        if not callable(handler):
            raise TypeError(f"handler = {handler!r}: must be an async def that takes the connection")
        if isinstance(subprotocols, str):
            raise TypeError(f"subprotocols = {subprotocols!r}: must be a tuple of names")
        if self._handler is not None:
            raise RuntimeError("serve() was called before in this test: one handler a test")
        server = HandlerServer(
            handler, dialect=self.dialect, subprotocols=subprotocols, close_timeout=self.profile.close.timeout
        )
        self._runner.run(server.start())
        self._ends(server)
        self._handler = server
        self._peer = Peer(server)
        self._path, self._query = path, ""
        self._network.redirect(f"127.0.0.1:{server.port}")
        return self.url


def _engine(name: str) -> str:
    if name != "auto":
        return name
    from .engines.named import first

    return first(None)


def _require_no_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("wait() would block the running loop: await wait_for() instead")


def _broken(verdicts: list[Verdict], patterns: tuple[str, ...], strict: bool) -> list[Verdict]:
    """The verdicts for which an assertion must fail."""
    good = (Outcome.PASS,) if strict else (Outcome.PASS, Outcome.NON_STRICT)
    broken = [v for v in verdicts if v.outcome is Outcome.FAIL or (strict and v.outcome not in good)]
    by_rule = {verdict.rule: verdict for verdict in verdicts}
    for pattern in patterns:
        named = [by_rule[rule] for rule in select(pattern)]
        if pattern.upper() in by_rule:
            broken += [verdict for verdict in named if verdict.outcome not in good]
        elif not any(verdict.outcome is Outcome.PASS for verdict in named):
            broken += named
    return [verdict for verdict in verdicts if verdict in broken]


def dialect_instance(dialect: Dialect | None) -> Dialect | None:
    """A dialect that can be used as it is.

    Raises:
        TypeError: it is none, or a class.
    """
    if dialect is None or isinstance(dialect, Dialect):
        return dialect
    raise TypeError(f"dialect = {dialect!r}: must be an instance of a subclass of pytest_wschaos.Dialect, or None")


def _split(upstream: str) -> tuple[str, str, str, str]:
    """Scheme, ``host:port``, path and query of an upstream."""
    wrong = UpstreamError(f"upstream {upstream!r}: must be host:port, or a ws:// or wss:// URL")
    if not isinstance(upstream, str):
        raise wrong
    try:
        url = urlsplit(upstream if "://" in upstream else f"ws://{upstream}")
        host, port = url.hostname, url.port
    except ValueError:
        raise wrong from None
    if url.scheme not in ("ws", "wss") or not host or (port is None and "://" not in upstream):
        raise wrong
    if port is None:
        port = 443 if url.scheme == "wss" else 80
    return url.scheme, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", url.path or "/", url.query


def _require_listener(loop: asyncio.AbstractEventLoop, address: str) -> None:
    name, _, port = address.rpartition(":")
    host, network = name.strip("[]"), getattr(loop, "network", None)
    try:
        if network is None:
            socket.create_connection((host, int(port)), UPSTREAM_TIMEOUT).close()
        elif not network.listens(host, int(port)):
            raise ConnectionRefusedError("connection refused")
    except socket.gaierror as error:
        raise UpstreamError(f"{host} cannot be resolved ({error.strerror})") from None
    except OSError as error:
        reason = str(error) or f"no answer within {UPSTREAM_TIMEOUT:g} s"
        raise UpstreamError(
            f"nothing listens on {address} ({reason}): start the server before asking for a proxy in front of it"
        ) from None


def load_profile(value: Profile | str | Path | None, folder: Path = Path()) -> Profile:
    """A profile from what a marker, an option or an ini value gives: itself, a preset's name, or a file.

    ``folder`` is where the path of a file counts from; the current one by default.

    Raises:
        ProfileError: there is none of that name, or the file holds none.
    """
    if value is None or isinstance(value, Profile):
        return value or Profile()
    if not isinstance(value, str | Path):
        raise ProfileError(f"profile = {value!r}: must be a Profile, a preset's name, or a .toml or .json file")
    if Path(value).suffix in (".toml", ".json"):
        return Profile.load(folder / value)
    return Profile.preset(str(value))
