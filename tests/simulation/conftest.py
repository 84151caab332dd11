"""Certificates that are made for one run of the tests."""

from __future__ import annotations

import ssl

import pytest
import trustme

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(scope="session")
def contexts() -> Contexts:
    """The contexts of a client and of a server that it trusts, for 127.0.0.1 and localhost."""
    authority = trustme.CA()
    client = ssl.create_default_context()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(client)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    return client, server
