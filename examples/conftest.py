"""What the examples share: one way to ask for the verdict on one rule."""

from collections.abc import Callable

import pytest

from pytest_wschaos import Chaos, Profile, Verdict


@pytest.fixture
def verdict(wschaos: Chaos) -> Callable[..., Verdict]:
    """``verdict("HEARTBEAT-02", profile)``: what happened so far, judged by one rule.

    A verdict has an ``outcome``, which compares as a word, and says in ``seen`` and ``measured`` what it rests on. On a
    busy machine a verdict that hangs on milliseconds may be INCONCLUSIVE, never the opposite: there the examples assert
    ``!= "FAIL"`` of a rule that is kept, and ``!= "PASS"`` of one that is broken.
    """

    def of(rule: str, profile: Profile | str | None = None) -> Verdict:
        (found,) = wschaos.check(rule, profile=profile)
        return found

    return of
