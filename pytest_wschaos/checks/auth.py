"""AUTH: credentials on every connection, before all else, fresh, and never where they do not belong."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from ..profile import Profile
from ..timeline import SECRET_PARAMETERS, Event, fingerprint
from .ending import came_back, stayed_away
from .links import during
from .refusals import Refusal, refusals
from .rule import check
from .story import Client, Connection, Story
from .surfaced import surfaced
from .tolerance import GRACE, STANDSTILLS, Timing, by, late_by, not_before
from .verdict import Finding, Outcome, failed, inconclusive, non_strict, passed, unsupported, worst
from .waits import Course, longest_wait

NO_AUTH = "the profile declares no authentication (auth.mode is none)"
NO_CREDENTIALS = "no dialect was given that tells credentials (fixture wschaos_dialect)"
APPLICATION = ("message", "subscribe", "unsubscribe", "ack", "ping", "text", "binary")
"""Frames that must not go out before the server has accepted the credentials; a heartbeat at frame level may."""


PUNCTUATION = "`*_~!.:=[]{}|"
"""What may surround a word in a text."""
_LEAVING = frozenset({1001, 1012, 1013})
"""Codes with which a server that goes away closes any connection."""


def _unjudged(story: Story, profile: Profile) -> Finding | None:
    """Why the client's credentials cannot be judged."""
    if profile.auth.mode == "none":
        return unsupported(NO_AUTH)
    if profile.auth.mode == "first_message" and "credentials" not in story.record.tells:
        return unsupported(NO_CREDENTIALS)
    return None


def _presented(connection: Connection) -> Event | None:
    """The event with which the client presented a token, at the handshake or in a message."""
    events = connection.seen("handshake", "credentials", way="up")
    # A cookie may mean anything, so a token in a message goes before it.
    events.sort(key=lambda e: e.kind == "handshake" and e.get("mode") == "cookie")
    return next((e for e in events if e.get("fingerprint") is not None), None)


def _application(connection: Connection, place: str = "client") -> list[Event]:
    """The frames of the application that went up."""
    return [e for e in connection.seen(*APPLICATION, place=place, way="up") if e.get("level") != "frame"]


# --- AUTH-01, 02, 03 ------------------------------------------------------------------------------------------


@check(
    "AUTH-01",
    "Credentials travel in the declared mode: first message, query, cookie or header.",
    figures=("auth.mode",),
    side="both",
)
def credentials_in_the_declared_mode(story: Story, profile: Profile) -> Finding:
    """Wherever a token was presented, it was in the profile's mode, and nowhere else."""
    if (unjudged := _unjudged(story, profile)) is not None:
        return unjudged
    return worst(
        (_mode(connection, profile.auth.mode) for connection in story.connections),
        otherwise=inconclusive("not provoked: no token was presented"),
    )


def _mode(connection: Connection, declared: str) -> Finding | None:
    events = [e for e in connection.seen("handshake", "credentials", way="up") if e.get("fingerprint") is not None]
    modes = {e["mode"]: e for e in events}
    if declared != "cookie" and connection.ready is None:
        modes.pop("cookie", None)  # it may hold anything; a connection that was accepted for it tells
    which = f"connection {connection.number}"
    if declared not in modes:
        # Until its first message a client had no chance to present its token; what it showed may be another secret.
        if not modes or (declared == "first_message" and connection.ready is None):
            return None
        mode, event = next(iter(modes.items()))
        return failed(f"{which} presented its token by {mode}; expected {declared}", at=event.at)
    for mode, event in modes.items():
        if mode != declared and event["fingerprint"] == modes[declared]["fingerprint"]:
            return failed(f"{which} presented its token by {mode} as well as by {declared}", at=event.at)
    return passed(f"tokens were presented by {declared}")


@check(
    "AUTH-02",
    "The first frame is the credentials, and nothing of the application goes out before the server has accepted them.",
    figures=("auth.mode",),
)
def nothing_before_the_welcome(story: Story, profile: Profile) -> Finding:
    """On every opened connection: credentials first, then nothing until the welcome has come."""
    if (unjudged := _unjudged(story, profile)) is not None:
        return unjudged
    welcomes = "welcome" in story.record.tells
    return worst(
        (
            _first_frames(connection, profile.auth.mode == "first_message", welcomes)
            for connection in story.connections
            if connection.opened is not None and connection.speaks
        ),
        otherwise=inconclusive("not provoked: no connection was opened and authenticated"),
    )


def _first_frames(connection: Connection, by_message: bool, welcomes: bool) -> Finding | None:
    which, events = f"connection {connection.number}", connection.events
    credentials, welcome = connection.first("credentials", way="up"), connection.first("welcome", way="down")
    early: list[Event] = []
    # Events of one instant are told apart by their order.
    if by_message:
        early = _before(events, _application(connection), credentials)
        if early:
            return failed(f"{which}: its first frame was {early[0].kind}; expected the credentials", at=early[0].at)
    if welcomes:
        early = _before(events, _application(connection), welcome)
        if early:
            when = (
                "though no welcome came" if welcome is None else f"{welcome.at - early[0].at:.3f} s before the welcome"
            )
            return failed(f"{which}: {early[0].kind} went out {when}", at=early[0].at)
        return passed("nothing went out before the welcome") if welcome is not None else None
    return passed("the credentials went out first") if credentials is not None or not by_message else None


def _before(events: list[Event], frames: list[Event], mark: Event | None) -> list[Event]:
    if mark is None:
        return frames
    limit = next(number for number, event in enumerate(events) if event is mark)
    return [event for event in events[:limit] if any(event is frame for frame in frames)]


@check(
    "AUTH-03",
    "Credentials are presented on every connection, a resumed one too, taken afresh each time.",
    figures=("auth.mode",),
)
def credentials_on_every_connection(story: Story, profile: Profile) -> Finding:
    """Every opened connection carries a token, and after a change of token the next one carries the new one."""
    if (unjudged := _unjudged(story, profile)) is not None:
        return unjudged
    findings: list[Finding] = []
    for client in story.clients:
        has_token = any(_presented(c) is not None for c in client.connections)
        missing = [f for c in client.connections if (f := _missing(story, c, profile, has_token)) is not None]
        presenting = [c for c in client.connections if c.opened is not None and _presented(c) is not None]
        stale, fresh = _freshness(story, client)
        findings += missing + stale
        if len(presenting) >= 2 and not missing and not stale:
            told, numbers = f"a token on each of {len(presenting)} connections", {"connections": len(presenting)}
            if fresh:
                told += f"; {fresh} times the token had changed, and the new one came"
                findings.append(passed(told, **numbers, fresh=fresh))
            else:
                told += "; whether it is taken afresh is not seen: no token changed meanwhile (rotate_token())"
                findings.append(non_strict(told, **numbers))
    return worst(findings, otherwise=inconclusive("not provoked: no client opened a second connection"))


def _missing(story: Story, connection: Connection, profile: Profile, has_token: bool) -> Finding | None:
    """A connection that stayed without credentials, though there was time for them.

    ``has_token``: whether the client is known to have one.
    """
    opened = connection.opened
    if _presented(connection) is not None or opened is None or not connection.speaks:
        return None
    if profile.auth.mode != "first_message" and not has_token:
        return unsupported(
            f"no token was found in any handshake ({profile.auth.mode}): "
            f"known are the query parameters {', '.join(sorted(SECRET_PARAMETERS))}, any cookie, and Authorization"
        )
    said = connection.first("credentials", way="up")
    if said is not None and has_token:
        return failed(f"connection {connection.number} said who it is without its token", at=said.at)
    end = min([*connection.signs, story.record.until])
    close = connection.close_received
    refused = close is not None and close["code"] in (4401, 4408)
    # With the handshake there is nothing to wait for; a first message may take its time, unless others went before.
    in_time = profile.auth.mode == "first_message" and not _application(connection)
    patience = GRACE if refused else min(profile.auth.timeout, profile.reconnect.open_timeout) - GRACE
    if in_time and end - opened < patience + STANDSTILLS * story.record.lag(opened, end):
        return None
    how = f"closed {close['code']}" if refused and close is not None else f"open for {end - opened:.3f} s"
    return failed(f"connection {connection.number} presented no credentials; it was {how}", at=opened)


def _freshness(story: Story, client: Client) -> tuple[list[Finding], int]:
    """The connections that came with an outdated token, and the number of those that came with a new one."""
    tokens = [e for e in story.record.events if e.kind == "token" and e.place == "harness"]
    stale, fresh, used = [], 0, None
    replaced: set[str] = set()
    for before, connection in zip([None, *client.connections], client.connections, strict=False):
        event = _presented(connection)
        valid = [e for e in tokens if e.at < connection.attempt]
        if event is None:
            continue
        # A token that changed while the client was fetching it may be the old or the new one.
        since = _fetched_from(client, before, connection)
        settled = not any(since <= e.at <= event.at for e in tokens)
        # A client may also have a token of its own, which no other replaces.
        replaced |= {e["fingerprint"] for e in valid[:-1]} | {e["replaced"] for e in valid if e.get("replaced")}
        current = valid[-1]["fingerprint"] if valid else None
        if settled and event["fingerprint"] in replaced - {current}:
            age = connection.attempt - valid[-1].at
            seen = f"connection {connection.number} presented a token that had been replaced {age:.3f} s before"
            stale.append(failed(seen, at=event.at))
        elif valid and used is not None and event["fingerprint"] not in (used, None):
            fresh += 1
        used = event["fingerprint"]
    return stale, fresh


def _fetched_from(client: Client, before: Connection | None, connection: Connection) -> float:
    """The earliest instant at which the client may have fetched the token of a connection."""
    began = [e.at for e in client.told("connecting") if e.at <= connection.attempt + GRACE]
    if began:
        return began[-1] - GRACE
    ended = before.signs[0] if before is not None and before.signs else connection.attempt
    return min(ended, connection.attempt - GRACE)


# --- AUTH-04 --------------------------------------------------------------------------------------------------


@check(
    "AUTH-04",
    "An expired token is refreshed once and tried again by backoff; refused again, the error is surfaced and the "
    "client stops.",
    figures=("auth.mode", "backoff.ceiling"),
)
def refreshed_once(story: Story, profile: Profile) -> Finding:
    """After Close 4401 or HTTP 401 one more attempt; after a second one without a ready in between, none."""
    if profile.auth.mode == "none":
        return unsupported(NO_AUTH)
    findings = []
    for client in story.clients:
        course = Course(client, profile)
        findings += [_after_refusal(story, course, refusal) for refusal in refusals(story, course)]
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no token was refused; close(4401), reject_handshake(401), or let a token expire"
        ),
    )


def _after_refusal(story: Story, course: Course, refusal: Refusal) -> Finding:
    """Whether the client refreshed after a first refusal, and stopped after another."""
    client, connection = course.client, refusal.connection
    which, longest = f"connection {connection.number}", longest_wait(connection, course.profile)
    if not refusal.read:
        seen = (
            f"{which}: the token was refused as the client may have given the connection up; whether it saw it is open"
        )
        return inconclusive(seen, at=connection.signs[0])
    if refusal.most == 1:
        if course.spent(connection):
            return inconclusive(f"{which}: the token was refused, when the retries were used up")
        return _refreshed(connection, client, came_back(story, client, connection, longest))
    if refusal.least == 1:
        return inconclusive(f"{which}: the token was refused, for the first time or again")
    what = f"{which}: the token was refused again, without a ready in between"
    quiet = stayed_away(story, client, connection.signs[-1], longest + GRACE, what)
    return surfaced(client, connection, longest, quiet)


def _refreshed(connection: Connection, client: Client, back: Finding) -> Finding:
    """Whether the next token after a refusal was another one, as far as that can be seen."""
    first = _presented(connection)
    later = client.connections[client.connections.index(connection) + 1 :]
    second = next((token for c in later if (token := _presented(c)) is not None), None)
    same = first is not None and second is not None and first["fingerprint"] == second["fingerprint"]
    if back.outcome is Outcome.PASS and same:
        return non_strict(f"{back.seen}, with the same token: whether it was asked for anew is not seen")
    return back


# --- AUTH-05, 06 ----------------------------------------------------------------------------------------------


@check(
    "AUTH-05",
    "The server closes a connection that has not authenticated in time, and refuses everything before.",
    figures=("auth.timeout",),
    needs=("credentials",),
    side="server",
)
def server_insists(story: Story, profile: Profile) -> Finding:
    """A silent client gets Close 4408 at the timeout; one that sends something else first gets Close 4401."""
    if profile.auth.mode == "none":
        return unsupported(NO_AUTH)
    return worst(
        (_insisted(story, connection, profile.auth.timeout) for connection in story.connections),
        otherwise=inconclusive("not provoked: every client authenticated; connect, and send nothing"),
    )


def _insisted(story: Story, connection: Connection, timeout: float) -> Finding | None:
    record = story.record
    if not connection.speaks:
        return None
    response = connection.first("response", place="server", way="down")
    credentials = [e for e in connection.seen("handshake", "credentials", place="server", way="up") if _is_token(e)]
    early = _before(connection.events, _application(connection, "server"), credentials[0] if credentials else None)
    if response is None or response["status"] != 101 or (credentials and not early):
        return None
    close = connection.first("close", place="server", way="down")
    opened, which = response.at, f"connection {connection.number}"
    own = connection.first("close", place="server", way="up")
    if (close is not None and close["code"] in _LEAVING) or (own is not None and (close is None or own.at < close.at)):
        return None
    # The server decides when it accepts, and a fault may have healed by the time that its answer is seen.
    if during(story, connection.attempt, close.at if close is not None else record.until, "accept_then_close", "close"):
        return None  # closed because a test wanted it
    if early:
        return _refuses(story, connection, early[0], close, opened + timeout)
    end = connection.first("end", place="server")
    stop = min(e.at for e in (end, close) if e is not None) if end is not None or close is not None else None
    due = opened + timeout
    if close is None and stop is not None and stop < due + GRACE:
        return None
    match by(record, due, stop, since=opened):
        case Timing.DOUBTFUL:
            return inconclusive(f"{which}: silent until the record ended, or {late_by(record, opened, due)}")
        case Timing.BROKEN:
            return failed(f"{which} was silent, and not closed in {timeout:.3f} s", at=due)
    assert close is not None
    waited = close.at - opened
    if close["code"] != 4408:
        return failed(f"{which} was silent, and closed {close['code']}; expected 4408", at=close.at)
    if not_before(record, due, close.at, early=GRACE, since=opened) is Timing.BROKEN:
        return failed(f"{which} was closed 4408 after only {waited:.3f} s; expected {timeout:.3f} s", at=close.at)
    return passed(
        f"{which} was silent, and closed 4408 after {waited:.3f} s (expected {timeout:.3f} s)", closed_s=waited
    )


def _is_token(event: Event) -> bool:
    return event.kind == "credentials" or event.get("fingerprint") is not None


def _refuses(story: Story, connection: Connection, frame: Event, close: Event | None, due: float) -> Finding | None:
    """Whether what came before the credentials was answered with Close 4401."""
    which, record = f"connection {connection.number}", story.record
    welcome = connection.first("welcome", place="server", way="down")
    if welcome is not None and (close is None or welcome.at < close.at):
        return failed(f"{which} sent {frame.kind} before its credentials, and was welcomed", at=welcome.at)
    if close is not None and close["code"] == 4401:
        return passed(f"{which} sent {frame.kind} before its credentials, and was closed 4401")
    if close is not None:
        return failed(
            f"{which} sent {frame.kind} before its credentials, and was closed {close['code']}; expected 4401",
            at=close.at,
        )
    if connection.first("end", place="server") is not None:
        return None
    if by(record, due, None, since=frame.at) is Timing.DOUBTFUL:
        return inconclusive(
            f"{which} sent {frame.kind} before its credentials; the record ends {record.until - frame.at:.3f} s later"
        )
    return failed(f"{which} sent {frame.kind} before its credentials, and was not refused", at=frame.at)


@check(
    "AUTH-06",
    "A revoked credential cannot resume a session.",
    needs=("credentials", "welcome"),
    side="server",
)
def revoked_cannot_resume(story: Story, profile: Profile) -> Finding:
    """After a token was revoked, a resume that presents it is not recovered."""
    if profile.auth.mode == "none":
        return unsupported(NO_AUTH)
    tokens = [e for e in story.record.events if e.kind == "token" and e.place == "harness"]
    findings: list[Finding] = []
    for connection in story.connections:
        token, credentials = _presented(connection), connection.first("credentials", place="server", way="up")
        if token is None or credentials is None or credentials.get("session") is None:
            continue
        revocation = next((e for e in reversed(tokens) if e.get("revoked") and e.at < connection.attempt), None)
        newer = {e["fingerprint"] for e in tokens if revocation is not None and e.at >= revocation.at}
        if revocation is not None and token["fingerprint"] not in newer:
            findings.append(_resumption(connection))
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no session was resumed with a revoked token; rotate_token(revoke=True), then cut the link"
        ),
    )


def _resumption(connection: Connection) -> Finding:
    which = f"connection {connection.number} asked to resume with a revoked token"
    welcome = connection.first("welcome", place="server", way="down")
    if welcome is not None:
        how = "recovered the session" if welcome.get("recovered") else "was welcomed"
        return failed(f"{which}, and {how}", at=welcome.at)
    close = connection.first("close", place="server", way="down")
    if close is None:
        return inconclusive(f"{which}; no answer to it is in the record")
    return passed(f"{which}, and was closed {close['code']}")


# --- AUTH-07, 08 ----------------------------------------------------------------------------------------------


@check(
    "AUTH-07",
    "A token never reaches a log, an error text or a report, on either side.",
    figures=("auth.mode",),
    side="both",
)
def tokens_stay_secret(story: Story, profile: Profile) -> Finding:
    """No reason and no error text holds a token that was presented."""
    if profile.auth.mode == "none":
        return unsupported(NO_AUTH)
    secrets = {e["fingerprint"] for e in story.record.events if e.get("fingerprint") is not None}
    telling = [e for e in story.record.events if "reason" in e.detail or "error" in e.detail]
    texts = [(e, text) for e in telling for text in (e.get("reason"), e.get("error")) if isinstance(text, str) and text]
    leaking = {
        text for text in {text for _, text in texts} if any(fingerprint(word) in secrets for word in _words(text))
    }
    for event, text in texts:
        if text in leaking:
            who = "the client" if event.place == "app" or event.way == "up" else "the server"
            return failed(f"{who} wrote a token into the text of {event.kind}", at=event.at)
    if not secrets:
        return inconclusive("not provoked: no token was presented")
    if not any(client.reports for client in story.clients):
        return unsupported("what the client tells of its errors is not in the record: pass on_event=wschaos.report")
    told = sum(event.place == "app" for event, _ in texts)
    if not told:
        return inconclusive("not provoked: the client told no error; let a connection fail")
    return passed(f"{told} error texts of the client's, {len(texts) - told} others, none with a token")


def _words(text: str) -> set[str]:
    """The parts of a text that may be a token, by what can surround one, and URL-decoded."""
    words: set[str] = set()
    for pattern in (r"[\s'\"<>(),;&?#]+", r"[\s'\"<>(),;&?#=:/@\[\]{}]+"):
        for word in re.split(pattern, text):
            words.update((word, word.partition("=")[2], word.rstrip("."), word.strip(PUNCTUATION)))
    return (words | {unquote_plus(word) for word in words}) - {""}


@check(
    "AUTH-08",
    "Credentials do not follow a redirect to another origin.",
    figures=("auth.mode",),
)
def no_credentials_across_origins(story: Story, profile: Profile) -> Finding:
    """After a redirect nothing with a token goes to where it pointed."""
    if profile.auth.mode == "none":
        return unsupported(NO_AUTH)
    findings = [
        _redirected(story, client, connection, profile)
        for client in story.clients
        for connection in client.connections
        if connection.redirect == "foreign"
    ]
    return worst(
        findings,
        otherwise=inconclusive(
            "not provoked: no handshake was redirected to another host; inject reject_handshake(302, location=...)"
        ),
    )


def _redirected(story: Story, client: Client, connection: Connection, profile: Profile) -> Finding:
    assert connection.response is not None
    at, to = connection.response.at, connection.response["to"]
    what = f"connection {connection.number} was redirected to {to}"
    later = [c for c in story.connections if c is not connection and c.attempt >= at]
    doubtful = None
    for other in (c for c in later if c.host == to):
        followed = _followed(story, client, connection, other)
        if followed:
            return failed(f"{what}; connection {other.number} presented its token there", at=other.attempt)
        if followed is None:
            told = f"{what}; connection {other.number} presented a token there, perhaps of its own accord"
            doubtful = inconclusive(told, at=other.attempt)
    if doubtful is not None:
        return doubtful
    if any(other.client == client.name and other.host not in (None, to) for other in later):
        return passed(f"{what}; it tried its own address again, and no token followed")
    if story.record.until < at + profile.backoff.ceiling + GRACE:
        return inconclusive(f"{what}; the record ends {story.record.until - at:.3f} s later")
    return passed(f"{what}; no token followed")


def _followed(story: Story, client: Client, redirected: Connection, other: Connection) -> bool | None:
    """Whether a later connection, to where a redirect pointed, brought its client's token; None: it cannot be told."""
    presented = _presented(other)
    if presented is None:
        return False
    before = client.connections[: client.connections.index(redirected) + 1]
    if other.client == client.name:
        # A fresh token is a token, too; but the client may always have had this address as well.
        return None if any(c.host == other.host and _presented(c) is not None for c in before) else True
    shown = {token["fingerprint"] for c in before if (token := _presented(c)) is not None}
    if shown and presented["fingerprint"] not in shown:
        return False
    # The other host may be another listener of the test's, and what comes there a client of that listener's own.
    owner = next(c for c in story.clients if c.name == other.client)
    resident = any(c.attempt < redirected.signs[0] for c in owner.connections)
    reports = any(e.at <= other.attempt + GRACE for e in owner.app)
    return None if resident or reports else True
