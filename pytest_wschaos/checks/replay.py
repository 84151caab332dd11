"""REPLAY: what survives a lost connection: nothing lost, nothing twice, nothing out of order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from ..profile import Profile
from ..timeline import Event
from .delivery import FLUSH, QUIET, REQUESTS, Link, Traffic, traffics
from .ending import reaction
from .rule import check
from .story import Story
from .subscribed import restored
from .tolerance import GRACE, STANDSTILLS, Timing, by, late_by
from .verdict import Finding, failed, inconclusive, non_strict, passed, unsupported, worst

ASK = "wschaos.sent(data)"
REPORT = "on_event=wschaos.report"
_KINDS: tuple[tuple[str, ...], ...] = (("message",), ("subscribe", "unsubscribe"))
"""Requests that are numbered in one sequence; those of two kinds may be."""


# --- REPLAY-01 ------------------------------------------------------------------------------------------------


@check(
    "REPLAY-01",
    "Messages sent while down are queued and delivered after reconnection, in order, before newer ones.",
    needs=("message",),
)
def queued_while_down(story: Story, profile: Profile) -> Finding:
    """What the application asked for while the client was not ready arrives after the next ready, before anything "
    "newer."""
    clients = traffics(story, profile)
    broken = [finding for traffic in clients for finding in _disorder(traffic)]
    if broken:
        return broken[0]
    if not any(traffic.asks for traffic in clients):
        return unsupported(f"the record does not tell what the application asked to send: call {ASK} at each send")
    return worst(
        (_queued(traffic) for traffic in clients if traffic.asks),
        otherwise=inconclusive("not provoked"),
    )


def _disorder(traffic: Traffic) -> Iterator[Finding]:
    """Ids that reached the server after a higher one of their kind and session, for the first time."""
    for kinds in _KINDS:
        counted = {session for session in {link.session for link in traffic.links} if _counted(traffic, session, kinds)}
        seen: dict[int, set[int]] = {}
        for link, before in zip(traffic.links, [None, *traffic.links], strict=False):
            known = seen.setdefault(link.session, set())
            if before is not None and traffic.renumbered(before, link):
                # What the server had not processed was left behind, and its ids are given anew.
                known.intersection_update([id for id in known if link.covers(id)])
            if link.connection.first("binary", place="server", way="up") is not None:
                continue  # a blob in pieces: its id was first seen with a piece that no dialect tells
            top = max(known, default=None)
            for event in link.connection.seen(*kinds, place="server", way="up"):
                id = event.get("id")
                if not isinstance(id, int) or link.session not in counted:
                    continue
                if top is not None and id < top and id not in known:
                    yield failed(
                        f"{link.name}: id {id} reached the server after id {top}; expected them in order", at=event.at
                    )
                known.add(id)
                top = max(id, top if top is not None else id)


def _counted(traffic: Traffic, session: int, kinds: tuple[str, ...]) -> bool:
    """Whether the ids of some kinds are numbers without holes: only then do they tell an order.

    Other requests may share the sequence, or have one of their own.
    """
    links = [link for link in traffic.links if link.session == session]
    ids = {
        kind: {e["id"] for link in links for e in link.connection.seen(kind, way="up") if isinstance(e.get("id"), int)}
        for kind in REQUESTS
    }
    own = set().union(*(ids[kind] for kind in kinds))
    every = set().union(*ids.values())
    return bool(own) and max(own) - min(own) < len(every) and every.issuperset(range(min(own), max(own)))


def _queued(traffic: Traffic) -> Finding:
    down = [ask for ask in traffic.asks if traffic.down_at(ask.at)]
    if not down:
        return inconclusive("not provoked: nothing was sent while the client was down; send before it is ready again")
    return kept_in_order(traffic, down, "while down")


def kept_in_order(traffic: Traffic, down: list[Event], when: str) -> Finding:
    """Whether what was sent ``when`` the client was not ready was delivered after its next ready, in order."""
    if (overtaken := _overtaken(traffic, down, when)) is not None:
        return overtaken
    sent, arrived = traffic.distinct("client"), traffic.distinct("server")
    asked: Counter[str] = Counter()
    delivered, waiting, unclear = 0, 0, 0
    for ask in traffic.asks:
        asked[ask["digest"]] += 1
        if ask not in down:
            continue
        if arrived[ask["digest"]] >= asked[ask["digest"]]:
            delivered += 1
            continue
        waiting += 1
        if sent[ask["digest"]] >= asked[ask["digest"]] or given_back(traffic, ask.get("ref")):
            continue
        if (refusal := _refusal(traffic, ask)) is not None:
            room = _had_room(traffic, ask, refusal)
            unclear += room is None
            why = f"was refused ({refusal.get('error')!r}), though the declared queue had room" if room else ""
        else:
            why = "was not sent after the next ready" if _overdue(traffic, ask) else ""
        if why and traffic.profile.replay.delivery == "at-most-once":
            return non_strict(f"a message sent {when} was never sent, which at-most-once allows", at=ask.at)
        if why:
            return failed(f"a message sent {when} ({traffic.when(ask)}) {why}", at=ask.at)
    if unclear:
        return inconclusive(
            f"{unclear} messages were refused {when}; whether the queue had room for them is not in the record"
        )
    if not delivered:
        return inconclusive(f"{waiting} messages were sent {when}; none could be delivered before the record ended")
    return passed(f"{delivered} messages sent {when} were delivered after ready, in order", delivered=delivered)


def _overtaken(traffic: Traffic, down: list[Event], when: str) -> Finding | None:
    """A message that was asked for later, and reached the server before one that was sent while down."""
    times = Counter(ask["digest"] for ask in traffic.asks)
    position: dict[str, tuple[int, Event]] = {}
    for number, event in enumerate(e for link in traffic.links for e in link.arrived):
        position.setdefault(event["digest"], (number, event))
    # Of payloads that were sent more than once, nobody can tell which is which.
    single = [ask for ask in traffic.asks if times[ask["digest"]] == 1 and ask["digest"] in position]
    for number, ask in enumerate(single):
        for later in single[number + 1 :] if ask in down else []:
            first, second = position[ask["digest"]], position[later["digest"]]
            if second[0] < first[0] and not _in_pieces(first[1], second[1]):
                return failed(
                    f"a message sent {when} ({traffic.when(ask)}) "
                    "reached the server "
                    f"{first[1].at - second[1].at:.3f} s "
                    f"after one that was sent {later.at - ask.at:.3f} s later",
                    at=second[1].at,
                )
    return None


def _in_pieces(first: Event, second: Event) -> bool:
    """Whether ids say that the first was begun earlier and only ended later, as blobs do."""
    ids = first.get("id"), second.get("id")
    return first.conn == second.conn and all(isinstance(id, int) for id in ids) and ids[0] < ids[1]


def _refusal(traffic: Traffic, ask: Event) -> Event | None:
    """With what the client told its application that a message was not delivered."""
    told = [e for e in traffic.client.told("settled") if e.get("ref") == ask.get("ref") and not e.get("ok")]
    return told[0] if told and ask.get("ref") is not None else None


def _had_room(traffic: Traffic, ask: Event, refusal: Event) -> bool | None:
    """Whether a client that was running could have queued a message, by the declared bounds; None: nobody can tell."""
    profile, settled = traffic.profile, traffic.client.told("settled")
    back = next((link.ready for link in traffic.links if link.ready > ask.at), None)
    if back is None or _stopped(traffic, ask, back):
        return False
    done = {e.get("ref") for e in settled if e.at <= ask.at}
    kept = [a for a in traffic.asks if a.at <= ask.at and a is not ask and a.get("ref") not in done]
    subscriptions = sum(e.kind in ("app.subscribe", "app.unsubscribe") for e in traffic.client.app)
    if len(kept) + subscriptions >= profile.replay.queue_messages:
        return False
    # Once it is ready again the server's own limits may be the reason; and what blobs fill, no ask tells.
    untold = {e.get("ref") for e in settled if e.at > ask.at} - {a.get("ref") for a in traffic.asks}
    alone = sum(a["digest"] == ask["digest"] for a in traffic.asks) == 1
    # Clients count what they wrap a message in, too.
    sizes: list[int] = [2 * a["size"] + 256 for a in (ask, *kept) if a.get("size") is not None]
    if refusal.at >= back or untold or not alone or len(sizes) <= len(kept):
        return None
    return sum(sizes) <= min(profile.replay.queue_bytes, profile.state.high_water, profile.message.max_size)


def _stopped(traffic: Traffic, ask: Event, back: float) -> bool:
    """Whether the client may have stopped before it was ``back``, and so did not come back by itself."""
    since = max((link.until for link in traffic.links if link.until <= ask.at), default=0.0)
    begun = max((c.attempt for c in traffic.client.connections if c.attempt <= ask.at), default=None)
    if begun is None or traffic.handed_back(since, back):
        return True
    return any(since <= e.at <= back for e in traffic.client.told("reconnect")) or any(
        begun <= c.attempt < back and reaction(c, traffic.profile) in ("stop", "fatal")
        for c in traffic.client.connections
    )


def given_back(traffic: Traffic, ref: object) -> bool:
    """Whether a send was handed back when the client gave up."""
    return ref is not None and any(ref in (e.get("undelivered") or ()) for e in traffic.client.told("gave_up"))


def _overdue(traffic: Traffic, ask: Event, *, handed_back: bool = True) -> bool:
    """Whether the client was ready for long enough since; ``handed_back``: what it gave up before that excuses it."""
    for link in traffic.links:
        if link.ready > ask.at:
            if handed_back and traffic.handed_back(ask.at, link.ready):
                return False
            if traffic.had_time(link, sum(other.at < link.until for other in traffic.asks)):
                return True
    return False


# --- REPLAY-02 ------------------------------------------------------------------------------------------------


@check(
    "REPLAY-02",
    "A message that was written and not acknowledged when the link broke is sent again, with the same id while the "
    "session lives.",
    needs=("message", "ack"),
)
def unacknowledged_are_sent_again(story: Story, profile: Profile) -> Finding:
    """Each message without a verdict is sent on the next ready connection, unless the welcome covers it."""
    if profile.replay.delivery == "at-most-once":
        return unsupported("the profile declares at-most-once: nothing is sent twice")
    return worst(
        (_sent_again(traffic) for traffic in traffics(story, profile)),
        otherwise=inconclusive("not provoked: no client sent anything"),
    )


def _sent_again(traffic: Traffic) -> Finding:
    again, open_, covered = 0, 0, 0
    for unsettled in traffic.unsettled:
        message, link = unsettled.message, unsettled.link
        if unsettled.missing is not None:
            renamed = [e for e in unsettled.missing.sent if e["digest"] == message["digest"]]
            how = f"only as id {renamed[0].get('id')}" if renamed else "not"
            return failed(
                f"{link.name} broke before id {message['id']} was acknowledged; it was {how} sent again on "
                f"{unsettled.missing.name}, ready for {unsettled.missing.until - unsettled.missing.ready:.3f} s",
                at=unsettled.missing.ready,
            )
        again += unsettled.again is not None
        covered += unsettled.covered
        open_ += unsettled.again is None and not unsettled.covered
    if again:
        return passed(f"{again} messages without a verdict were sent again; {covered} more the server had", again=again)
    why = (
        f"{open_} messages wait for a next ready connection" if open_ else "cut the link between a message and its ack"
    )
    return inconclusive(f"not provoked: no message had to be sent again; {why}")


# --- REPLAY-03 ------------------------------------------------------------------------------------------------


@check(
    "REPLAY-03",
    "The declared delivery class holds: at-most-once no duplicate, at-least-once no loss, effectively-once neither.",
    figures=("replay.delivery",),
    needs=("message",),
    side="both",
)
def delivery_class_holds(story: Story, profile: Profile) -> Finding:
    """No loss and no duplicate across lost connections, in both directions, as far as declared."""
    return worst(
        (_class_holds(traffic) for traffic in traffics(story, profile)),
        otherwise=inconclusive("not provoked: no client sent anything"),
    )


def _class_holds(traffic: Traffic) -> Finding:
    delivery = traffic.profile.replay.delivery
    breaches: list[Finding] = []
    if delivery != "at-most-once":
        breaches.extend(_lost_up(traffic))
        breaches.extend(_lost_down(traffic))
    if delivery == "at-most-once":
        breaches.extend(_repeated_up(traffic))
    if delivery == "effectively-once":
        breaches.extend(_sent_after_ack(traffic))
        breaches.extend(_two_ids(traffic))
    if delivery != "at-least-once":
        breaches.extend(_told_twice(traffic))
    if breaches:
        return breaches[0]
    asked_down = sum(traffic.down_at(ask.at) for ask in traffic.asks)
    up, down = len(traffic.unsettled) + asked_down, sum(len(_missed(traffic, link)) for link in traffic.links)
    if len(traffic.links) < 2 or not (up or down):
        return inconclusive("not provoked: no link broke while messages were under way, and was made up for")
    seen = f"{up} messages up and {down} down were under way when a link broke: {delivery} held"
    if down and not traffic.client.told("message"):
        return non_strict(f"{seen} on the wire; what the application got is not in the record ({REPORT})")
    return passed(seen, up=up, down=down)


def _lost_up(traffic: Traffic) -> Iterator[Finding]:
    arrived, asked = traffic.distinct("server"), Counter(ask["digest"] for ask in traffic.asks)
    for unsettled in traffic.unsettled:
        digest = unsettled.message["digest"]
        wanted = asked[digest] or sum(e["digest"] == digest for e in unsettled.link.sent)
        if unsettled.missing is not None and arrived[digest] < wanted and not traffic.arrived(unsettled):
            id, number = unsettled.message["id"], unsettled.link.name
            yield failed(f"id {id}, sent on {number}, was lost: it never reached the server", at=unsettled.message.at)


def _repeated_up(traffic: Traffic) -> Iterator[Finding]:
    """Ids or payloads that reached the server more often than they were asked for."""
    seen: set[tuple[int, object, str]] = set()
    asked = Counter(ask["digest"] for ask in traffic.asks)
    count: Counter[str] = Counter()
    for link in traffic.links:
        for event in link.arrived:
            digest, key = event["digest"], (link.session, event.get("id"), event["digest"])
            count[digest] += 1
            if (key[1] is not None and key in seen) or count[digest] > asked.get(digest, count[digest]):
                yield failed(f"{link.name}: a message reached the server twice (id {key[1]})", at=event.at)
            seen.add(key)


def _sent_after_ack(traffic: Traffic) -> Iterator[Finding]:
    """Ids whose verdict had reached the client, and that it sent again all the same."""
    settled: dict[tuple[int, object, str], tuple[Event, Link]] = {}
    for link in traffic.links:
        for event in link.sent:
            key = (link.session, event.get("id"), event["digest"])
            if key in settled and settled[key][0].at < event.at:
                ack, where = settled[key]
                # On the same connection an ack may cross the message; what came just before an end may be unread.
                if (where is link and event.at - ack.at > GRACE) or (where is not link and traffic.surely(ack, where)):
                    yield failed(
                        f"id {key[1]} was sent again on {link.name}, though its ack had come on {where.name} "
                        f"{event.at - ack.at:.3f} s before",
                        at=event.at,
                    )
            if (verdict := link.verdicts.get(event.get("id"))) is not None:
                settled.setdefault(key, (verdict, link))


def _two_ids(traffic: Traffic) -> Iterator[Finding]:
    """Payloads that reached the server under more ids of one session than they were asked for."""
    asked = Counter(ask["digest"] for ask in traffic.asks)
    ids: dict[tuple[int, str], set[object]] = {}
    for link, before in zip(traffic.links, [None, *traffic.links], strict=False):
        if before is not None and traffic.renumbered(before, link):
            ids.clear()
        for event in link.arrived:
            known = ids.setdefault((link.session, event["digest"]), set())
            known.add(event.get("id"))
            if 0 < asked[event["digest"]] < len(known):
                listed = ", ".join(sorted(map(str, known)))
                yield failed(
                    f"{link.name}: a message that was asked for {asked[event['digest']]} times reached the server "
                    f"under ids {listed}",
                    at=event.at,
                )


def _came_down(traffic: Traffic) -> Iterator[tuple[Link, Event]]:
    """Messages that reached the client, each sequence of a session once: where it came so early that it was read."""
    best: dict[tuple[int, object, object], tuple[Link, Event]] = {}
    for link in traffic.links:
        for number, event in enumerate(link.connection.seen("message", way="down")):
            unique = event.get("seq") if event.get("seq") is not None else (link.connection.number, number)
            key = (link.session, unique, event["digest"])
            if key not in best or not traffic.surely(best[key][1], best[key][0]):
                best[key] = (link, event)
    yield from best.values()


def _told_twice(traffic: Traffic) -> Iterator[Finding]:
    came = Counter(event["digest"] for _, event in _came_down(traffic))
    told: Counter[str] = Counter()
    for event in traffic.client.told("message"):
        told[event["digest"]] += 1
        if told[event["digest"]] > came[event["digest"]] > 0:
            yield failed(
                f"a message was told to the application {told[event['digest']]} times; it came under "
                f"{came[event['digest']]} sequences",
                at=event.at,
            )


def _lost_down(traffic: Traffic) -> Iterator[Finding]:
    told = Counter(event["digest"] for event in traffic.client.told("message"))
    came: Counter[str] = Counter()
    for link, event in _came_down(traffic) if told else ():
        if traffic.surely(event, link):
            came[event["digest"]] += 1
            settled = by(traffic.story.record, event.at + QUIET, None, since=event.at) is Timing.BROKEN
            if came[event["digest"]] > told[event["digest"]] and settled:
                yield failed(
                    f"{link.name}: seq {event.get('seq')} came and was not told to the application", at=event.at
                )


# --- REPLAY-04 ------------------------------------------------------------------------------------------------


@check(
    "REPLAY-04",
    "The server replays from the client's last sequence without a hole, or says the gap; the client tells the "
    "sequence that it has.",
    needs=("credentials", "welcome", "message"),
    side="both",
)
def replayed_without_a_hole(story: Story, profile: Profile) -> Finding:
    """On a recovered connection the sequences go on after the one that the client presented."""
    findings = [
        finding
        for traffic in traffics(story, profile)
        for link in traffic.links
        if link.recovered
        for finding in _resumed(traffic, link)
    ]
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no session was resumed with messages missed; publish while the client's link is down"
        ),
    )


def _presented(link: Link) -> int:
    """The last sequence that the client said it has."""
    credentials = link.connection.first("credentials", way="up")
    seq = credentials.get("seq") if credentials is not None else None
    return seq if isinstance(seq, int) else 0


def _seqs(events: list[Event]) -> list[int]:
    return [e["seq"] for e in events if isinstance(e.get("seq"), int)]


def _missed(traffic: Traffic, link: Link) -> range:
    """The sequences that a recovered link had to make up for."""
    if not link.recovered:
        return range(0)
    earlier = [
        e for prior in traffic.before(link) for e in prior.connection.seen("message", place="server", way="down")
    ]
    welcome = [link.welcome] if link.welcome is not None else []
    return range(_presented(link) + 1, max(_seqs(earlier + welcome), default=0) + 1)


def _resumed(traffic: Traffic, link: Link) -> Iterator[Finding]:
    presented, prior = _presented(link), traffic.before(link)
    reached = [e for before in prior for e in before.connection.seen("message", way="down")]
    reached += [before.welcome for before in prior if before.welcome is not None and not before.recovered]
    # A record may begin in the middle of a session: what reached the client before, its first resume tells.
    begun = _presented(prior[0]) if prior and prior[0].recovered else 0
    gaps = [e["last"] for before in prior for e in before.connection.seen("gap", way="down")]
    acked = _seqs([e for before in prior for e in before.connection.seen("ack", way="up")])
    most, least = max([begun, *_seqs(reached), *gaps]), max([0, *acked])
    at = link.connection.attempt
    if prior and presented > most:
        yield failed(f"{link.name}: the client claims sequence {presented}; {most} is the last that reached it", at=at)
        return
    if presented < least:
        yield failed(
            f"{link.name}: the client asks for all after sequence {presented}, but it had acknowledged {least}", at=at
        )
        return
    missed = _missed(traffic, link)
    if not missed:
        return
    following, told = presented + 1, 0
    for event in link.connection.seen("message", "gap", place="server", way="down"):
        first = event["first"] if event.kind == "gap" else event.get("seq")
        if not isinstance(first, int):
            continue
        if first > following:
            yield failed(f"{link.name}: sequence {first} came after {following - 1}, and no gap was told", at=event.at)
            return
        told += event.kind == "gap"
        following = max(following, (event["last"] if event.kind == "gap" else first) + 1)
    if following > missed[-1]:
        how = f", {told} gaps told" if told else ""
        yield passed(f"{link.name}: {len(missed)} missed sequences made up for{how}", missed=len(missed), gaps=told)
    elif following == presented + 1 and traffic.had_time(link, len(missed)):
        yield failed(
            f"{link.name}: sequences {missed[0]} to {missed[-1]} were neither replayed nor told as a gap", at=link.ready
        )
    else:
        yield inconclusive(
            f"{link.name}: only {following - missed[0]} of {len(missed)} missed sequences came before its end"
        )


# --- REPLAY-05 ------------------------------------------------------------------------------------------------


@check(
    "REPLAY-05",
    "The queue is bounded, and flushing it stays under the server's rate limit.",
    figures=("replay.queue_messages", "replay.queue_bytes"),
    needs=("welcome", "message"),
)
def flush_is_paced(story: Story, profile: Profile) -> Finding:
    """In every window the client sends at most the welcome's burst plus rate times the window; no Close 4429."""
    clients = traffics(story, profile)
    links = [(traffic, link) for traffic in clients for link in traffic.links]
    paced = [
        (t, link)
        for t, link in links
        if link.welcome is not None and link.welcome.get("rate") and link.welcome.get("burst")
    ]
    if links and not paced:
        return unsupported("no welcome tells a rate and a burst")
    return worst(
        [*(_paced(traffic, link) for traffic, link in paced), *(f for t in clients for f in _overfull(t))],
        otherwise=inconclusive(
            "not provoked: no client sent more than the server's burst; send that many while it is down"
        ),
    )


def _overfull(traffic: Traffic) -> Iterator[Finding]:
    """Down-times in which more was queued than the declared queue holds: all of it arrived later."""
    bound = traffic.profile.replay.queue_messages
    for before, after in pairwise(traffic.links):
        asked = Counter(ask["digest"] for ask in traffic.asks if before.until < ask.at < after.ready)
        came = Counter(e["digest"] for link in traffic.links for e in link.arrived if e.at >= after.ready)
        queued = sum(min(number, came[digest]) for digest, number in asked.items())
        if queued > bound:
            yield failed(
                f"{queued} messages that were sent while the client was down before {after.name} were all delivered; "
                f"the declared queue holds {bound}",
                at=after.ready,
            )


def _paced(traffic: Traffic, link: Link) -> Finding | None:
    assert link.welcome is not None
    rate, burst, story = float(link.welcome["rate"]), float(link.welcome["burst"]), traffic.story
    close = link.connection.close_received
    if (
        close is not None
        and close["code"] == 4429
        and not any(
            fault.start <= close.at and fault.end >= link.connection.attempt and fault.event.get("code") == 4429
            for fault in story.injected("close", "accept_then_close")
        )
    ):
        return failed(f"{link.name}: the server closed 4429, rate limited", at=close.at)
    frames = [e.at for e in link.connection.events if _charged(e) and e.at >= link.ready]
    # The excess over a bucket that fills at `rate`; `start` is the frame with which the fullest window begins.
    worst_excess, worst_at, start = 0.0, 0.0, 0
    for number, at in enumerate(frames):
        if number - rate * at < start - rate * frames[start]:
            start = number
        count = number - start + 1
        excess = count - burst - rate * (at - frames[start])
        if excess > worst_excess:
            worst_excess, worst_at = excess, at
    # Long enough for a slow client on a busy machine to show that it sends more than the burst in one go.
    window = 4 * burst / rate + FLUSH
    fullest = _most_within(frames, window)
    lag = story.record.lag(link.ready, link.until)
    if worst_excess > rate * (GRACE + STANDSTILLS * lag):
        return failed(
            f"{link.name}: {worst_excess:.0f} frames more than a rate of {rate:g} per second with a burst of "
            f"{burst:g} allows",
            at=worst_at,
        )
    if worst_excess > rate * GRACE:
        return inconclusive(
            f"{link.name}: frames came closer than the rate allows, but {late_by(story.record, link.ready, link.until)}"
        )
    if fullest <= burst:
        return None
    seen = f"{link.name}: up to {fullest} frames within {window:.3f} s"
    return passed(f"{seen}, under {rate:g} per second and a burst of {burst:g}", most=fullest)


def _charged(event: Event) -> bool:
    """Whether an event is a frame that the client sent and the server counts."""
    return (
        event.place == "client"
        and event.way == "up"
        and event.kind not in ("handshake", "close")
        and event.get("level") != "frame"
    )


def _most_within(frames: list[float], window: float) -> int:
    most, start = 0, 0
    for number, at in enumerate(frames):
        while frames[start] < at - window:
            start += 1
        most = max(most, number - start + 1)
    return most


# --- REPLAY-06 ------------------------------------------------------------------------------------------------


@check(
    "REPLAY-06",
    "Every send settles: acknowledged, failed, or handed back at give-up.",
)
def every_send_settles(story: Story, profile: Profile) -> Finding:
    """Each send that the application asked for is settled, or listed as undelivered."""
    reporting = [t for t in traffics(story, profile) if t.client.reports]
    if not reporting:
        return unsupported(f"the client does not report how its sends settle: pass {REPORT}")
    return worst(
        (_settles(traffic) for traffic in reporting if any(ask.get("ref") is not None for ask in traffic.asks)),
        otherwise=inconclusive(f"not provoked: the application asked for no send; call {ASK} at each"),
    )


def _settles(traffic: Traffic) -> Finding:
    done = {e.get("ref") for e in traffic.client.told("settled")}
    asks = [ask for ask in traffic.asks if ask.get("ref") is not None]
    waiting = [ask for ask in asks if ask["ref"] not in done and not given_back(traffic, ask["ref"])]
    for ask in waiting:
        if (why := must_have_settled(traffic, ask)) is not None:
            return failed(
                f"the send {ask['ref']!r}, asked for {traffic.when(ask)}, never settled, though {why}",
                at=ask.at,
            )
    if waiting:
        return inconclusive(f"{len(waiting)} of {len(asks)} sends had not settled when the record ended, and may yet")
    return passed(f"{len(asks)} sends settled", sends=len(asks))


def must_have_settled(traffic: Traffic, ask: Event) -> str | None:
    """Why a send cannot still be waiting; None where it may."""
    client, record = traffic.client, traffic.story.record
    for name, allowed in (("gave_up", 0.0), ("close", traffic.profile.close.timeout)):
        for event in client.told(name):
            if event.at >= ask.at and by(record, event.at + allowed + QUIET, None, since=event.at) is Timing.BROKEN:
                return "the client gave up" if name == "gave_up" else "the application closed"
    for link in traffic.links:
        for message in link.sent:
            verdict = link.verdicts.get(message.get("id"))
            if message["digest"] == ask["digest"] and message.at >= ask.at and verdict is not None:
                alone = sum(other["digest"] == ask["digest"] for other in traffic.asks) == 1
                late = by(record, verdict.at + QUIET, None, since=verdict.at) is Timing.BROKEN
                if alone and late and traffic.surely(verdict, link):
                    return f"its ack came on {link.name}"
    asked = sum(other["digest"] == ask["digest"] and other.at <= ask.at for other in traffic.asks)
    # A client that was not told to send may know messages by other payloads; one that sent some does not.
    sent = traffic.distinct("client")[ask["digest"]]
    if "message" in record.tells and sent < asked and _overdue(traffic, ask, handed_back=False):
        return "the client was ready, and did not send it"
    return None


# --- REPLAY-07 ------------------------------------------------------------------------------------------------


@check(
    "REPLAY-07",
    "Subscriptions are restored once each after a reconnect, and left alone where the session was recovered.",
    needs=("subscribe", "welcome"),
)
def subscriptions_are_restored(story: Story, profile: Profile) -> Finding:
    """After a reconnect each topic is subscribed to once in a fresh session, and not again in a recovered one."""
    return worst(
        (finding for traffic in traffics(story, profile) for finding in restored(traffic)),
        otherwise=inconclusive(
            "not provoked: no client that had subscribed was ready again; subscribe, cut the link, and wait for ready"
        ),
    )


# --- REPLAY-08 ------------------------------------------------------------------------------------------------


@check(
    "REPLAY-08",
    "A resume that the server refuses leads to a fresh session once, not to a loop of refused resumes.",
    needs=("credentials",),
    side="both",
)
def refused_resume_starts_afresh(story: Story, profile: Profile) -> Finding:
    """After a close that asks for a fresh session, or a welcome that recovered nothing, the old session is not "
    "presented again."""
    return worst(
        (finding for traffic in traffics(story, profile) for finding in _afresh(traffic)),
        otherwise=inconclusive(
            "not provoked: no resume was refused; close(4410), or restart the server without its sessions"
        ),
    )


def _afresh(traffic: Traffic) -> Iterator[Finding]:
    connections = traffic.client.connections
    for number, connection in enumerate(connections):
        credentials = connection.first("credentials", way="up")
        close, welcome = connection.close_received, connection.first("welcome", way="down")
        session = credentials.get("session") if credentials is not None else None
        known = session or (welcome.get("session") if welcome is not None else None)
        following = next((e for c in connections[number + 1 :] if (e := c.first("credentials", way="up"))), None)
        if known is None:
            continue
        code = close["code"] if close is not None else None
        if code is not None and traffic.profile.close.reaction(code) == "fresh":
            what = f"connection {connection.number} was closed {code}"
            if following is None:
                yield inconclusive(f"{what}; no credentials followed before the record ended")
            elif following.get("session") is not None:
                yield failed(f"{what}; connection {following.conn} presented a session all the same", at=following.at)
            else:
                yield passed(f"{what}; connection {following.conn} began a fresh session")
        elif session is not None and welcome is not None and not welcome.get("recovered") and following is not None:
            assert credentials is not None
            what = f"connection {connection.number}: the resume recovered nothing"
            read = connection.over is None or connection.over - welcome.at > GRACE
            if connection.close_sent is not None:  # a client that has closed reads no welcome
                read = read and welcome.at <= connection.close_sent.at
            same = all(following.get(name) == credentials.get(name) for name in ("session", "epoch"))
            replaced = any(welcome.get(name) not in (None, credentials.get(name)) for name in ("session", "epoch"))
            if same and replaced and read:
                yield failed(f"{what}; connection {following.conn} presented the same session again", at=following.at)
            elif not same:
                yield passed(f"{what}; connection {following.conn} did not present that session again")


# --- REPLAY-09 ------------------------------------------------------------------------------------------------


@check(
    "REPLAY-09",
    "A message that the server rejects for itself is surfaced and dropped, never sent again.",
    needs=("message", "ack"),
)
def rejected_is_dropped(story: Story, profile: Profile) -> Finding:
    """After an ack that is not ok the message does not go out again, and the application is told."""
    return worst(
        (finding for traffic in traffics(story, profile) for finding in _dropped(traffic)),
        otherwise=inconclusive("not provoked: the server rejected no message; send one that it must refuse"),
    )


def _dropped(traffic: Traffic) -> Iterator[Finding]:
    asked = Counter(ask["digest"] for ask in traffic.asks)
    sent, record = traffic.distinct("client"), traffic.story.record
    for link in traffic.links:
        for message in link.sent:
            verdict = link.verdicts.get(message.get("id"))
            if verdict is None or verdict.get("ok", True) or not traffic.surely(verdict, link):
                continue
            id, digest = message.get("id"), message["digest"]
            again = [
                e
                for later in [link, *traffic.after(link)]
                for e in later.sent
                if e.at > verdict.at + GRACE
                and e["digest"] == digest
                # Under another id it may be a new message, unless the application asked for no other.
                and ((later.session == link.session and e.get("id") == id) or 0 < asked[digest] < sent[digest])
            ]
            if again:
                yield failed(
                    f"id {id} was rejected ({verdict.get('error')}) on {link.name}, and sent again "
                    f"{again[0].at - verdict.at:.3f} s later",
                    at=again[0].at,
                )
            elif by(record, verdict.at + QUIET, None, since=verdict.at) is not Timing.BROKEN:
                yield inconclusive(
                    f"id {id} was rejected, and the record ended {record.until - verdict.at:.3f} s later"
                )
            else:
                yield _surfaced(traffic, message, asked)


def _surfaced(traffic: Traffic, message: Event, asked: Counter[str]) -> Finding:
    id, digest = message.get("id"), message["digest"]
    refs = [ask["ref"] for ask in traffic.asks if ask["digest"] == digest and ask.get("ref") is not None]
    told = [e for e in traffic.client.told("settled") if e.get("ref") in refs]
    if not traffic.client.reports or len(refs) != 1 or asked[digest] != 1:
        return non_strict(
            f"id {id} was rejected and not sent again; whether the application was told is not in the record "
            f"({ASK}, {REPORT})"
        )
    if not told or told[0].get("ok"):
        how = "told that it succeeded" if told else "told nothing"
        return failed(f"id {id} was rejected, and the application was {how}", at=message.at)
    return passed(f"id {id} was rejected, told to the application, and not sent again")
