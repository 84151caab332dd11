"""The ways in which a proxy is down, over the HTTP API, and what its clients see."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pytest_wschaos.engine import unanswered
from pytest_wschaos.engine.errors import BadRequest

from .rig import Rig, eventually
from .test_api import Wire, served, wire  # noqa: F401

pytestmark = pytest.mark.asyncio

SOON = 0.2
"""Seconds in which a connection that is not answered is not made."""


async def turn(wire: Wire, **fields: Any) -> Any:  # noqa: F811
    answer = await wire.ask("POST", "/proxies/client", fields)
    assert answer.status == 200
    return answer.json


async def up_again(rig: Rig, wire: Wire) -> None:  # noqa: F811
    listen = rig.proxy.listen
    shown = await turn(wire, enabled=True)
    assert (shown["enabled"], shown["listen"]) == (True, listen)
    assert "down" not in shown
    while not rig.accepted.empty():
        rig.accepted.get_nowait()
    await rig.echo(*await rig.pair())


async def test_observe_accepts_tells_and_resets(rig: Rig, wire: Wire) -> None:  # noqa: F811
    live, _ = await rig.pair()
    shown = await turn(wire, enabled=False, down="observe")
    assert (shown["enabled"], shown["down"]) == (False, "observe")
    assert await live.rest() == b""
    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            await (await rig.client()).rest()
    assert rig.notes.refusals == ["client"] * 3
    assert (await turn(wire))["down"] == "observe"
    await up_again(rig, wire)


async def test_refuse_is_what_it_does_without_being_told(rig: Rig, wire: Wire) -> None:  # noqa: F811
    shown = await turn(wire, down="refuse")
    assert shown["enabled"] is False
    assert "down" not in shown
    with pytest.raises(ConnectionRefusedError):
        await rig.client()
    await up_again(rig, wire)


@pytest.mark.wschaos(clock="real, virtual")  # the kernel repeats a SYN by a clock of its own
async def test_unanswered_leaves_clients_waiting_until_it_is_up(rig: Rig, wire: Wire) -> None:  # noqa: F811
    live, _ = await rig.pair()
    assert (await turn(wire, enabled=False, down="unanswered"))["down"] == "unanswered"
    assert await live.rest() == b""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON):
            await rig.client()
    assert len(rig.notes.taps) == 1
    waiting = asyncio.create_task(rig.client())
    await asyncio.sleep(0.05)
    await up_again(rig, wire)
    await rig.echo(await waiting, await rig.accepted.get())  # its SYN is repeated


async def test_where_syns_are_answered_it_is_silent_and_says_so(
    rig: Rig,
    wire: Wire,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unanswered, "supported", lambda loop: False)
    assert (await turn(wire, enabled=False, down="unanswered"))["down"] == "silent"
    quiet, gone = await rig.client(), await rig.client()
    await quiet.send(b"anybody?")
    await gone.send(b"anybody?")
    gone.close()
    await eventually(lambda: len(rig.notes.taps) == 2, "both were told")
    await asyncio.sleep(0.05)
    assert quiet.silent
    assert rig.accepted.empty()
    await up_again(rig, wire)
    with pytest.raises(ConnectionResetError):
        await quiet.rest()
    await eventually(lambda: len(rig.proxy.connections) == 1, "the silent ones are gone")


async def test_from_one_way_to_another(rig: Rig, wire: Wire) -> None:  # noqa: F811
    for way in ("silent", "observe", "unanswered", "silent", "refuse", "observe"):
        assert (await turn(wire, down=way)).get("down", "refuse") == way
    await up_again(rig, wire)


async def test_a_new_address_while_it_is_down(rig: Rig, wire: Wire) -> None:  # noqa: F811
    await turn(wire, down="observe")
    shown = await turn(wire, upstream="127.0.0.1:1")
    assert shown["enabled"] is False
    assert "down" not in shown
    assert (await turn(wire, upstream=rig.upstream, down="observe"))["down"] == "observe"
    await up_again(rig, wire)


@pytest.mark.parametrize("fields", [{"down": "no"}, {"down": "observe", "enabled": True}, {"down": ""}])
async def test_what_makes_no_sense_is_named(rig: Rig, wire: Wire, fields: dict[str, Any]) -> None:  # noqa: F811
    status, text = (await wire.ask("PATCH", "/proxies/client", fields)).error
    assert (status, text) == (
        400,
        f"down = {fields['down']!r}: must be one of refuse, observe, unanswered, silent, with enabled = false",
    )
    await rig.echo(*await rig.pair())


async def test_a_port_that_was_taken_meanwhile_is_closed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unanswered, "leave_unanswered", lambda *_: None)
    await rig.proxy.update(down="unanswered")
    assert (rig.proxy.down, rig.proxy.refusing) == (None, True)
    with pytest.raises(BadRequest):
        await rig.proxy.update(down="none")


@pytest.mark.wschaos(clock="real")
async def test_where_it_can_be_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(unanswered, "ABORTS", tmp_path / "none")
    assert not unanswered.supported(loop)
    for text, can in (("0\n", True), ("1\n", False)):
        (tmp_path / "there").write_text(text)
        monkeypatch.setattr(unanswered, "ABORTS", tmp_path / "there")
        assert unanswered.supported(loop) is can


@pytest.mark.wschaos(clock="real")
async def test_a_taken_port_is_not_left_unanswered(rig: Rig) -> None:
    assert unanswered.leave_unanswered(asyncio.get_running_loop(), *rig.proxy.address) is None
