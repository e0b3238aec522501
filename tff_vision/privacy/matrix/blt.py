"""Buffered linear Toeplitz (BLT) strategies: near-optimal noise from d model-sized buffers.

Dvijotham et al. 2024 (arXiv:2404.16706), McMahan, Xu & Zhang 2024 (arXiv:2408.08868) and McMahan & Pillutla 2025
(the closed-form inverse). The generating function of C is prod(1 - theta_hat x) / prod(1 - theta x), hence
c_j = sum_i omega_i theta_i^(j-1) for j >= 1, and C^-1 is the BLT with both roles exchanged.
"""

import dataclasses

import numpy as np
from scipy import optimize

from tff_vision.configs import validate
from tff_vision.privacy.matrix import toeplitz

_LOGIT_BOUNDS = (-6.0, 16.0)
_STEP = 1e-30


@dataclasses.dataclass(frozen=True)
class BufferedToeplitz:
  """One BLT; the same two lists define the BLT and its inverse.

  Attributes:
    decays: theta, [d], the poles: the fraction of each buffer that a round keeps.
    inverse_decays: theta_hat, [d], the zeros.
  """
  decays: np.ndarray
  inverse_decays: np.ndarray

  @property
  def weights(self) -> np.ndarray:
    """omega, [d]: the weight with which each buffer is read."""
    return _weights(self.decays, self.inverse_decays)

  @property
  def inverse(self) -> 'BufferedToeplitz':
    """The strategy whose matrix is C^-1."""
    return BufferedToeplitz(self.inverse_decays, self.decays)

  def coefficients(self, n: int) -> np.ndarray:
    """Returns the first column of C, [n]."""
    powers = self.decays[:, None] ** np.arange(n - 1)
    return np.concatenate([[1.0], (self.weights[:, None] * powers).sum(0)])


def optimise(participation: toeplitz.Participation, buffers: int, metric: str = 'mean',
             restarts: int = 2) -> BufferedToeplitz:
  """Returns the BLT of `buffers` buffers with the least sensitivity times prefix-sum error.

  Decays and inverse decays are the running product of sigmoids, so they interlace:
  theta_1 > theta_hat_1 > theta_2 > ... > 0. Then the coefficients are positive and decreasing, and the closed-form
  sensitivity is exact, without constraints. The optimiser is L-BFGS with complex-step derivatives (machine precision).

  Args:
    participation: The run's rounds, separation and participations.
    buffers: d; 2 or 3 suffice, a fourth gains under 1 %.
    metric: `max` or `mean`, the prefix-sum error to minimise.
    restarts: Starting points tried; all but the first are jittered with a fixed seed.
  """
  validate.positive(buffers=buffers, restarts=restarts)
  n = participation.rounds

  def log_loss(logits):
    strategy = _from_logits(logits)
    sensitivity = toeplitz.sensitivity_squared(strategy.coefficients(n), participation)
    return np.log(sensitivity) + np.log(toeplitz.error_squared(strategy.inverse.coefficients(n), metric))

  def value_and_gradient(logits):
    gradient = np.empty_like(logits)
    for i in range(len(logits)):
      value = log_loss(logits + _STEP * 1j * (np.arange(len(logits)) == i))
      gradient[i] = value.imag / _STEP
    return value.real, gradient

  rng = np.random.default_rng(0)
  starts = [_start(n, buffers, rng.normal(0, 0.3, 2 * buffers) * (attempt > 0)) for attempt in range(restarts)]
  found = [optimize.minimize(value_and_gradient, start, jac=True, method='L-BFGS-B',
                             bounds=[_LOGIT_BOUNDS] * (2 * buffers),
                             options={'maxiter': 300, 'maxcor': 20, 'ftol': 1e-12, 'gtol': 1e-8})
           for start in starts]
  return _from_logits(min(found, key=lambda result: result.fun).x)


def _weights(decays, other):
  """omega_i = prod_j (theta_i - theta_hat_j) / prod_{j != i} (theta_i - theta_j)."""
  apart = decays[:, None] - decays[None] + np.eye(len(decays))
  return np.prod(decays[:, None] - other[None], 1) / np.prod(apart, 1)


def _from_logits(logits):
  interlaced = np.cumprod(1 / (1 + np.exp(-logits)))
  return BufferedToeplitz(interlaced[0::2], interlaced[1::2])


def _start(n, buffers, jitter):
  """The starting point: distances from 1 are spread evenly on a log scale between 0.3 / n and 0.6."""
  distance = np.exp(np.linspace(np.log(0.3 / n), np.log(0.6), 2 * buffers) + jitter)
  values = np.sort(np.clip(1 - distance, 1e-3, 1 - 1e-9))[::-1]
  ratio = np.clip(values / np.concatenate([[1.0], values[:-1]]), 1e-9, 1 - 1e-9)
  return np.clip(np.log(ratio) - np.log1p(-ratio), _LOGIT_BOUNDS[0] + 1, _LOGIT_BOUNDS[1] - 0.1)
