"""Banded Toeplitz strategies: the optimum under a band of at most the minimum separation.

Choquette-Choo et al. 2023, "(Amplified) Banded Matrix Factorization", arXiv:2306.08153. The state of the noise
stream is bands - 1 model-sized buffers.
"""

import math

import numpy as np
from scipy import optimize, signal

from tff_vision.privacy.matrix import toeplitz


def optimise(rounds: int, bands: int, metric: str = 'mean') -> np.ndarray:
  """Returns the coefficients, [bands], that minimise column norm times prefix-sum error over `rounds`.

  With bands <= min_separation the sensitivity is the column norm times sqrt(participations), so the optimum does
  not depend on the number of participations.

  Raises:
    ValueError: bands is not in 1..rounds.
  """
  if not 1 <= bands <= rounds:
    raise ValueError(f'bands must lie in 1..rounds={rounds}, found {bands}.')
  weights = toeplitz.error_weights(rounds, metric)
  ones = np.ones(rounds)

  def objective(c):
    prefix = signal.lfilter([1.0], c, ones)
    error, norm = (weights * prefix * prefix).sum(), (c * c).sum()
    # d prefix_j / d c_i = -(1/c * 1/c * 1/(1-x))_{j-i}: the gradient is one correlation.
    twice = signal.lfilter([1.0], c, prefix)
    slope = signal.fftconvolve((weights * prefix)[::-1], twice)[:rounds][::-1][:bands]
    return math.log(error) + math.log(norm), -2 * slope / error + 2 * c / norm

  # An unstable iterate overflows to inf; the line search rejects it.
  with np.errstate(over='ignore', invalid='ignore'):
    found = optimize.minimize(objective, toeplitz.square_root(bands), jac=True, method='L-BFGS-B',
                              options={'maxiter': 400, 'maxcor': 30, 'ftol': 1e-13, 'gtol': 1e-9})
  return found.x / found.x[0]
