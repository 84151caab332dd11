"""What a server's ``Retry-After`` asks for, in seconds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def retry_after(answer: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After`` header; None without one that can be read.

    Fractions of a second, which the standard does not know, are understood. A date is taken relative to the
    answer's own ``Date``, so that nobody's clock has to be right.

    Args:
        answer: the headers, by names as the standard spells them.
    """
    value = answer.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]*)?", value):
        return float(value)
    try:
        until = parsedate_to_datetime(value) - parsedate_to_datetime(answer.get("Date", ""))
    except (ValueError, TypeError):
        return None
    return max(0.0, until.total_seconds())
