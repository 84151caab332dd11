"""The figures: presets, files, scaling, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wschaos import Profile, ProfileError
from pytest_wschaos.harness import load_profile
from pytest_wschaos.profile import Backoff, Close, Jitter


def test_the_nominal_delays_double_up_to_the_cap() -> None:
    backoff = Profile().backoff
    assert [backoff.nominal(retry) for retry in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert backoff.nominal(10**6) == 30


@pytest.mark.parametrize("figures", [{"base": 0, "cap": 0}, {"factor": 1}, {"base": 30}, {"factor": 1.0000001}])
def test_the_nominal_delay_never_overflows_or_shrinks(figures: dict[str, float]) -> None:
    backoff = Profile().with_(backoff=figures).backoff
    delays = [backoff.nominal(retry) for retry in (1, 2, 3, 10_000)]
    assert delays == sorted(delays)
    assert delays[0] == backoff.base
    assert delays[-1] <= backoff.cap


@pytest.mark.parametrize(
    ("shape", "bounds"),
    [("uniform", (0.5, 1.5)), ("full", (0, 1)), ("equal", (0.5, 1)), ("decorrelated", (0, 3)), ("none", (1, 1))],
)
def test_each_shape_of_jitter_has_its_bounds(shape: str, bounds: tuple[float, float]) -> None:
    assert Profile().with_(jitter={"shape": shape}).jitter.bounds == bounds


def test_scaling_multiplies_times_and_divides_the_rate() -> None:
    profile = Profile().scaled(0.1)
    assert profile.backoff.base == pytest.approx(0.1)
    assert profile.backoff.ceiling == pytest.approx(4.5)
    assert profile.heartbeat.server_deadline == pytest.approx(1)
    assert profile.security.rate == pytest.approx(500)
    assert (profile.backoff.factor, profile.reconnect.max_retries, profile.message.max_size) == (2, 10, 1024 * 1024)
    assert profile.jitter == Profile().jitter


def test_scaling_leaves_out_what_is_not_there() -> None:
    profile = Profile().with_(heartbeat={"interval": None}).scaled(0.1)
    assert profile.heartbeat.interval is None
    assert profile.detection == 0


def test_a_ceiling_follows_cap_and_jitter_unless_given() -> None:
    assert Profile().with_(backoff={"cap": 10}).backoff.ceiling == 15
    assert Profile().with_(backoff={"cap": 10}, jitter={"shape": "decorrelated"}).backoff.ceiling == 30
    assert Profile().with_(backoff={"cap": 10}, jitter={"shape": "full"}).backoff.ceiling == 10
    assert Profile().with_(backoff={"cap": 10, "ceiling": 11}).backoff.ceiling == 11


def test_patience_covers_detection_waits_and_handshakes() -> None:
    profile = Profile()
    assert profile.patience > profile.detection + profile.backoff.ceiling + 2 * profile.reconnect.open_timeout
    assert profile.detection == 40
    assert Profile().patience == 115  # as the documentation says


def test_the_first_delay_has_its_own_bound_where_one_is_declared() -> None:
    assert Profile().longest_first_delay == 1.5
    assert Profile.preset("rfc6455").longest_first_delay == 5


@pytest.mark.parametrize(("code", "reaction"), [(1001, "retry"), (4401, "refresh"), (4600, "fatal"), (3000, "retry")])
def test_reactions_come_from_the_table_or_the_range(code: int, reaction: str) -> None:
    assert Profile().close.reaction(code) == reaction


def test_a_reaction_can_be_changed_alone() -> None:
    close = Profile().with_(close={"reactions": {"1011": "fatal"}}).close
    assert close.reaction(1011) == "fatal"
    assert close.reaction(1012) == "retry"


@pytest.mark.parametrize("name", ["default", "rfc6455", "websockets"])
def test_presets_survive_a_journey_through_json(name: str, tmp_path: Path) -> None:
    profile = Profile.preset(name)
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile.to_dict()))
    assert Profile.load(path) == profile


@given(factor=st.floats(1e-3, 1e3), base=st.floats(0, 100), growth=st.floats(1, 10), cap=st.floats(100, 1000))
def test_any_profile_survives_a_journey_through_dict(factor: float, base: float, growth: float, cap: float) -> None:
    profile = Profile().with_(backoff={"base": base, "factor": growth, "cap": cap}).scaled(factor)
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile


def test_a_file_may_start_from_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'preset = "websockets"\n[heartbeat]\ninterval = "none"\n[security]\norigins = ["https://a.example"]\n'
    )
    profile = Profile.load(path)
    assert profile.heartbeat.interval is None
    assert profile.heartbeat.deadline == 20
    assert profile.security.origins == ("https://a.example",)
    assert Profile().with_(security={"origins": "none"}).security.origins is None


def test_where_a_profile_may_come_from(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[backoff]\nbase = 2\n")
    assert load_profile(None) == Profile()
    assert load_profile("websockets") == Profile.preset("websockets")
    assert load_profile("mine.toml", tmp_path).backoff.base == 2
    assert load_profile(tmp_path / "mine.toml").backoff.base == 2
    with pytest.raises(ProfileError, match="profile = 3: must be a Profile, a preset's name"):
        load_profile(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("area", "figures", "told"),
    [
        ("backoff", {"factor": 0.5}, r"backoff.factor = 0.5: must be 1 or more \(delays must not shrink\)"),
        ("backoff", {"factor": "inf"}, "backoff.factor = 'inf': must be a number"),
        ("backoff", {"factor": float("inf")}, "backoff.factor = inf"),
        ("backoff", {"cap": 0.5}, r"backoff.cap = 0.5: must be backoff.base \(1.0\) or more"),
        ("backoff", {"ceiling": 20}, r"backoff.ceiling = 20.0: must be backoff.cap \(30.0\) or more"),
        ("backoff", {"base": -1}, "backoff.base = -1.0: must be 0 s or more"),
        ("backoff", {"base": float("nan")}, "backoff.base = nan"),
        ("backoff", {"base": True}, "backoff.base = True: must be a number"),
        ("backoff", {"first_low": 1}, "first_high = .*given together, low first"),
        ("backoff", {"first_low": 2, "first_high": 1}, "given together, low first"),
        ("backoff", {"honour_retry_after": "yes"}, "honour_retry_after = 'yes': must be true or false"),
        ("backoff", {"growth": 2}, "no figure named 'growth' in backoff: there are base, factor, cap"),
        ("backof", {}, "no area named 'backof' in a profile: there are reconnect, backoff"),
        ("self", {}, "no area named 'self' in a profile"),
        ("backoff", 3, "backoff = 3: must be a table of figures"),
        ("reconnect", {"max_retries": -1}, "reconnect.max_retries = -1: must be 0 or more, or none for no limit"),
        ("reconnect", {"max_retries": 1.5}, "reconnect.max_retries = 1.5: must be a whole number"),
        ("reconnect", {"open_timeout": float("inf")}, "reconnect.open_timeout = inf: must be above 0 s"),
        ("jitter", {"shape": "sinus"}, "jitter.shape = 'sinus': must be one of uniform, full"),
        ("jitter", {"low": 2}, "0 <= low <= high"),
        ("jitter", {"alpha": 1}, "jitter.alpha = 1.0: must be between 0 and 1"),
        ("heartbeat", {"interval": 0}, "heartbeat.interval = 0.0: must be above 0 s"),
        ("heartbeat", {"deadline": "none"}, "heartbeat.deadline = 'none': must be a number"),
        ("heartbeat", {"proof_of_life": "hope"}, "proof_of_life = 'hope': must be pong or any"),
        ("state", {"low_water": 2**30}, "state.low_water = .*must be between 0 and state.high_water"),
        ("replay", {"delivery": "maybe"}, "replay.delivery = 'maybe': must be one of at-most-once"),
        ("replay", {"queue_messages": 0}, "replay.queue_messages = 0: must be 1 or more"),
        ("replay", {"session_ttl": -1}, "replay.session_ttl = -1.0: must be 0 s or more"),
        ("auth", {"mode": "smile"}, "auth.mode = 'smile': must be one of first_message, query"),
        ("auth", {"timeout": 0}, "auth.timeout = 0.0: must be above 0 s"),
        ("close", {"timeout": 0}, "close.timeout = 0.0"),
        ("close", {"reactions": 3}, "close.reactions = 3: must be a table of reactions by close code"),
        ("close", {"reactions": {"x": "retry"}}, "must be keyed by close codes"),
        ("close", {"reactions": {None: "retry"}}, "must be keyed by close codes"),
        ("close", {"reactions": {1: "retry"}}, "close.reactions = 1: must be keyed by a close code, 1000 to 4999"),
        ("close", {"reactions": {1001: "dance"}}, "close.reactions.1001 = 'dance': must be one of stop, retry"),
        ("message", {"max_size": 0}, "message.max_size = 0: must be 1 or more"),
        ("message", {"chunk": 2**30}, "message.chunk = .*must be between 1 and message.max_size"),
        ("security", {"rate": 0}, "security.rate = 0.0: must be above 0 per second"),
        ("security", {"burst": 0}, "security.burst = 0"),
        ("security", {"connections": 0}, "security.connections = 0"),
        ("security", {"handshake_timeout": -1}, "security.handshake_timeout = -1.0"),
        ("security", {"origins": "https://a.example"}, "security.origins = .*must be a list of origins"),
    ],
)
def test_a_figure_that_cannot_be_is_named_with_what_it_may_be(area: str, figures: Any, told: str) -> None:
    with pytest.raises(ProfileError, match=told):
        Profile().with_(**{area: figures})


@pytest.mark.parametrize("factor", [0, -1, float("nan"), float("inf")])
def test_a_scale_must_be_above_zero(factor: float) -> None:
    with pytest.raises(ProfileError, match=r"scale = .*: must be above 0"):
        Profile().scaled(factor)


def test_a_table_in_place_of_an_area_is_refused_with_the_remedy() -> None:
    with pytest.raises(ProfileError, match=r"must be a Backoff; .*Profile\(\).with_\(backoff="):
        Profile(backoff={"cap": 10})  # type: ignore[arg-type]
    assert Profile(backoff=Backoff(cap=10, ceiling=15), jitter=Jitter(), close=Close()).backoff.cap == 10


@pytest.mark.parametrize("name", ["nope", "", [], None])
def test_an_unknown_preset_is_named(name: Any) -> None:
    with pytest.raises(ProfileError, match=r"no preset named .*there are default, rfc6455, websockets"):
        Profile.preset(name)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", "[backoff\n", "not a readable profile"),
        ("a.json", "{", "not a readable profile"),
        ("a.json", "[1]", "a profile is a table of areas, not list"),
        ("a.json", '{"backoff": {"factor": 0}}', "backoff.factor = 0.0"),
        ("a.toml", 'preset = "nope"', "no preset named 'nope'"),
        ("a.toml", None, "not a readable profile"),
    ],
)
def test_a_file_that_holds_no_profile_is_named(tmp_path: Path, name: str, text: str | None, told: str) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ProfileError, match=told) as caught:
        Profile.load(path)
    assert str(path) in str(caught.value)
