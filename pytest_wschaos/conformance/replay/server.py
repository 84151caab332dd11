"""Cases of REPLAY, for servers."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ...checks.verdict import Finding, failed, passed, worst
from ..subjects.subject import SubjectError
from ..suite.guest import Guest
from ..suite.server_case import server_case
from ..suite.server_stage import ServerStage

FEW = {"replay": {"log_messages": 20}}


async def _publish(stage: ServerStage, sender: Guest, count: int, first: int = 1) -> None:
    """Publish numbers on ``news``, under the rate limit.

    Raises:
        SubjectError: they are not all acknowledged.
    """
    limits = stage.profile.security
    for number in range(first, first + count):
        sender.say(type="send", id=number, topic="news", data=number)
        if number % max(1, limits.burst // 2) == 0:
            await stage.pause(limits.burst / 2 / limits.rate * 1.1)
    if await sender.answer("ack", id=first + count - 1) is None:
        raise SubjectError(f"a client published {count} messages, and the last got no ack: {stage.state(sender)}")


async def _subscriber(stage: ServerStage) -> tuple[Guest, dict[str, Any]]:
    """A client that has subscribed to ``news``, and its welcome."""
    stage.needs_protocol()
    guest = await stage.ready("subscriber")
    ack = await guest.request("subscribe", 1, "news")
    if ack is None or not ack.get("ok"):
        raise SubjectError(f"a subscription was answered {ack or 'nothing'}")
    return guest, guest.told("welcome")[0]


def _resume(welcome: dict[str, Any], seq: int, **changed: Any) -> dict[str, Any]:
    """The fields of an auth that resumes a session."""
    return {name: welcome.get(name) for name in ("session", "resume_token", "epoch")} | {"seq": seq} | changed


@server_case(
    "REPLAY-03/cut-mid-burst",
    "Across cuts in the middle of a burst nothing is lost and nothing doubled.",
)
async def cut_mid_burst(stage: ServerStage) -> Finding | None:
    stage.needs_protocol()
    client = await stage.client("client")
    await stage.saw("ready", client="client")
    await client.subscribe("news")
    await stage.saw("app.settled", client="client")
    for cut in range(2):
        await stage.pause(stage.profile.backoff.stable_after + stage.slack)
        for number in range(10):
            await client.send(f"{cut}/{number}", "news")
        await stage.saw("message", 4, client="client", timeout=stage.patience)
        stage.chaos.abort()
        for number in range(10, 20):
            await client.send(f"{cut}/{number}", "news")
        await stage.saw("ready", client="client")
        await stage.saw("app.settled", 20, client="client", timeout=stage.patience)
    await stage.pause(stage.patience)
    return _all_delivered(stage)


def _all_delivered(stage: ServerStage) -> Finding | None:
    """Whether a subscriber was told each of its own messages, once; None: it was, and the check judges the rest."""
    events = stage.chaos.freeze().events
    sent = Counter(e["digest"] for e in events if e.kind == "app.send")
    told = Counter(e["digest"] for e in events if e.kind == "app.message")
    settled = sum(e.kind == "app.settled" and bool(e.get("ok")) for e in events)
    if lost := sent - told:
        return failed(
            f"of {sent.total()} messages, {settled} requests acknowledged, {lost.total()} never came to a subscriber"
        )
    if double := told - sent:
        return failed(f"of {sent.total()} messages {double.total()} came twice to a subscriber")
    return None


@server_case(
    "REPLAY-03/same-id",
    "A message that comes again with its id is processed once, and told to be a duplicate.",
)
async def same_id(stage: ServerStage) -> Finding | None:
    subscriber, _ = await _subscriber(stage)
    sender = await stage.ready("sender")
    welcome = sender.told("welcome")[0]
    await sender.request("send", 1, "news", data="first")
    sender.leave()
    again = await stage.guest("sender")
    if await stage.authenticate(again, **_resume(welcome, 0)) is None:
        return failed(f"a session could not be resumed: {stage.state(again)}")
    again.say(type="send", id=1, topic="news", data="first")
    repeated = await again.answer("ack", id=1)
    again.say(type="send", id=2, topic="news", data="second")
    await subscriber.until(lambda: "second" in _data(subscriber), stage.patience)
    if repeated is None or not repeated.get("duplicate"):
        return failed(f"a message was sent again with its id, and acknowledged {repeated}; expected duplicate: true")
    if _data(subscriber) != ["first", "second"]:
        return failed(f"a message was sent again with its id; a subscriber got {_data(subscriber)}, expected it once")
    return passed("a message was sent again with its id in a resumed session: told as a duplicate, delivered once")


def _data(guest: Guest) -> list[Any]:
    return [frame.get("data") for frame in guest.told("message")]


@server_case(
    "REPLAY-04/replayed",
    "A client that comes back gets what it missed, from its last sequence on, in order.",
)
async def replayed(stage: ServerStage) -> Finding | None:
    subscriber, welcome = await _subscriber(stage)
    sender = await stage.ready("sender")
    await _publish(stage, sender, 5)
    await subscriber.until(lambda: len(subscriber.sequences()) >= 5, stage.patience)
    subscriber.leave()
    await _publish(stage, sender, 5, 6)
    back = await stage.guest("subscriber")
    # It says that it has three of the five that came: two were read and lost with the process, say.
    answer = await stage.authenticate(back, **_resume(welcome, 3))
    if answer is None or not answer.get("recovered"):
        return failed(f"a resume in time, with sequences at hand, was not recovered: {answer or stage.state(back)}")
    await back.until(lambda: len(back.sequences()) >= 7, stage.patience)
    await stage.pause(stage.patience / 10)
    got, wanted = list(back.sequences()), list(range(4, 11))
    if got != wanted or _data(back) != wanted:
        said = list(back.told("gap"))
        return failed(
            f"after its sequence 3 a client got {got} {said or ''}, expected {wanted}, each with its own data"
        )
    return passed(f"after its sequence 3 a client got {got}")


@server_case(
    "REPLAY-04/log-overflown",
    "What the log no longer holds is said as a gap before anything newer; what it holds is replayed.",
    figures=FEW,
)
async def gap(stage: ServerStage) -> Finding | None:
    subscriber, welcome = await _subscriber(stage)
    subscriber.leave()
    sender = await stage.ready("sender")
    count = stage.profile.replay.log_messages + 10
    await _publish(stage, sender, count)
    back = await stage.guest("subscriber")
    answer = await stage.authenticate(back, **_resume(welcome, 0))
    if answer is None:
        return failed(f"a resume was not welcomed: {stage.state(back)}")
    await back.until(lambda: count in back.sequences(), stage.patience)
    return _hole(back, count)


def _hole(back: Guest, count: int) -> Finding:
    """Whether everything up to ``count`` came, or was said to be lost, in order."""
    expected = 1
    for _, frame in back.heard_frames:
        first, last = frame.get("seq"), frame.get("seq")
        if frame.get("type") == "gap":
            first, last = frame.get("from"), frame.get("to")
        elif frame.get("type") != "message":
            continue
        if first != expected or not isinstance(last, int):
            return failed(f"a client that had missed {count} messages got {frame!r:.80}, when {expected} was to come")
        expected = last + 1
    gaps = [(frame["from"], frame["to"]) for frame in back.told("gap")]
    if expected <= count:
        return failed(
            f"a client had missed {count} messages; {expected} and later neither came nor were said to be lost"
        )
    return passed(
        f"of {count} messages that a client had missed, {gaps or 'none'} were said to be lost, the others came"
    )


UNKNOWN = [
    {"what": "session", "words": "a session that it does not know", "changed": {"session": "unknown"}},
    {
        "what": "resume-token",
        "words": "a session with a resume token of its own making",
        "changed": {"resume_token": "x"},
    },
]


@server_case(
    "REPLAY-08/unknown-{what}",
    "A resume of {words} gets Close 4410, and a fresh session is to be had.",
    each=UNKNOWN,
)
async def unknown(stage: ServerStage, what: str, words: str, changed: dict[str, str]) -> Finding | None:
    guest, welcome = await _subscriber(stage)
    guest.leave()
    return await _refused(stage, welcome, f"a client resumed {words}", **changed)


async def _refused(stage: ServerStage, welcome: dict[str, Any], what: str, **changed: str) -> Finding:
    back = await stage.guest("subscriber")
    await stage.authenticate(back, **_resume(welcome, 0, **changed))
    finding = await stage.closed(back, {4410}, what)
    fresh = await stage.guest("fresh")
    began = await stage.authenticate(fresh)
    if began is None or began.get("recovered"):
        return failed(f"{finding.seen}; a fresh session was answered {began or stage.state(fresh)}")
    return finding


@server_case(
    "REPLAY-08/another-epoch",
    "A resume of another epoch is welcomed, with recovered false and a stream of its own.",
)
async def new_epoch(stage: ServerStage) -> Finding | None:
    subscriber, welcome = await _subscriber(stage)
    subscriber.leave()
    back = await stage.guest("subscriber")
    answer = await stage.authenticate(back, **_resume(welcome, 0, epoch="another"))
    if answer is None:
        return failed(f"a client resumed an epoch that there is not: {stage.state(back)}; expected a welcome")
    if answer.get("recovered") or answer.get("epoch") == "another" or answer.get("seq") or answer.get("last_id"):
        return failed(
            f"a client resumed an epoch that there is not, and was told {answer!r:.200}; "
            "expected recovered false, a new epoch, seq 0 and last_id 0"
        )
    return passed("a client resumed an epoch that there is not: recovered false, in a new epoch")


@server_case("REPLAY-08/expired", "A session is kept for its time, and no longer: then a resume gets Close 4410.")
async def expired(stage: ServerStage) -> Finding | None:
    first, welcome = await _subscriber(stage)
    kept, later = await stage.ready("kept"), stage.profile.replay.session_ttl
    held = kept.told("welcome")[0]
    first.leave()
    await stage.pause(later * 0.2)
    kept.leave()
    await stage.pause(later * 0.8 + max(0.1 * later, stage.slack))
    gone = await _refused(stage, welcome, f"a client resumed a session {later * 1.1:.3f} s after it had left")
    back = await stage.guest("kept")
    answer = await stage.authenticate(back, **_resume(held, 0))
    if answer is not None and answer.get("recovered"):
        return gone
    lost = failed(
        f"a client came back within the {later:.3f} s of its session, and was told {answer or stage.state(back)}"
    )
    return worst([gone, lost], otherwise=lost)
