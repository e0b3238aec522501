import itertools

import numpy as np
import pytest

from tff_vision.privacy.matrix import toeplitz, tree


def one_tree_strategy(leaves):
  """Rows are the nodes that a tree of `leaves` rounds completes; columns are rounds."""
  rows = []
  for level in range(leaves.bit_length()):
    for start in range(0, leaves - 2 ** level + 1, 2 ** level):
      row = np.zeros(leaves)
      row[start:start + 2 ** level] = 1
      rows.append(row)
  return np.array(rows)


@pytest.mark.parametrize('rounds, b', [(12, 4), (12, 5), (9, 9), (7, 1), (16, 6)])
def test_sensitivity_bounds_every_participation_pattern(rounds, b):
  participation = toeplitz.Participation.of(rounds, b)
  period = tree.restart_period(participation)
  single = one_tree_strategy(period)
  trees = -(-rounds // period)
  strategy = np.kron(np.eye(trees), single)[:, :rounds]
  worst = max((strategy[:, pattern].sum(1) ** 2).sum()
              for turns in range(1, participation.max_participations + 1)
              for pattern in itertools.combinations(range(rounds), turns)
              if all(later - earlier >= b for earlier, later in itertools.pairwise(pattern)))
  assert worst == pytest.approx(tree.sensitivity_squared(participation))


def test_errors_by_hand():
  # One tree of 4 rounds: prefixes 1..4 are read off 1, 1, 2, 1 nodes.
  once = toeplitz.Participation.of(4, 4)
  assert tree.error_squared(once, 'max', efficient=False) == 2.0
  assert tree.error_squared(once, 'mean', efficient=False) == 5 / 4
  # Honaker: a node over two leaves is the best mix of itself and their sum: 1 / (1 + 1/2) = 2/3, then 4/7.
  assert tree.error_squared(once, 'mean', efficient=True) == pytest.approx((1 + 2 / 3 + 5 / 3 + 4 / 7) / 4)


def test_restarts_add_up():
  # Two trees of two rounds each: 1, 1, then the first tree's root stays.
  assert tree.error_squared(toeplitz.Participation.of(4, 2), 'mean', efficient=False) == (1 + 1 + 2 + 2) / 4


@pytest.mark.parametrize('metric, plain, honaker', [('max', 11.49, 8.70), ('mean', 8.12, 6.15)])
def test_losses_of_one_epoch_of_2048_rounds(metric, plain, honaker):
  once = toeplitz.Participation.of(2048, 2048)
  assert tree.loss(once, metric, efficient=False) == pytest.approx(plain, abs=6e-3)
  assert tree.loss(once, metric, efficient=True) == pytest.approx(honaker, abs=6e-3)
