"""The two tests by which draws are judged: their numbers against exact ones."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise, product
from random import Random

import pytest

from pytest_wschaos.checks.distribution import (
    Distribution,
    Sample,
    band,
    binomial_bound,
    blur,
    constant_probability,
    deviation,
    most_within,
    needed,
)
from pytest_wschaos.checks.runs_test import RunsTest, change_chances, runs_chances, sides

UNIFORM = Distribution(0.5, 1.5)
ALPHA = 1e-6


def exactly(*values: float) -> list[Sample]:
    return [Sample(value, value) for value in values]


@pytest.mark.parametrize(
    ("other", "distance"),
    [
        (Distribution(1, 1), 0.5),
        (Distribution(0.5, 1.5, clamp=1), 0.5),
        (Distribution(0, 1), 0.5),
        (Distribution(0.5, 1), 0.5),
        (Distribution(0.75, 1.25), 0.25),
        (UNIFORM, 0.0),
    ],
)
def test_distance_of_two_distributions(other: Distribution, distance: float) -> None:
    assert UNIFORM.distance(other) == pytest.approx(distance)
    assert other.distance(UNIFORM) == pytest.approx(distance)


def test_it_takes_117_samples_to_tell_half_a_distribution() -> None:
    assert needed(0.5, ALPHA / 2, ALPHA) == 117
    assert needed(0.0, ALPHA, ALPHA) is None


def test_draws_of_the_declared_shape_stay_within_the_band() -> None:
    rng = Random(1)
    for _ in range(200):
        assert deviation(exactly(*(rng.uniform(0.5, 1.5) for _ in range(117))), UNIFORM) < band(117, ALPHA)


def test_one_value_lies_half_away() -> None:
    assert deviation(exactly(*[1.0] * 117), UNIFORM) == pytest.approx(0.5)
    assert deviation(exactly(*[1.0] * 117), UNIFORM) > band(117, ALPHA)


def test_a_latency_excuses_only_what_it_can_explain() -> None:
    # Values that all look 0.3 too large are excused by intervals that reach 0.3 down.
    late = [0.8 + i / 100 for i in range(100)]
    assert deviation(exactly(*late), UNIFORM) == pytest.approx(0.3, abs=0.02)
    assert deviation([Sample(x - 0.3, x) for x in late], UNIFORM) < 0.02
    assert blur([Sample(x - 0.3, x) for x in late], UNIFORM) == pytest.approx(0.3)
    assert blur([Sample(1, 2), *[Sample(1, 1.01)] * 99], UNIFORM) == pytest.approx(0.02)


def test_constant_draws_are_improbable() -> None:
    assert constant_probability(exactly(*[1.0] * 5), UNIFORM) == 0
    assert constant_probability([Sample(1.0, 1.01)] * 5, UNIFORM) == pytest.approx(5 * 0.01**4, rel=0.01)
    assert constant_probability(exactly(0.5, 1.5), UNIFORM) == 1
    assert constant_probability(exactly(1.0), UNIFORM) == 1


def test_most_within_counts_what_lies_in_a_stretch_for_certain() -> None:
    assert most_within(exactly(1.0, 1.25, 1.5, 3.0), 0.5) == 3
    assert most_within(exactly(1.0, 1.25, 1.5, 3.0), 0.0) == 1
    assert most_within(exactly(2.0, 2.0, 1.0), 0.0) == 2
    assert most_within([Sample(1.0, 1.25), Sample(1.25, 1.5), Sample(1.0, 2.0)], 0.5) == 2
    assert most_within([Sample(1.0, 1.25), Sample(1.25, 1.5)], 0.375) == 1
    assert most_within([], 1.0) == 0


def test_binomial_bound_is_exceeded_with_less_than_alpha() -> None:
    assert binomial_bound(3, 0.5, 0.2) == 2  # P(3) = 1/8, P(2 or 3) = 1/2
    assert binomial_bound(3, 0.5, 0.01) == 3
    assert binomial_bound(3, 0.0, 0.01) == 0
    assert binomial_bound(3, 1.0, 0.01) == 3
    assert 100 < binomial_bound(2000, 0.05, ALPHA) < 200
    assert binomial_bound(3, 1e-9, 0.5) == 0


@pytest.mark.parametrize(("above", "below"), [(3, 4), (5, 2), (1, 1), (4, 4), (1, 5), (0, 3)])
def test_the_distribution_of_runs_is_exact(above: int, below: int) -> None:
    counted = Counter(
        1 + sum(a != b for a, b in pairwise(arrangement))
        for arrangement in product((0, 1), repeat=above + below)
        if sum(arrangement) == above
    )
    assert runs_chances(above, below) == {runs: pytest.approx(n / counted.total()) for runs, n in counted.items()}


@pytest.mark.parametrize(("clients", "above", "after"), [(5, 2, 3), (4, 2, 2), (3, 0, 2), (1, 1, 1)])
def test_the_distribution_of_changes_is_exact(clients: int, above: int, after: int) -> None:
    first = [i < above for i in range(clients)]
    counted = Counter(
        sum(a != b for a, b in zip(first, arrangement, strict=True))
        for arrangement in product((False, True), repeat=clients)
        if sum(arrangement) == after
    )
    chances = change_chances(clients, above, after)
    assert chances == {changes: pytest.approx(n / counted.total()) for changes, n in counted.items()}


def test_runs_test_rejects_order_and_accepts_chance() -> None:
    rng = Random(2)
    drawn = [rng.random() for _ in range(60)]
    assert not RunsTest.between([sides(drawn)]).rejects(ALPHA)
    assert RunsTest.between([sides(sorted(drawn))]).rejects(ALPHA)
    assert RunsTest.between([sides([i % 2 for i in range(60)])]).rejects(ALPHA)


def test_steps_are_added_up() -> None:
    rng = Random(2)
    ordered = [sides(sorted(rng.random() for _ in range(12))) for _ in range(6)]
    assert not RunsTest.between(ordered[:1]).rejects(ALPHA)
    assert RunsTest.between(ordered).rejects(ALPHA)


def test_a_client_that_stays_on_its_side() -> None:
    rng = Random(2)

    def column() -> dict[str, bool]:
        return {str(n): side for n, side in enumerate(sides([rng.random() for _ in range(20)]))}

    assert not RunsTest.along([column() for _ in range(6)]).rejects(ALPHA)
    assert RunsTest.along([column()] * 6).rejects(ALPHA)


def test_nothing_is_rejected_with_too_few_values() -> None:
    for arrangement in ([i % 2 == 0 for i in range(10)], [i < 5 for i in range(10)], [True]):
        assert not RunsTest.between([arrangement]).rejects(ALPHA)
