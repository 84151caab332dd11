"""Ways in which attempts fail, by a name for ids and words for people: what scripts choose from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...faults import Fault
    from ...harness import Chaos


@dataclass(frozen=True)
class Failure:
    """A way in which every attempt fails while a fault is in force."""

    words: str
    begin: Callable[[Chaos], Fault]


FAILURES: Mapping[str, Failure] = {
    "refused": Failure("is refused", lambda chaos: chaos.refuse()),
    "reset": Failure("is reset as soon as it is accepted", lambda chaos: chaos.reset_now()),
    "unanswered-handshake": Failure("gets no answer to its handshake", lambda chaos: chaos.unanswered_handshake()),
    "http-500": Failure("is answered HTTP 500", lambda chaos: chaos.handshake(500)),
    "http-503": Failure("is answered HTTP 503", lambda chaos: chaos.handshake(503)),
    "wrong-accept-key": Failure(
        "is answered with a wrong Sec-WebSocket-Accept", lambda chaos: chaos.handshake(accept="bm90IHRoaXMgb25lIQ==")
    ),
    "accept-then-close": Failure("is accepted, and closed at once", lambda chaos: chaos.accept_then_close(1011)),
}


def failures(*names: str) -> list[dict[str, str]]:
    """What :func:`.case.case` takes for ``each``, to have a case for each of these ways (none named: for all)."""
    return [{"way": name, "fails": FAILURES[name].words} for name in names or FAILURES]
