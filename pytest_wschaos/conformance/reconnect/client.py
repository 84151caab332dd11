"""Cases of RECONNECT, for clients."""

from __future__ import annotations

from ..suite.case import case
from ..suite.stage import Stage

IN_ANY_WAY = [
    {"how": "reset", "words": "a reset"},
    {"how": "fin", "words": "the end of TCP without a Close"},
]


@case("RECONNECT-01/silent-drop", "A link that dies without a word is found out, and replaced.")
async def silent_drop(stage: Stage) -> None:
    await stage.client()
    await stage.saw("ready")
    with stage.chaos.silent_drop():
        await stage.saw("attempt", timeout=stage.found_out)
    await stage.saw("ready", timeout=stage.comeback + stage.profile.reconnect.open_timeout)


@case("RECONNECT-02/{how}", "After {words} the client comes back without being asked.", each=IN_ANY_WAY)
async def abnormal_end(stage: Stage, how: str, words: str) -> None:
    await stage.client()
    await stage.saw("ready")
    await stage.settle()
    (stage.chaos.abort if how == "reset" else stage.chaos.disconnect)()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(stage.slack)


@case("RECONNECT-06/refused", "After max_retries the client stops, and says so.")
@case("REPLAY-06/given-up", "What was queued when the client gives up is handed back.", needs=["send"])
async def refused_for_good(stage: Stage) -> None:
    client = await stage.client()
    await stage.saw("ready")
    await stage.settle()
    with stage.chaos.refuse():
        if "send" in client.hello.can:
            await client.send("never delivered")
        await stage.saw("attempt", stage.retries, timeout=stage.exhaustion)
        await stage.pause(stage.absence)
