"""Conformance: which of the spec's rules a client or a server breaks, each provoked by cases of its own.

The folders of the areas (``reconnect``, ``backoff`` ...) hold the cases: ``client.py`` those that bind a client,
``server.py`` those that bind a server, ``rules.toml`` why each rule is there, what breaks it and how to mend that.
SCALE-01, SCALE-02, SCALE-04, PROXY and STATE-05 have no cases yet.

===================== =============================================================
:mod:`.suite`         what a case is, how it is played, and as what pytest sees it
:mod:`.subjects`      how that which is under test is started and driven
:mod:`.reports`       what comes of it, for people and for programs
===================== =============================================================
"""
