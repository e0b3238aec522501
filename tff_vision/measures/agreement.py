"""How far answers are from the truth on an ordered scale: mean distance and quadratic weighted kappa.

Cohen, "Weighted kappa", Psychological Bulletin 1968: one minus the mean squared distance of answer and truth, over that
of answers drawn from the same two distributions independently.
"""

import numpy as np


def quadratic_weighted_kappa(counts: np.ndarray) -> float | None:
  """Returns the kappa of a confusion matrix; None if answers and truth are all of one class.

  Args:
    counts: [classes, classes], rows for the truth, both in the order of the scale.
  """
  ranks = np.arange(len(counts))
  distance = (ranks[:, None] - ranks) ** 2
  total = counts.sum()
  by_chance = (distance * np.outer(counts.sum(1), counts.sum(0))).sum() / total if total else 0.0
  return float(1 - (distance * counts).sum() / by_chance) if by_chance else None


def mean_distance(counts: np.ndarray) -> float:
  """Returns the mean number of classes between answer and truth. Args: as for `quadratic_weighted_kappa`."""
  ranks = np.arange(len(counts))
  return float((np.abs(ranks[:, None] - ranks) * counts).sum() / counts.sum())
