"""Cases of AUTH, for clients."""

from __future__ import annotations

from collections.abc import Callable

from ...checks.verdict import Finding, failed
from ...profile import AuthMode
from ..subjects.subject import Client, Unsupported
from ..suite.case import Script, case
from ..suite.stage import Stage

MODES: tuple[AuthMode, ...] = ("first_message", "query", "cookie", "header")
WORDS = {
    "first_message": "in the first message",
    "query": "in the query of the URL",
    "cookie": "in a cookie",
    "header": "in the Authorization header",
}


def in_each_mode(
    rule: str, requirement: str, suffix: str = "", needs: tuple[str, ...] = ()
) -> Callable[[Script], Script]:
    """Register a script as a case for every way in which credentials may travel."""

    def register(script: Script) -> Script:
        for mode in MODES:
            case(
                f"{rule}/{suffix}{mode.replace('_', '-')}",
                requirement.format(words=WORDS[mode]),
                figures={"auth": {"mode": mode}},
                needs=needs,
                each=[{"mode": mode}],
            )(script)
        return script

    return register


def _require(stage: Stage, client: Client, mode: str | None = None) -> None:
    """Make sure that a client presents credentials, in some mode.

    Raises:
        Unsupported: it does not.
    """
    declared = stage.profile.auth.mode
    if client.hello.speaks == "raw" or declared == "none":
        raise Unsupported("the client presents no credentials")
    if mode is not None and declared != mode:
        raise Unsupported(f"the client presents its credentials by {declared}, not by {mode} (auth.mode)")


async def _ready(stage: Stage, mode: str | None = None) -> Client:
    """A client whose connection is stable."""
    client = await stage.client()
    _require(stage, client, mode)
    await stage.saw("ready")
    await stage.settle()
    return client


def _silent(stage: Stage, client: Client, *tokens: str) -> Finding | None:
    """Whether the client's process has written a token where logs go."""
    if any(token in client.words for token in tokens):
        return failed("the client's process wrote a token to standard output or standard error")
    return None


# --- AUTH-01, 07 ----------------------------------------------------------------------------------------------


@in_each_mode("AUTH-01", "A token that is to travel {words} travels there, and nowhere else.")
async def travels(stage: Stage, mode: str) -> None:
    await _ready(stage, mode)
    stage.chaos.abort()
    await stage.saw("ready", timeout=stage.comeback)
    await stage.pause(stage.slack)


@in_each_mode("AUTH-07", "A token that travels {words} is in no error text, and on no output, whatever fails.")
async def told_to_nobody(stage: Stage, mode: str) -> Finding | None:
    client = await _ready(stage, mode)
    with stage.chaos.refuse():
        await stage.saw("attempt", 2, timeout=stage.absence)
    await stage.saw("ready", timeout=stage.absence)
    await stage.settle()
    with stage.chaos.reject_handshake(403):
        stage.chaos.abort()
        await stage.saw("response", timeout=stage.comeback)
        await stage.pause(0.5 + stage.slack)
    return _silent(stage, client, stage.chaos.token)


@case("AUTH-07/expired", "A token that is refused is in no error text, and on no output.")
async def expired_told_to_nobody(stage: Stage) -> Finding | None:
    client = await _ready(stage)
    stage.chaos.server.expire(stage.chaos.token)
    stage.chaos.abort()
    await stage.saw("close", 2, timeout=2 * stage.comeback + stage.absence)
    await stage.pause(0.5 + stage.slack)
    return _silent(stage, client, stage.chaos.token)


# --- AUTH-02, 03 ----------------------------------------------------------------------------------------------


@case("AUTH-02/first-frame", "Nothing goes out before the welcome, however long it takes.")
async def unwelcomed(stage: Stage) -> None:
    with stage.chaos.frame("delay", "down", match='"welcome"', seconds=stage.profile.reconnect.open_timeout / 4):
        client = await stage.client()
        _require(stage, client)
        await stage.saw("ready", timeout=stage.profile.reconnect.open_timeout)
    await stage.pause(stage.slack)


@case(
    "AUTH-02/queued", "What is sent while connecting goes out behind the credentials and the welcome.", needs=["send"]
)
async def queued_behind(stage: Stage) -> None:
    with stage.chaos.frame("delay", "down", match='"welcome"', seconds=stage.profile.reconnect.open_timeout / 4):
        client = await stage.client()
        _require(stage, client)
        for number in range(5):
            await client.send(f"early {number}")
        await stage.saw("ready", timeout=stage.profile.reconnect.open_timeout)
    await stage.pause(0.5 + stage.slack)


@case(
    "AUTH-02/reconnected", "What was queued while down goes out behind the credentials and the welcome.", needs=["send"]
)
async def queued_while_down(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.refuse():
        await stage.saw("attempt", timeout=stage.comeback)
        for number in range(5):
            await client.send(f"while down {number}")
    await stage.saw("ready", timeout=stage.absence)
    await stage.pause(0.5 + stage.slack)


@case(
    "AUTH-03/rotated",
    "A token that was replaced while the client was connected is not presented again.",
    needs=["token"],
)
async def rotated(stage: Stage) -> None:
    client = await _ready(stage)
    for _ in range(2):
        await client.token(stage.chaos.rotate_token())
        stage.chaos.abort()
        await stage.saw("ready", timeout=stage.comeback)
        await stage.settle()


@case(
    "AUTH-03/rotated-while-down",
    "A token that is replaced while the client waits is the next one to be presented.",
    needs=["token"],
)
async def rotated_while_down(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.refuse():
        await stage.saw("attempt", 2, timeout=stage.absence)
        await client.token(stage.chaos.rotate_token())
    await stage.saw("ready", timeout=2 * stage.absence)
    await stage.pause(stage.slack)


@case(
    "AUTH-03/provider-fails",
    "When the token provider fails once no old token is presented in its place.",
    needs=["token"],
)
async def provider_fails(stage: Stage) -> None:
    client = await _ready(stage)
    await client.token_fails(1)
    await client.token(stage.chaos.rotate_token())
    stage.chaos.abort()
    await stage.saw("ready", timeout=stage.comeback + stage.absence)
    await stage.pause(stage.slack)


# --- AUTH-04 --------------------------------------------------------------------------------------------------


@case("AUTH-04/expired-once", "An expired token is asked for anew, and tried again.", needs=["token"])
async def expired_once(stage: Stage) -> None:
    client = await _ready(stage)
    server, stale = stage.chaos.server, stage.chaos.token
    fresh = server.issue_token()
    server.expire(stale)
    stage.chaos.abort()
    await stage.saw("close", timeout=stage.comeback + stage.absence)
    await client.token(fresh)
    await stage.saw("ready", timeout=stage.absence)
    await stage.pause(stage.slack)


@case(
    "AUTH-04/expired-for-good",
    "When a token and the one asked for anew are expired, the error is surfaced, and the client stops.",
)
async def expired_for_good(stage: Stage) -> None:
    await _refused_for_good(stage, stage.chaos.server.expire)


@case(
    "AUTH-04/revoked",
    "When a token and the one asked for anew are revoked, the error is surfaced, and the client stops.",
)
async def revoked(stage: Stage) -> None:
    await _refused_for_good(stage, stage.chaos.server.revoke)


async def _refused_for_good(stage: Stage, spoil: Callable[[str], None]) -> None:
    """The client's token is good for nothing any more, nor is the one that its provider has for it then."""
    client = await _ready(stage)
    second = stage.chaos.server.issue_token()
    spoil(stage.chaos.token)
    spoil(second)
    stage.chaos.abort()
    await stage.saw("close", timeout=stage.comeback + stage.absence)
    if "token" in client.hello.can:
        await client.token(second)
    await stage.saw("attempt", timeout=stage.absence)
    await stage.pause(stage.absence)


@case("AUTH-04/http-401-once", "A handshake that is answered 401 is tried again.")
async def unauthorised_once(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.reject_handshake(401):
        stage.chaos.abort()
        await stage.saw("response", timeout=stage.comeback)
        await _another_token(stage, client)
    await stage.saw("ready", timeout=stage.absence)
    await stage.pause(stage.slack)


@case("AUTH-04/http-401-for-good", "A handshake that is answered 401 twice is not tried a third time.")
async def unauthorised_for_good(stage: Stage) -> None:
    client = await _ready(stage)
    with stage.chaos.reject_handshake(401):
        stage.chaos.abort()
        await stage.saw("response", timeout=stage.comeback)
        await _another_token(stage, client)
        await stage.saw("response", timeout=stage.absence)
        await stage.pause(stage.absence)


async def _another_token(stage: Stage, client: Client) -> None:
    """Let the provider have another token, so that it shows whether the client asks for one anew."""
    if "token" in client.hello.can:
        await client.token(stage.chaos.rotate_token())


# --- AUTH-08 --------------------------------------------------------------------------------------------------


@in_each_mode("AUTH-08", "A token that travels {words} does not follow a redirect to another host.", "other-host-")
async def other_host(stage: Stage, mode: str) -> None:
    await _redirected(stage, mode, stage.chaos.url.replace("127.0.0.1", "localhost"))


@in_each_mode("AUTH-08", "A token that travels {words} does not follow a redirect to another port.", "other-port-")
async def other_port(stage: Stage, mode: str) -> None:
    await _redirected(stage, mode, stage.chaos.url_for("elsewhere"))


async def _redirected(stage: Stage, mode: str, elsewhere: str) -> None:
    # Once: where a client goes then it is let in, so that a token in the first message shows.
    with stage.chaos.handshake(302, headers={"Location": elsewhere}, connections=1):
        client = await stage.client()
        _require(stage, client, mode)
        await stage.saw("response")
        await stage.pause(stage.absence)
