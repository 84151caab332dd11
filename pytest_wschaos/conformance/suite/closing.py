"""How a client's connections ended when it was told to close: the verdict beside that on the rule."""

from __future__ import annotations

from enum import StrEnum

from ...checks.tolerance import GRACE
from ...timeline import Record


class Closing(StrEnum):
    """The verdicts on the close of a case."""

    OK = "OK"
    """A Close with code 1000 or 1001 and its answer, or nothing was open."""
    UNCLEAN = "UNCLEAN"
    """TCP ended without a Close of the client."""
    WRONG_CODE = "WRONG_CODE"
    UNSUPPORTED = "UNSUPPORTED"
    """It cannot be told to close, or was gone before."""


GOOD = (1000, 1001)


def closing(record: Record, client: str, asked_at: float) -> Closing | None:
    """How the connection ended that was ready, and known to be, when the client was asked to close; None: not yet.

    Args:
        asked_at: seconds from the record's start.
    """
    mine = [event for event in record.events if event.client == client]
    opened = [e.conn for e in mine if e.kind == "ready" and e.at <= asked_at - GRACE]
    ended = {e.conn: e.at for e in mine if e.kind == "end" and e.place == "client"}
    live = [conn for conn in opened if ended.get(conn, asked_at) >= asked_at]
    if not live:
        return Closing.UNSUPPORTED
    for conn in live:
        said = next((e for e in mine if e.conn == conn and e.kind == "close" and e.way == "up"), None)
        if said is None:
            return Closing.UNCLEAN if conn in ended else None
        if said.get("code") not in GOOD:
            return Closing.WRONG_CODE
    return Closing.OK
