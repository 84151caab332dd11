"""Open a connection, and say in words why it could not be opened."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.typing import Origin, Subprotocol

from ..profile import Profile
from ..retry_after import retry_after
from .close_policy import End
from .credentials import headers, scrub, url_with_token
from .protocol import SUBPROTOCOL
from .wire import QUIET, Dial, Wire


async def dial(
    url: str,
    token: str | None,
    profile: Profile,
    *,
    deadline: float,
    tls: ssl.SSLContext | None = None,
    origin: str | None = None,
) -> Wire | End:
    """Connect and shake hands, up to ``deadline`` on the loop's clock; failing that, how it ended."""
    options: dict[str, Any] = {} if tls is None else {"ssl": tls}
    try:
        async with asyncio.timeout_at(deadline):
            wire = await Dial(
                url_with_token(url, profile.auth.mode, token),
                origin=None if origin is None else Origin(origin),
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                additional_headers=headers(profile.auth.mode, token),
                compression=None,
                proxy=None,
                open_timeout=None,  # the one deadline covers more than the library's own
                ping_interval=None,
                close_timeout=profile.close.timeout,
                max_size=profile.message.max_size,
                write_limit=profile.message.chunk,
                logger=QUIET,
                create_connection=Wire,
                **options,
            )
    except InvalidStatus as error:
        answer = error.response
        return End(status=answer.status_code, retry_after=retry_after(answer.headers))
    except TimeoutError:
        return End(reason=f"no connection within {profile.reconnect.open_timeout:g} s")
    except OSError as error:
        # asyncio's own text for a refused connection says "connect call failed", and hides why.
        known = isinstance(error, ConnectionError) and error.errno is not None
        return End(reason=os.strerror(error.errno or 0) if known else scrub(str(error), token))
    except InvalidHandshake as error:
        return End(reason=scrub(f"no WebSocket handshake: {error}", token))
    except Exception as error:
        # Whatever else goes wrong in one attempt must not end the client in silence.
        return End(reason=type(error).__name__)
    assert isinstance(wire, Wire)
    return wire
