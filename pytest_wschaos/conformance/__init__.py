"""Conformance: which of the spec's rules a client or a server breaks, each provoked by cases of its own.

The folders of the areas (``reconnect``, ``backoff`` ...) hold the cases: ``client.py`` those that bind a client,
``server.py`` those that bind a server, ``rules.toml`` why each rule is there, what breaks it and how to mend that.
SCALE-01, SCALE-02, SCALE-04, PROXY and STATE-05 have no cases yet.

===================== =============================================================
:mod:`.suite`         what a case is, how it is played, and as what pytest sees it
:mod:`.subjects`      how that which is under test is started and driven
:mod:`.reports`       what comes of it, for people and for programs
:mod:`.commands`      ``wschaos check``, ``cases``, ``explain`` and ``profile``
===================== =============================================================

In a suite of one's own, with ``--wschaos-client COMMAND`` or a fixture ``wschaos_subject``::

    @pytest.mark.parametrize("case", client_cases("BACKOFF-*"))
    def test_conformance(case, wschaos_subject):
        wschaos_subject.check(case)
"""

from __future__ import annotations

from typing import Any


def client_cases(*patterns: str) -> list[Any]:
    """The cases for clients, as parameters of a test: by ids or globs, of cases or rules (all where none is named).

    Raises:
        ValueError: a pattern names none.
    """
    return _parameters(patterns, "client")


def server_cases(*patterns: str) -> list[Any]:
    """The cases for servers; see :func:`client_cases`."""
    return _parameters(patterns, "server")


def _parameters(patterns: tuple[str, ...], side: Any) -> list[Any]:
    import pytest

    from .suite.case import select

    return [pytest.param(case, id=case.id) for case in select(*patterns, side=side)]
