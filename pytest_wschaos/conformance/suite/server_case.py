"""How a case for servers is registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .case import Figures, Script, case

ROOMY: Figures = {
    "heartbeat": {"deadline": 1.5, "server_deadline": 1.5},
    "reconnect": {"open_timeout": 3.0},
    "auth": {"timeout": 2.0},
    "close": {"timeout": 1.5},
    "security": {"handshake_timeout": 2.0},
}
"""Where figures are scaled down these are not, or less: what comes at once comes a little later on a busy machine."""


def server_case(
    id: str,
    requirement: str,
    *,
    each: Iterable[Mapping[str, Any]] = ({},),
    figures: Figures | None = None,
    process: bool = False,
) -> Callable[[Script], Script]:
    """Register a script as a case for servers, as :func:`.case.case` does."""
    return case(id, requirement, side="server", each=each, figures=figures, scaled=ROOMY, process=process)
