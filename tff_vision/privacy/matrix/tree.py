"""Tree aggregation with restarts, as `dp_ftrl` runs it: sensitivity and prefix-sum error.

Kairouz et al. 2021 (arXiv:2103.00039) with the streaming variance reduction of Honaker 2015. A fresh tree starts
every `restart` rounds, restart <= min_separation, so a client takes part in a tree at most once. Its record then
enters one node per level, and the sensitivity needs no search over participation patterns.
"""

import math

import numpy as np

from tff_vision.privacy.matrix import toeplitz


def restart_period(participation: toeplitz.Participation) -> int:
  """Returns the largest power of two that is at most the minimum separation (and the rounds).

  A full tree ends in one node, so a restart then carries over the least noise.
  """
  return 2 ** int(math.log2(min(participation.min_separation, participation.rounds)))


def sensitivity_squared(participation: toeplitz.Participation) -> float:
  """Returns the number of participations times the levels of one tree, for records of norm 1."""
  return participation.max_participations * restart_period(participation).bit_length()


def error_squared(participation: toeplitz.Participation, metric: str, *, efficient: bool) -> float:
  """Returns the variance of a prefix sum for unit noise in every node: `max` or `mean` over the rounds.

  Args:
    participation: The run's rounds and separation.
    metric: `max` or `mean`.
    efficient: Whether each node is also estimated from its children, as by Honaker.
  """
  n, period = participation.rounds, restart_period(participation)
  node = [1.0]
  for _ in range(period.bit_length()):
    node.append(1 / (1 + 1 / (2 * node[-1])) if efficient else 1.0)
  local = np.array([sum(node[level] for level in range(t.bit_length()) if t >> level & 1)
                    for t in range(1, period + 1)])
  rounds = np.arange(n)
  variance = (rounds // period) * local[-1] + local[rounds % period]
  return float(variance.max() if metric == 'max' else variance.mean())


def loss(participation: toeplitz.Participation, metric: str, *, efficient: bool) -> float:
  """Returns sensitivity times error: the standard deviation of a prefix sum per unit of total noise multiplier."""
  return math.sqrt(sensitivity_squared(participation) * error_squared(participation, metric, efficient=efficient))
