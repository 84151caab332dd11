"""What to do after a connection has ended, or was refused. Sans-I/O."""

from __future__ import annotations

from dataclasses import dataclass

from ..profile import Close, Reaction

_RETRIED = frozenset({408, 425, 429})
_HINTS = {
    400: "; does a proxy on the way forward the Upgrade and Connection headers?",
    426: "; a proxy on the way does not forward the Upgrade header",
    200: "; a server that knows no WebSocket answered, or a proxy dropped the Upgrade header",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How an attempt or a connection ended."""

    code: int | None = None
    """Close code; None: it never opened; 1006: it was open and broke."""
    reason: str = ""
    own: bool = False
    """Whether this side closed, having found something wrong."""
    status: int | None = None
    """HTTP status, where the handshake was answered with one."""
    retry_after: float | None = None
    """Seconds that the server asked to stay away."""

    def __str__(self) -> str:
        if self.status is not None:
            return f"the server answered HTTP {self.status}{_HINTS.get(self.status, '')}"
        if self.code is None:
            return f"no connection: {self.reason}"
        closed = f"closed with code {self.code}"
        return f"{closed}: {self.reason}" if self.reason else closed


class ClosePolicy:
    """Looks up the reaction to an end. It never reads the reason text, which is for people."""

    def __init__(self, figures: Close) -> None:
        self._figures = figures
        self._refused = False

    def ready(self) -> None:
        """The credentials were accepted; a later refusal may be cured by fresh ones again."""
        self._refused = False

    def after(self, end: End) -> Reaction:
        """The reaction to an end. Credentials refused twice with no ready in between are ``fatal``."""
        reaction = self._look_up(end)
        if reaction != "refresh":
            return reaction
        if self._refused:
            return "fatal"
        self._refused = True
        return "refresh"

    def _look_up(self, end: End) -> Reaction:
        if end.status is not None:
            return http_reaction(end.status)
        if end.code is None:
            return "retry"
        if end.own and end.code == 1009:
            return "retry"  # it was the server's message that was too big, none of ours
        return self._figures.reaction(end.code)


def http_reaction(status: int) -> Reaction:
    """The reaction to an HTTP answer in place of the WebSocket handshake."""
    if status == 401:
        return "refresh"
    if status in _RETRIED or 200 <= status < 300 or status >= 500:
        return "retry"
    return "fatal"  # a redirect too: the client follows none, so that credentials stay where they belong
