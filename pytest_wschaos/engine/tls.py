"""TLS of a proxy: with its clients (it terminates), and with the upstream (it encrypts anew).

What it decrypts goes through toxics and tap as plain bytes; a proxy without a certificate passes TLS on as it is.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .connection import LINGER, Connection, Side
from .descriptor import READ_SIZE
from .errors import BadRequest

if TYPE_CHECKING:
    from .go_json import Fields

HANDSHAKE_TIMEOUT = 60.0
"""Seconds that an upstream has for its handshake."""


@dataclass(frozen=True)
class Tls:
    """How a proxy speaks TLS.

    Attributes:
        client: the certificate with which it terminates the clients' TLS; None: what they send passes as it is.
        server: what it trusts when it encrypts on the way to the upstream; None: it does not encrypt.
        shown: the fields of the HTTP API that asked for it.
    """

    client: ssl.SSLContext | None = None
    server: ssl.SSLContext | None = None
    shown: Mapping[str, Any] = field(default_factory=dict)

    def accept(self, connection: Connection) -> asyncio.Protocol:
        """What speaks with the client of a new connection."""
        if self.client is None:
            return connection.client
        end = TlsEnd(connection.client, self.client, failed=connection.tap.error)
        connection.opened = end.opened
        return end

    async def dial(self, connection: Connection, host: str, port: int) -> None:
        """Connect a connection to its server.

        Raises:
            OSError: it cannot be reached, or its certificate is not to be trusted, or it does not answer.
        """
        if self.server is None:
            await connection.loop.create_connection(lambda: connection.server, host, port)
            return
        end = TlsEnd(connection.server, self.server, failed=connection.tap.error, server_name=host)
        tcp, _ = await connection.loop.create_connection(lambda: end, host, port)
        try:
            await end.shaken()
        except BaseException:
            tcp.abort()
            raise


PLAIN = Tls()
"""No TLS of its own."""


def read_tls(fields: Fields) -> Tls:
    """What the fields of a proxy in the HTTP API ask for; :data:`PLAIN` where they ask for nothing.

    ``tls``: the paths of PEM files, ``cert`` and ``key`` (a ``cert`` may hold both). ``upstream_tls``: true to encrypt
    on the way to the upstream; its certificate is verified with the system's authorities, or with those in the PEM
    file ``ca``, unless ``verify`` is false.

    Raises:
        BadRequest: a field that is missing or cannot be, or a file that cannot be used.
    """
    given = fields.fields("tls")
    cert, key = given.text("cert"), given.text("key")
    encrypts, ca, verify = fields.boolean("upstream_tls"), fields.text("ca"), fields.boolean("verify")
    if cert is None and (key is not None or fields.has("tls")):
        raise BadRequest("tls: missing required field: cert")
    for name, value in (("ca", ca), ("verify", verify)):
        if value is not None and not encrypts:
            raise BadRequest(f"{name}: goes with upstream_tls only, and that is not true")
    shown: dict[str, Any] = {}
    if cert is not None:
        shown["tls"] = {"cert": cert} if key is None else {"cert": cert, "key": key}
    if encrypts:
        shown["upstream_tls"] = True
    if not shown:
        return PLAIN
    shown |= {name: value for name, value in (("ca", ca), ("verify", verify)) if value is not None}
    return Tls(
        None if cert is None else _presenting(cert, key),
        _trusting(ca, verify is not False) if encrypts else None,
        shown,
    )


def presenting(certificate: bytes) -> ssl.SSLContext:
    """What presents a certificate that is given with its key, in PEM."""
    from pathlib import Path  # few engines need it, and a process of one's own waits for every import
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:  # ssl reads files only; nobody else may enter this folder
        path = Path(folder, "certificate.pem")
        path.write_bytes(certificate)
        return _presenting(str(path), None)


def _presenting(cert: str, key: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; ValueError: a path that cannot be
        files = f"cert {cert}" + ("" if key is None else f" and key {key}")
        raise BadRequest(f"tls: {files} cannot be used: {_why(error)}") from None
    return context


def _trusting(ca: str | None, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise BadRequest(f"ca: {ca} cannot be used: {_why(error)}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _why(error: OSError | ValueError) -> str:
    """An error in words, without OpenSSL's places in its own source."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM file").lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


class TlsEnd(asyncio.Protocol, asyncio.Transport):
    """One end of a TLS connection: the protocol of the TCP transport below, and the transport of the side above.

    asyncio's own knows an end only in its orderly form, and tells nobody of a handshake that fails. Here the side has
    TCP's ends in its own hand: a RST, a FIN without the farewell of TLS (close_notify), and silence are what they are
    on plain TCP. The farewell is said at an orderly close alone; that of the peer counts as its FIN.

    Args:
        side: reads and writes in plain. A client is made known to it when TCP is connected, a server when the
            handshake is over.
        context: the certificate, or what is trusted.
        failed: told in words what went wrong.
        server_name: what the peer's certificate must be for, where this end is the client.
    """

    def __init__(
        self, side: Side, context: ssl.SSLContext, *, failed: Callable[[str], None], server_name: str | None = None
    ) -> None:
        super().__init__()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the handshake is. Where it fails, an end that accepts has only told the side."""
        self._side = side
        self._failed = failed
        self._accepts = server_name is None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=self._accepts, server_hostname=server_name)
        self._tcp: asyncio.Transport
        self._known = False  # to the side
        self._shaken = False  # hands, that is
        self._deaf = False  # nothing is decrypted any more
        self._said_farewell = False  # the peer has
        self._peer_ended = False  # a FIN has come
        self._closing = False
        self._fin_sent = False

    async def shaken(self) -> None:
        """Wait for the end of the handshake.

        Raises:
            OSError: it has failed, or takes longer than :data:`HANDSHAKE_TIMEOUT`.
        """
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                await self.opened
        except TimeoutError:
            raise TimeoutError(f"no TLS handshake within {HANDSHAKE_TIMEOUT:g} s") from None

    # --- the protocol of TCP

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._tcp = transport
        if hasattr(transport, "max_size"):
            transport.max_size = READ_SIZE
        if self._accepts:
            self._make_known()
        else:
            self._shake()

    def data_received(self, data: bytes) -> None:
        if self._deaf or self._silent(self._side.out.silent):
            return
        self._in.write(data)
        if self._shaken or self._shake():
            self._read()

    def eof_received(self) -> bool:
        self._peer_ended = True
        self._tell_of_a_break()
        if not self._known:
            self._end_dial(ConnectionResetError("it ended the TLS handshake"))
            return False
        if self._said_farewell:
            return not self._fin_sent
        return self._side.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._deaf = self._closing = True
        if self._known:
            self._tell_of_a_break()
            self._side.connection_lost(error)
        else:
            self._end_dial(error or ConnectionResetError("it ended the TLS handshake"))

    def pause_writing(self) -> None:
        self._side.pause_writing()

    def resume_writing(self) -> None:
        self._side.resume_writing()

    # --- TLS

    def _shake(self) -> bool:
        """Go on with the handshake; whether it is over."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._fail(error)
            return False
        self._flush()
        self._shaken = True
        self._make_known()
        if not self.opened.done():
            self.opened.set_result(None)
        return True

    def _make_known(self) -> None:
        if not self._known:
            self._known = True
            self._side.connection_made(self)

    def _read(self) -> None:
        """Hand on what can be decrypted."""
        try:
            while not self._deaf:
                data = self._tls.read(READ_SIZE)
                if data:
                    self._side.data_received(data)
                else:
                    self._deaf = self._said_farewell = True
                    self._side.eof_received()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._fail(error)

    def _fail(self, error: ssl.SSLError) -> None:
        """The peer has broken it off, or is not to be spoken with."""
        self._deaf = True
        if not self._known:
            self._flush()  # the alert that says why
            self._end_dial(error)
            return
        reason = (error.reason or str(error)).lower().replace("_", " ")
        _, by_peer, alert = reason.partition("alert ")
        if by_peer:
            self._failed(f"TLS: the peer broke it off: {alert}")
            self._side.eof_received()
        else:
            self._failed(f"TLS: {reason}")
            self._side.finish()

    def _tell_of_a_break(self) -> None:
        """Some clients end TCP without saying why, in place of a handshake."""
        if self._accepts and not self._shaken and not self._side.over:
            self._failed("TLS: the peer left amid the handshake")

    def _end_dial(self, error: Exception) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
            self.opened.exception()  # it is no fault of the program's if nobody waits for it any more

    def _silent(self, silent: bool) -> bool:
        """Whether a client's handshake meets a link that is dead in a direction: no more of it passes than of data."""
        return silent and self._accepts and not self._shaken

    def _flush(self) -> None:
        data = self._out.read()
        if data and not self._silent(self._side.into.silent):
            self._tcp.write(data)

    # --- the transport of the side

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._tcp.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: Any) -> None:
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        self._flush()

    def pause_reading(self) -> None:
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        self._tcp.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._tcp.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """A FIN without a farewell."""
        self._deaf = self._fin_sent = True
        self._tcp.write_eof()

    def close(self) -> None:
        """The farewell and a FIN, behind what is still to be sent. What the peer still says is thrown away."""
        if self._closing:
            return
        self._closing = self._deaf = True
        with suppress(ssl.SSLError):  # it would wait for the peer's farewell, or there is none to be said
            self._tls.unwrap()
        self._flush()
        if self._peer_ended:
            self._tcp.close()
            return
        # The peer answers a farewell with its own: to a closed socket, which would be answered with a RST.
        with suppress(OSError):  # the peer has reset it, which was not read yet
            self.write_eof()
        self._tcp.resume_reading()
        self._side.keep(LINGER)

    def abort(self) -> None:
        """End TCP at once."""
        self._deaf = self._closing = True
        self._tcp.abort()
