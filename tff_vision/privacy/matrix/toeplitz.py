"""Lower-triangular Toeplitz strategies: sensitivity, error, inverse.

The stream x_1..x_n of clipped cohort sums enters as one matrix X (a row per round). With A the prefix-sum matrix
and C lower triangular, the release X + C^-1 Z is post-processing of the single Gaussian mechanism C X + Z, also
when x_t depends on earlier releases (Denisov et al. 2022, arXiv:2202.08312). A Toeplitz C is given by its first
column, `coefficients`, with coefficients[0] = 1. Nothing here imports TensorFlow.
"""

import dataclasses
import math

import numpy as np
from scipy import signal

from tff_vision.configs import validate

METRICS = ('max', 'mean')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Participation:
  """The participation pattern that the sampler guarantees and the sensitivity requires.

  Attributes:
    rounds: n, the number of releases.
    min_separation: b; a client that took part in round t may return in round t + b at the earliest.
    max_participations: k, the most rounds with the same client; never more than ceil(n / b).
  """
  rounds: int
  min_separation: int
  max_participations: int

  def __post_init__(self):
    validate.positive(rounds=self.rounds, min_separation=self.min_separation,
                      max_participations=self.max_participations)
    if self.max_participations > math.ceil(self.rounds / self.min_separation):
      raise ValueError(f'max_participations={self.max_participations} cannot happen: {self.rounds} rounds at '
                       f'min_separation={self.min_separation} allow '
                       f'{math.ceil(self.rounds / self.min_separation)}.')

  @classmethod
  def of(cls, rounds: int, min_separation: int) -> 'Participation':
    """Returns the pattern in which only the separation limits the number of participations: k = ceil(n / b)."""
    return cls(rounds=rounds, min_separation=min_separation,
               max_participations=math.ceil(rounds / min_separation))


def sensitivity_squared(coefficients: np.ndarray, participation: Participation):
  """Returns the squared L2 sensitivity of C X for records of norm 1 that are added or removed (zeroed).

  The worst pattern has its k participations exactly b rounds apart, starting in round 0. This is exact for coefficients
  that are non-negative and non-increasing (Kalinin & Lampert 2024, arXiv:2405.13763, Theorem 2), and for any
  coefficients whose band is at most b, because the shifted columns then do not overlap.

  Args:
    coefficients: First column of C, [m], m <= n, real or complex (complex-step derivatives pass through).
    participation: How often and how far apart a client may take part.
  """
  n, b = participation.rounds, participation.min_separation
  column = np.zeros(n, coefficients.dtype)
  column[:len(coefficients)] = coefficients[:n]
  total = column.copy()
  for turn in range(1, participation.max_participations):
    total[turn * b:] += column[:n - turn * b]
  return (total * total).sum()


def error_squared(inverse: np.ndarray, metric: str):
  """Returns the variance of the noise in a prefix sum for unit-variance z, from the rows of A C^-1.

  Args:
    inverse: First column of C^-1, [n].
    metric: `max`: the last (largest) row; `mean`: the average over the n rows.
  """
  n = len(inverse)
  prefix = np.cumsum(inverse)
  return (error_weights(n, metric) * prefix * prefix).sum()


def error_weights(n: int, metric: str) -> np.ndarray:
  """Returns the weight of the square of each prefix of the inverse in the error, [n]."""
  validate.one_of(METRICS, metric=metric)
  return np.ones(n) if metric == 'max' else 1 - np.arange(n) / n


def invert(coefficients: np.ndarray, n: int) -> np.ndarray:
  """Returns the first n coefficients of the inverse series, the first column of C^-1."""
  impulse = np.zeros(n)
  impulse[0] = 1.0
  return signal.lfilter([1.0], coefficients, impulse)


def matrix(coefficients: np.ndarray, n: int) -> np.ndarray:
  """Returns the dense [n, n] lower-triangular Toeplitz matrix; for checks at small n."""
  column = np.zeros(n)
  column[:len(coefficients)] = coefficients[:n]
  lag = np.arange(n)[:, None] - np.arange(n)[None]
  return np.where(lag >= 0, column[np.maximum(lag, 0)], 0.0)


def square_root(n: int) -> np.ndarray:
  """Returns the coefficients of (1 - x)^-1/2, so that C C = A; near-optimal for one participation.

  Fichtenberger, Henzinger & Upadhyay 2023, arXiv:2202.11205.
  """
  k = np.arange(1, n)
  return np.concatenate([[1.0], np.cumprod((2 * k - 1) / (2 * k))])


def loss(coefficients: np.ndarray, participation: Participation, metric: str) -> float:
  """Returns sensitivity times error: the standard deviation of a prefix sum per unit of total noise multiplier."""
  inverse = invert(coefficients, participation.rounds)
  return math.sqrt(sensitivity_squared(coefficients, participation) * error_squared(inverse, metric))
