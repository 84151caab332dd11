"""A small HTTP/1.1 server: what an API on a loopback address needs, and no more."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote, urlsplit

from . import listener, open_files
from .descriptor import ACCEPT_AT_ONCE

HEAD_LIMIT = 64 * 1024
"""Bytes that the request line and headers may have, and each line of a chunked body."""
BODY_LIMIT = 8 * 1024 * 1024
"""Bytes that a body may have."""
BACKLOG = 128
"""Connections that may wait to be accepted."""
IDLE_TIMEOUT = 60.0
"""Seconds that a connection is kept open for the next request."""
READ_TIMEOUT = 15.0
"""Seconds in which a body must have come."""
WRITE_TIMEOUT = 30.0
"""Seconds in which a response must have been taken; of one that is streamed, each piece may take as long as it will."""


@dataclass(frozen=True)
class Request:
    """A request. ``path`` is decoded and without the query, which is as it came; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    lasting: bool
    """Whether the connection may be used for another one."""
    query: str = ""
    version: str = "HTTP/1.1"


class Stream(Protocol):
    """A body that comes piece by piece, until it ends, the client leaves or the server stops. Then it is closed."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces."""

    async def aclose(self) -> None:
        """Nothing more is asked for."""


@dataclass(frozen=True)
class Response:
    """A response; without a ``content_type`` it has no body. The connection ends with a body that is streamed."""

    status: int
    body: bytes | Stream = b""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Unacceptable(Exception):
    """A request that cannot be read; the connection ends after saying so."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.response = Response(status, f"{text}\n".encode(), "text/plain; charset=utf-8")


class HttpServer:
    """Serves one handler; requests of one connection one after another.

    Args:
        handle: answers a request; what it raises is answered with 500.
    """

    def __init__(self, handle: Callable[[Request], Awaitable[Response]]) -> None:
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. A second call returns the port of the first.

        Raises:
            OSError: the address is taken, or is none.
        """
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_LIMIT, backlog=ACCEPT_AT_ONCE)
            listener.deepen(self._server, BACKLOG)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening, and end every connection at once."""
        if self._server is not None:
            listener.close(self._server)
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        closed = asyncio.create_task(_closed(writer))
        closed.add_done_callback(self._tasks.discard)
        self._tasks.update((task, closed))
        try:
            if self._server is not None:
                await self._converse(reader, writer)
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            # The client has gone, or takes too long, or we stop. A cancellation ends here: nobody awaits this task.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lasting, head = True, False
        while lasting:
            try:
                request = await read_request(reader, writer)
            except Unacceptable as refusal:
                response, lasting = refusal.response, False
            else:
                response, head = await self._answer(request), request.method == "HEAD"
                # One that idles must not keep one of the last descriptors.
                lasting = request.lasting and not open_files.reserved(writer.get_extra_info("socket"))
            if not isinstance(response.body, bytes):
                await _stream(response, response.body, reader, writer, chunked=request.version == "HTTP/1.1")
                return
            writer.write(encode(response, lasting=lasting, head=head))
            async with asyncio.timeout(WRITE_TIMEOUT):
                await writer.drain()
            await asyncio.sleep(0)  # one that sends many requests at once must not keep others waiting

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handle(request)
        except Exception as error:
            return Response(500, f"internal error: {error!r}\n".encode(), "text/plain; charset=utf-8")


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Take note of how a connection ended: asyncio complains of an error that nobody has asked for."""
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    """Read one request.

    Raises:
        Unacceptable: it is malformed or too large.
        EOFError: the client has closed.
        TimeoutError: it takes too long.
    """
    async with asyncio.timeout(IDLE_TIMEOUT):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.LimitOverrunError:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise Unacceptable(status, f"the head is larger than {HEAD_LIMIT} bytes") from None
    first, *lines = head.strip("\r\n").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise Unacceptable(HTTPStatus.BAD_REQUEST, "not an HTTP/1.1 request")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    elif headers.get("expect"):
        raise Unacceptable(HTTPStatus.EXPECTATION_FAILED, "nothing but 100-continue can be expected")
    async with asyncio.timeout(READ_TIMEOUT):
        body = await _read_body(reader, headers)
    try:
        target = urlsplit(re.sub("^/(?=/)", "/./", parts[1]))
    except ValueError:
        target = None
    if target is None or re.search("%(?![0-9A-Fa-f]{2})", target.path):
        raise Unacceptable(HTTPStatus.BAD_REQUEST, "not an HTTP/1.1 request target")
    lasting = parts[2] == "HTTP/1.1" and "close" not in headers.get("connection", "").lower()
    return Request(parts[0], unquote(target.path), headers, body, lasting, target.query, parts[2])


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "transfer-encoding" in headers:
        if headers["transfer-encoding"].lower() != "chunked":
            raise Unacceptable(HTTPStatus.NOT_IMPLEMENTED, "no transfer encoding but chunked is understood")
        return await _read_chunks(reader)
    length = headers.get("content-length", "0")
    return await reader.readexactly(_size(length, 10))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := _size((await _read_line(reader)).partition(";")[0], 16, len(body)):
        body += await reader.readexactly(size)
        await _read_line(reader)
    while await _read_line(reader):
        pass  # trailers
    return bytes(body)


async def _read_line(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n")).decode("latin-1").strip()
    except asyncio.LimitOverrunError:
        raise Unacceptable(HTTPStatus.BAD_REQUEST, "a line of the chunked body is too long") from None


def _size(text: str, base: int, before: int = 0) -> int:
    digits = text.strip()
    if not digits.isalnum() or not digits.isascii() or len(digits) > 20:
        raise Unacceptable(HTTPStatus.BAD_REQUEST, f"no size of a body: {text[:20]!r}")
    try:
        size = int(digits, base)
    except ValueError:
        raise Unacceptable(HTTPStatus.BAD_REQUEST, f"no size of a body: {text[:20]!r}") from None
    if before + size > BODY_LIMIT:
        raise Unacceptable(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {BODY_LIMIT} bytes")
    return size


async def _stream(
    response: Response, body: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, chunked: bool
) -> None:
    """Send a body as it comes. A client that does not read is waited for; the body sees to it that nothing piles up."""
    sending = asyncio.create_task(_send(response, body, writer, chunked=chunked))
    leaving = asyncio.create_task(_left(reader))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        leaving.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
        await body.aclose()
    sending.result()  # raises what cut it short, and be it that the client has left


async def _send(response: Response, body: Stream, writer: asyncio.StreamWriter, *, chunked: bool) -> None:
    framing = ["Transfer-Encoding: chunked"] if chunked else []
    writer.write(_head(response, [*framing, "Connection: close"]))
    async for piece in body:
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await writer.drain()
        await asyncio.sleep(0)  # others have their turn, however much there is to send
    if chunked:
        writer.write(b"0\r\n\r\n")
    writer.transport.set_write_buffer_limits(0)
    async with asyncio.timeout(WRITE_TIMEOUT):
        await writer.drain()


async def _left(reader: asyncio.StreamReader) -> None:
    """Wait until the client has left; what it still sends is not read as a request."""
    while await reader.read(HEAD_LIMIT):
        pass


def encode(response: Response, *, lasting: bool = True, head: bool = False) -> bytes:
    """The response as it is sent; to HEAD without its body."""
    assert isinstance(response.body, bytes)
    framing = [] if response.status == HTTPStatus.NO_CONTENT else [f"Content-Length: {len(response.body)}"]
    framing += [] if lasting else ["Connection: close"]
    return _head(response, framing) + (b"" if head else response.body)


def _head(response: Response, framing: list[str]) -> bytes:
    lines = [
        f"HTTP/1.1 {int(response.status)} {HTTPStatus(response.status).phrase}",
        f"Date: {formatdate(usegmt=True)}",
    ]
    if response.content_type:
        lines.append(f"Content-Type: {response.content_type}")
    lines += framing
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
