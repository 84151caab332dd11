"""What the commands do when they are told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable


def on_signal(action: Callable[[], object]) -> None:
    """Call ``action`` in the running loop on SIGTERM and SIGINT, in place of what was called before."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C still ends it, without draining
            asyncio.get_running_loop().add_signal_handler(number, action)
