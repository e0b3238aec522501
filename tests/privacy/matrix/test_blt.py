import numpy as np
import pytest

from tff_vision.privacy.matrix import blt, toeplitz


@pytest.mark.slow
def test_the_published_parameters_at_a_hundred_thousand_rounds():
  """jax_privacy's golden values, every printed digit."""
  found = blt.optimise(toeplitz.Participation.of(100_000, 100_000), 2, 'max', restarts=1)
  np.testing.assert_allclose(found.weights, [0.0122853238, 0.1878393665], atol=1e-8)
  np.testing.assert_allclose(found.decays, [0.9999528892, 0.9857068667], atol=1e-8)


@pytest.mark.parametrize('rounds, buffers, bound', [(10, 1, 1.04), (100, 2, 1.03), (1000, 2, 1.04), (1000, 3, 1.03),
                                                    (10_000, 1, 1.45), (10_000, 3, 1.03)])
def test_losses_lie_inside_the_published_bounds(rounds, buffers, bound):
  """jax_privacy's bounds on the loss over its lower bound 1 + ln(n) / pi, one participation."""
  once = toeplitz.Participation.of(rounds, rounds)
  loss = toeplitz.loss(blt.optimise(once, buffers, 'max', restarts=1).coefficients(rounds), once, 'max')
  assert loss / (1 + np.log(rounds) / np.pi) <= bound


@pytest.mark.parametrize('rounds, b, metric, expected', [
    (2048, 2048, 'max', 3.585), (2048, 2048, 'mean', 3.327), (2052, 342, 'max', 10.81), (2052, 342, 'mean', 9.18)])
def test_losses_with_several_participations(rounds, b, metric, expected):
  participation = toeplitz.Participation.of(rounds, b)
  coefficients = blt.optimise(participation, 2, metric).coefficients(rounds)
  assert toeplitz.loss(coefficients, participation, metric) == pytest.approx(expected, abs=6e-3)


def test_the_closed_form_inverse_inverts():
  strategy = blt.optimise(toeplitz.Participation.of(300, 60), 2)
  product = (toeplitz.matrix(strategy.coefficients(300), 300)
             @ toeplitz.matrix(strategy.inverse.coefficients(300), 300))
  assert abs(product - np.eye(300)).max() < 1e-12


def test_coefficients_are_positive_and_decreasing_so_that_the_sensitivity_is_exact():
  for b in (5, 50, 500):
    coefficients = blt.optimise(toeplitz.Participation.of(500, b), 3, restarts=1).coefficients(500)
    assert (coefficients > 0).all() and (np.diff(coefficients) <= 1e-15).all()
