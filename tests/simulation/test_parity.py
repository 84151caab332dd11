"""The simulated network against the kernel: the same little programs see the same.

Each scenario runs on plain asyncio in real time, and on both virtual clocks. What its two sides were told, with the
types and numbers of exceptions, has to be the same. How large the pieces are in which data comes, and how much fits
into a connection that nobody reads, is not compared. What differs on purpose is in ``DIFFERENT``.
"""

from __future__ import annotations

import asyncio
import functools
import io
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .clocks import PATIENCE, VIRTUAL, on, outcome, shown
from .sides import BufferedSide, Side, joined, settle

Scenario = Callable[[], Awaitable[object]]
SCENARIOS: list[Scenario] = []
DIFFERENT: list[Scenario] = []


def same(scenario: Scenario) -> Scenario:
    SCENARIOS.append(scenario)
    return scenario


def differs(scenario: Scenario) -> Scenario:
    DIFFERENT.append(scenario)
    return scenario


def staying() -> Side:
    return Side(stays=True)


def notes(*sides: Side) -> object:
    return [list(side.notes) for side in sides]


@functools.cache
def on_the_kernel(scenario: Scenario) -> object:
    return on("real", scenario)  # type: ignore[arg-type]


@pytest.mark.parametrize("clock", VIRTUAL)
@pytest.mark.parametrize("scenario", SCENARIOS_ := SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_program_sees_the_same_as_on_the_kernel(scenario: Scenario, clock: str) -> None:
    raise NotImplementedError
