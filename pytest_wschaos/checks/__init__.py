"""The checks: one module per area of the spec, one function per rule, registered by :func:`check`."""

from __future__ import annotations
