"""A certificate authority that lives as long as its test, and certificates of it: a good one, and bad ones.

OpenSSL judges certificates by the machine's own clock, whatever clock a test is on: so an expired one ran out long ago,
and a good one holds for centuries.
"""

from __future__ import annotations

import datetime
import ssl
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from .engine.tls import presenting

if TYPE_CHECKING:
    from trustme import CA

Certificate = Literal["good", "expired", "wrong_name", "untrusted"]

NAMES = ("127.0.0.1", "localhost", "::1")
"""What a good certificate is for."""
WRONG_NAME = "elsewhere.invalid"
BEGAN, EXPIRED = (datetime.datetime(year, 1, 1) for year in (2000, 2001))


class TrustmeMissing(ImportError):
    """The package that makes certificates is not installed."""


class Authority:
    """Makes certificates for an engine, and tells a client to trust no others.

    Raises:
        TrustmeMissing: trustme is not installed.
    """

    def __init__(self) -> None:
        self._ca = _new_ca()
        self._made: dict[Certificate, bytes] = {}

    @cached_property
    def client(self) -> ssl.SSLContext:
        """A client's context: it trusts this authority and none of the system's, and checks names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context

    def certificate(self, which: Certificate = "good") -> bytes:
        """One of the certificates, with its key, in PEM."""
        if which not in self._made:
            ca = _new_ca() if which == "untrusted" else self._ca
            names = (WRONG_NAME,) if which == "wrong_name" else NAMES
            until = EXPIRED if which == "expired" else None
            made = ca.issue_cert(*names, not_before=BEGAN, not_after=until)
            self._made[which] = made.private_key_and_cert_chain_pem.bytes()
        return self._made[which]

    def server(self, which: Certificate = "good") -> ssl.SSLContext:
        """A server's context, with one of the certificates."""
        return presenting(self.certificate(which))


def _new_ca() -> CA:
    try:
        import trustme  # it imports cryptography, and only tests over wss need it
    except ImportError:
        raise TrustmeMissing("wss needs trustme, to make certificates: pip install 'pytest-wschaos[tls]'") from None
    return trustme.CA()
