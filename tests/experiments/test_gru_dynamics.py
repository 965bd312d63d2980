import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.gru_checks import fitting_checks, portrait_checks
from experiments.gru_dynamics import GruDynamicsSettings
from experiments.gru_figure import draw_portraits
from experiments.gru_fitting import (
    RADIUS,
    CycleRun,
    Pupil,
    RingRun,
    free_run,
    learned,
    ring,
    van_der_pol,
    window,
)
from experiments.gru_flows import (
    HOPF,
    SADDLES_AND_NODES,
    fold,
    homoclinic,
    plane,
    pseudo_line,
    single,
    turning,
)
from experiments.gru_portraits import (
    SPEEDS,
    Portraits,
    Turn,
    bisect,
    fastest,
    meeting,
    slopes,
)
from gradstab.dynamics import FixedPoint, PeriodicOrbit


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def point(kind, state, eigenvalues):
    return FixedPoint(np.asarray(state), kind, np.asarray(eigenvalues), 0.0, 1e-4)


def circle(period, radius=0.5):
    times = np.linspace(0, period, 33)
    angles = 2 * np.pi * times / period
    states = radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return PeriodicOrbit(
        jnp.asarray(states[0]), period, 0.0, jnp.asarray(times), jnp.asarray(states)
    )


def known():
    """What is to be found of P1 to P4."""
    rests = [
        point("stable node", (-0.9996, -0.8241), (-0.366 + 0j, -0.501)),
        point("saddle", (-0.9251, -0.2424), (0.55696 + 0j, -0.57246)),
        point("unstable focus", (-0.0729, -0.0078), (0.11 + 1.3j, 0.11 - 1.3j)),
    ]
    turned = point("unstable focus", (0.0, 0.0), (0.1 + 1j, 0.1 - 1j))
    law = math.log(10) / 0.55696
    return Portraits(
        pitchfork=2.0,
        folds={weight: fold(weight) for weight in (3.0, 4.0)},
        turns=[Turn(0.5, circle(20.0), 10.0, [turned])],
        window={
            SADDLES_AND_NODES: (["saddle"] * 9, ["unstable focus"]),
            HOPF: (["unstable focus"], ["stable focus"]),
        },
        outside=(False, False),
        meeting=0.1098957076,
        rests=rests,
        rests_above=[one.kind for one in rests],
        orbits={1e-2: circle(11.2), 1e-3: circle(11.2 + law)},
        cycle_above=False,
        line=[point("degenerate", (0.0, 0.0), (0j, -0.5))],
        speeds=SPEEDS,
    )


def ring_run(ends):
    starts = free_run(ring, jnp.asarray([[RADIUS, 0.0], [0.0, RADIUS]]), 1.0)
    rests = [point("stable node", (0.5, 0.0), (-1 + 0j, -2))]
    paths = np.concatenate([starts[1], np.asarray(ends)[None]])
    return RingRun(pseudo_line(), 0.1, np.arange(4.0), paths, rests)


def test_one_unit_rests_at_the_fold_of_the_closed_form():
    height = math.sqrt(1 - 2 / 3)
    for sign in (1, -1):
        field = single(3.0, sign * fold(3.0))
        # There h is of the other sign than b.
        state = jnp.asarray([-sign * height])
        np.testing.assert_allclose(field(state), 0, atol=1e-15)
        np.testing.assert_allclose(jax.jacfwd(field)(state), 0, atol=1e-15)


def test_turning_takes_twice_the_time_of_the_plane():
    state = jnp.asarray([0.3, -0.6])
    np.testing.assert_allclose(2 * turning(0.5)(state), plane(0.5)(state), rtol=1e-12)


def test_the_saddle_of_the_loop():
    saddle = jnp.asarray([-0.92514684, -0.24243762])
    np.testing.assert_allclose(homoclinic(0.1098957)(saddle), 0, atol=1e-6)


@pytest.mark.parametrize(("reach", "speed"), SPEEDS.items())
def test_how_slow_the_line_is(reach, speed):
    assert fastest(pseudo_line(), reach) == pytest.approx(speed, rel=0.02)


def test_bisects():
    assert bisect(lambda x: x > 2 / 3, 0.0, 1.0, 1e-6) == pytest.approx(2 / 3, abs=1e-6)


@pytest.mark.slow
def test_where_the_cycle_meets_its_saddle():
    assert meeting(1e-9) == pytest.approx(0.1098957076, abs=2e-9)


def test_periods_grow_by_the_logarithm():
    orbits = {d: circle(3 - 2 * math.log(d)) for d in (1e-2, 1e-4, 1e-5)}
    np.testing.assert_allclose(slopes(orbits), 2 * math.log(10))


@pytest.mark.parametrize(
    ("wrong", "claim"),
    [
        ({}, ""),
        ({"pitchfork": 2.1}, "P1: a pitchfork"),
        ({"folds": {3.0: 0.3}}, "P1: a pitchfork"),
        ({"outside": (False, True)}, "P2: no cycle"),
        ({"turns": [Turn(0.5, circle(20.0), 9.9, [])]}, "P2: periods twice"),
        ({"window": {SADDLES_AND_NODES: (["x"], ["x"]), HOPF: (["x"], ["x"])}}, "P2:"),
        ({"rests": []}, "P3: a node"),
        ({"cycle_above": True}, "P3: a cycle below"),
        ({"orbits": {1e-2: circle(11.2), 1e-3: circle(15.5)}}, "P3: the period"),
        ({"line": []}, "P4: one fixed point"),
        ({"speeds": {**SPEEDS, 0.5: 4.3e-3}}, "P4: the largest"),
    ],
)
def test_judges_the_portraits(wrong, claim):
    checks = portrait_checks(dataclasses.replace(known(), **wrong), 1e-4)
    missed = [check.claim for check in checks if not check.met]
    assert len(checks) == 9
    assert bool(missed) == bool(claim)
    assert not missed or missed[0].startswith(claim)


def test_the_teachers():
    angles = jnp.linspace(0, 6, 7)
    on_ring = RADIUS * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
    np.testing.assert_allclose(jax.vmap(ring)(on_ring), 0, atol=1e-15)
    # r' = 1/2 - r from a radius of 0.9.
    end = window(ring, jnp.asarray([0.0, 0.9]))[-1]
    np.testing.assert_allclose(end, [0, 0.5 + 0.4 * math.exp(-3.0)], atol=1e-6)
    assert np.all(np.isfinite(ring(jnp.zeros(2))))
    # The orbit is scaled so that neither coordinate leaves 0.6.
    _, paths = free_run(van_der_pol, jnp.asarray([[0.3, 0.3]]), 80.0, hop=0.1)
    largest = np.max(np.abs(paths[500:, 0]), axis=0)
    np.testing.assert_allclose(largest, 0.6, atol=2e-3)


@pytest.mark.slow
def test_a_pupil_comes_nearer_to_its_teacher():
    def starts(key):
        return jax.random.uniform(key, (8, 2), minval=-0.5, maxval=0.5)

    pupil = Pupil(lambda h: -h / 2, starts, 300, 1e-2)
    ((field, loss, losses),) = learned(pupil, (0,))
    assert loss == pytest.approx(np.mean(losses[-100:]))
    assert loss < losses[0] / 10
    state = jnp.asarray([0.2, -0.3])
    np.testing.assert_allclose(field(state), -state / 2, atol=0.05)


def test_judges_what_was_learned():
    cycle = CycleRun(0.1, np.zeros((3, 2)), circle(10.4))
    at_rest = ring_run([[0.5, 0.0], [0.5, 1e-4]])
    assert all(one.met for one in fitting_checks(circle(10.0), [cycle], [at_rest]))
    assert at_rest.held_by == [2]
    assert cycle.aside(circle(9.0, radius=0.4)) == pytest.approx(0.1)
    assert at_rest.moved == pytest.approx(math.sqrt(0.5) / 2, abs=1e-3)
    away = ring_run([[0.5, 0.0], [0.5, 0.1]])
    for orbit in (None, circle(10.6)):
        missed = dataclasses.replace(cycle, orbit=orbit)
        checks = fitting_checks(circle(10.0), [cycle, missed], [away])
        assert not any(one.met for one in checks)


@pytest.mark.slow
def test_draws_portraits(tmp_path):
    drawn = draw_portraits(known(), tmp_path / "portraits")
    assert [path.name for path in drawn] == ["portraits.png", "portraits.pdf"]
    assert all(path.stat().st_size > 1000 for path in drawn)


@pytest.mark.slow
def test_trains_and_prints_both_tables(capsys, tmp_path):
    tiny = ["--steps", "2", "--ring-steps", "2", "--windows", "4", "--seeds", "0"]
    tiny += ["--duration", "5", "--starts", "2", "--figure", str(tmp_path / "gru")]
    assert main(["gru_dynamics", "--parts", "fits", *tiny]) == 0
    printed = capsys.readouterr().out
    assert "Van der Pol's cycle, period 13.327" in printed
    assert "NOT MET: after ten free periods" in printed
    assert (tmp_path / "gru-fits.pdf").exists()


def test_refuses(capsys):
    assert main(["gru_dynamics", "--steps", "0", "--angles", "50"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    settings = GruDynamicsSettings(
        precision=0.0, distances=(1e-3, 1e-2), learning_rate=0.0, seeds=()
    )
    assert len(settings.problems()) == 4
    assert GruDynamicsSettings().problems() == []
