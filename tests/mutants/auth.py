"""Clients that show no token, the wrong one, too late, or to the wrong people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pytest_wschaos import Profile, ReferenceClient
from pytest_wschaos.reference.close_policy import ClosePolicy, End
from pytest_wschaos.reference.credentials import TokenSource, fetch, url_with_token
from pytest_wschaos.reference.link import Link
from pytest_wschaos.reference.protocol import Frame

from .registry import Event, OtherFigures, Telling, mutant


class _AssumingLink(Link):
    def _authenticate(self, token: str | None) -> None:
        super()._authenticate(None if self._inbox.resume_fields() else token)


@mutant(
    "M52, dsrees/JavaPhoenixClient#82: the old session is assumed valid",
    fails={
        "AUTH-03": "it resumes its session without credentials",
    },
)
class NoTokenOnReconnect(ReferenceClient):
    link_type = _AssumingLink


@mutant(
    "M52, AntaresSimulatorTeam/AntaREST#604, supabase/supabase-js#1732: the token of the first connection is kept",
    fails={
        "AUTH-03": "it presents a token that has been replaced, and that its provider would not give it",
    },
    bends={
        "AUTH-04": "it presents the refused token again, so nobody sees whether it asked for another",
    },
)
class StaleToken(ReferenceClient):
    def __init__(self, url: str, *, token: TokenSource, **options: Any) -> None:
        kept: list[str] = []

        async def first() -> str:
            if not kept:
                kept.append(await fetch(token) or "")
            return kept[0]

        super().__init__(url, token=first, **options)


class _EagerLink(Link):
    def _authenticate(self, token: str | None) -> None:
        while (request := self._outbox.to_send(self._pacer.window)) is not None:
            self._outbox.begin()
            frame: Frame = {"type": request.kind, "id": request.id, "topic": request.topic}
            self._write_frame(frame | ({"data": request.data} if request.kind == "send" else {}))
        super()._authenticate(token)


@mutant(
    "M54, pladaria/reconnecting-websocket, partysocket, phoenix: the queue is flushed in onopen",
    fails={
        "AUTH-02": "what was queued goes out before the credentials",
    },
)
class QueueFlushedBeforeAuth(ReferenceClient):
    link_type = _EagerLink


@mutant(
    "the token in the URL, to be on the safe side",
    fails={"AUTH-01": "it is in the URL as well, where logs find it"},
)
class TokenInTheUrlToo(ReferenceClient):
    @property
    def _url(self) -> str:
        return url_with_token(self._plain_url, "query", self._presented)

    @_url.setter
    def _url(self, url: str) -> None:
        self._plain_url = url


@mutant(
    "M55, nyaruka/rapidpro#6836: refused for ever, it tries for ever",
    fails={
        "AUTH-04": "a token that was refused twice is tried a third time",
    },
)
class RefusedTokenRetried(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"reactions": {4401: "retry"}})


@mutant(
    "M56, enisdenjo/graphql-ws#558: an expired token is fatal",
    fails={
        "AUTH-04": "a fresh token would have been accepted, and is not asked for",
        "CLOSE-01": "4401 asks for a fresh token, and it stops",
    },
)
class ExpiredTokenIsFatal(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(close={"reactions": {4401: "fatal"}})


@mutant(
    "made up: the error text quotes the URL",
    fails={"AUTH-07": "the URL has the token in it"},
)
class TokenInTheErrorText(ReferenceClient):
    def __init__(self, url: str, *, on_event: Any, **options: Any) -> None:
        def told(event: dict[str, object]) -> None:
            if "error" in event:
                shown = url_with_token(self._url, self._profile.auth.mode, self._presented)
                event = {**event, "error": f"{shown}: {event['error']}"}
            on_event(event)

        super().__init__(url, on_event=told, **options)


@mutant(
    "HTTP clients that follow every redirect as they were told",
    fails={
        "AUTH-08": "it takes its token along to another origin",
        "CLOSE-05": "such a redirect stops a client",
    },
)
class FollowsRedirects(ReferenceClient):
    async def _connect(self) -> End:
        end = await super()._connect()
        if end.status == 302:  # the end does not say where to: that is known here
            self._url = self._url.replace("127.0.0.1", "localhost")
            end = await super()._connect()
        return end


class _EarlyLink(Link):
    def _authenticate(self, token: str | None) -> None:
        super()._authenticate(token)
        self._write_frame({"type": "ping", "n": 0})


@mutant(
    "made up: the heartbeat begins when the connection is open",
    fails={
        "AUTH-02": "its ping goes out before the server has accepted the credentials",
    },
)
class PingsBeforeTheWelcome(ReferenceClient):
    link_type = _EarlyLink


@mutant(
    "made up: the token travels as the library likes it",
    fails={
        "AUTH-01": "it does so whatever is declared",
    },
)
class AlwaysByHeader(OtherFigures):
    def practised(self, declared: Profile) -> Profile:
        return declared.with_(auth={"mode": "header"})


@mutant(
    "made up: a provider that fails is forgiven with the last token",
    fails={
        "AUTH-03": "it presents a token that has been replaced",
    },
)
class OldTokenWhenTheProviderFails(ReferenceClient):
    def __init__(self, url: str, *, token: Callable[[], str], **options: Any) -> None:
        last: list[str] = []

        def kept() -> str:
            try:
                last.append(token())
            except Exception:
                if not last:
                    raise
            return last[-1]

        super().__init__(url, token=kept, **options)


@mutant(
    "made up: the reason of the end quotes the token",
    fails={
        "AUTH-07": "the reason has the token in it",
    },
)
class TellsItsToken(Telling):
    def changed(self, event: Event) -> Iterator[Event]:
        yield {**event, "reason": f"refused: {self._presented}"} if event["event"] == "closed" else event


class _FatalPolicy(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        return "fatal" if end.status == 401 else super()._look_up(end)


@mutant(
    "made up, after M56: a 401 is fatal, though a fresh token would cure it",
    fails={
        "AUTH-04": "a fresh token would have been accepted, and is not asked for",
        "CLOSE-05": "401 asks to try once more, and it stops",
    },
)
class Http401IsFatal(ReferenceClient):
    policy_type = _FatalPolicy


class _EndlessPolicy(ClosePolicy):
    def _look_up(self, end: End) -> Any:
        return "retry" if end.status == 401 else super()._look_up(end)


@mutant(
    "made up, after M55: a 401 looks like any other failure",
    fails={
        "AUTH-04": "a token that was refused twice is tried a third time",
    },
)
class Http401ForEver(ReferenceClient):
    policy_type = _EndlessPolicy


@mutant(
    "made up: another port is taken for the same origin",
    fails={
        "AUTH-08": "it takes its token along to another origin",
        "CLOSE-05": "such a redirect stops a client",
    },
)
class FollowsToTheNextPort(ReferenceClient):
    async def _connect(self) -> End:
        end = await super()._connect()
        if end.status == 302:  # the end does not say where to: that is known here
            host, _, rest = self._url.rpartition(":")
            port, _, path = rest.partition("/")
            self._url = f"{host}:{int(port) + 1}/{path}"
            end = await super()._connect()
        if end.status == 302:  # to where it is already
            end = await super()._connect()
        return end
