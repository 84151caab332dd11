"""Whether a fault met anything: a chaos test in which nothing was disturbed proves nothing."""

from __future__ import annotations

from ..timeline import Event, Record, toxic_name
from .story import Fault, faults

EXEMPT = frozenset({"idle_timeout", "suspend", "unanswered"})
"""Faults of which the point may be that they meet nothing, that always do, or of which nobody can tell."""
_WAYS = {"both": ("up", "down"), "up": ("up",), "down": ("down",)}


def toothless(record: Record) -> list[Fault]:
    """The faults that had to meet something and did not, in order."""
    return [
        fault
        for fault in faults(record)
        if fault.name not in EXEMPT and fault.event.get("must_bite", True) and not bit(record, fault)
    ]


def bit(record: Record, fault: Fault) -> bool:
    """Whether a fault met anything."""
    return any(_meets(event, fault) for event in record.events if fault.start <= event.at)


def _meets(event: Event, fault: Fault) -> bool:
    during = event.at <= fault.end
    match fault.name:
        case "abort" | "disconnect" | "lifetime" | "reset_now":
            return event.kind == "cut" and event.get("fault") == fault.name
        case "frame" | "handshake" | "schedule":
            # A cut says what kind of toxic it was, and not which one.
            acted = event.kind == "acted" and event["toxic"].startswith(f"{toxic_name(fault.name, fault.id)}-")
            return acted or (during and event.kind == "cut" and event.get("fault") == fault.name)
        case "close":  # it is sent in the loop's next turn
            return _sent_by_server(event) and event.kind == "close" and event.get("code") == fault.event.get("code")
        case "refuse":
            return during and (bool(event.get("refused")) or (event.kind == "cut" and event.get("fault") == "down"))
        case "unanswered_handshake":
            return during and event.kind == "attempt"
        case "bad_certificate":
            return during and event.kind == "attempt" and bool(event.get("tls"))
        case "reject_handshake":
            return during and _sent_by_server(event) and event.get("status") == fault.event.get("status")
        case "accept_then_close":
            return during and _sent_by_server(event) and event.kind == "close"
        case "mute_pongs":
            return during and event.kind == "ping" and event.place == "server" and event.way == "up"
    # What enters the proxy in a direction meets the network's other faults.
    enters = (event.place == "client") == (event.way == "up")
    moves = bool(event.way) and enters and event.way in _WAYS[fault.event.get("direction", "both")]
    return during and (moves or (fault.name == "silent_drop" and event.kind == "attempt"))


def _sent_by_server(event: Event) -> bool:
    return event.place == "server" and event.way == "down"
