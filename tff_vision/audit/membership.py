"""Membership inference by loss: training examples tend to have a lower loss than others.

Yeom et al. 2018, arXiv:1709.01604; reported as the true-positive rate at few false alarms, Carlini et al. 2022,
arXiv:2112.03570; turned into a lower bound on epsilon by Clopper-Pearson intervals, Jagielski et al. 2020,
arXiv:2006.07709.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf
from scipy import stats

_FALSE_POSITIVES = 0.01
_TAIL = 0.025  # Each of two one-sided intervals: 95 % together.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attack:
  """How well the attack separates members from others.

  Attributes:
    auc: Area under the ROC curve; 0.5 is chance.
    true_positive_rate: The rate at 1 % false positives.
    epsilon_low: Lower bound on epsilon with 95 % confidence, if the attack's test is fair.
    members: Number of members.
    others: Number of others.
  """
  auc: float
  true_positive_rate: float
  epsilon_low: float
  members: int
  others: int


def example_losses(logits: np.ndarray, loss_fn: tf.keras.losses.Loss, y: np.ndarray) -> np.ndarray:
  """Returns the loss of each example, [n], from its logits."""
  single = type(loss_fn).from_config({**loss_fn.get_config(), 'reduction': tf.keras.losses.Reduction.NONE})
  return np.asarray(single(y, logits))


def attack(members: np.ndarray, others: np.ndarray, *, delta: float) -> Attack:
  """Returns the strength of a loss threshold, chosen on one half of the examples and measured on the other half.

  Args:
    members: Losses of training examples.
    others: Losses of examples that the model never saw, of the same distribution.
    delta: The delta of (epsilon, delta).

  Raises:
    ValueError: There are fewer than two members, or fewer than two others.
  """
  if min(len(members), len(others)) < 2:
    raise ValueError(f'membership inference needs two examples on each side, found {len(members)} members and '
                     f'{len(others)} others.')
  ranks = stats.rankdata(np.concatenate([members, others]))[:len(members)]
  smaller = (ranks.sum() - len(members) * (len(members) + 1) / 2) / (len(members) * len(others))
  fit, test = (members[::2], others[::2]), (members[1::2], others[1::2])
  candidates = np.quantile(np.concatenate(fit), np.linspace(0.01, 0.99, 99))
  threshold = max(candidates, key=lambda loss: _epsilon_low(*fit, loss, delta))
  return Attack(auc=1 - float(smaller), epsilon_low=_epsilon_low(*test, threshold, delta),
                true_positive_rate=float((members <= np.quantile(others, _FALSE_POSITIVES)).mean()),
                members=len(members), others=len(others))


def epsilon_low(true_positives: int, positives: int, false_positives: int, negatives: int, delta: float) -> float:
  """Returns the epsilon below which such rates have less than 5 % probability."""
  tpr = stats.beta.ppf(_TAIL, true_positives, positives - true_positives + 1) if true_positives else 0.0
  fpr = (stats.beta.ppf(1 - _TAIL, false_positives + 1, negatives - false_positives) if false_positives < negatives
         else 1.0)
  return max(0.0, math.log((tpr - delta) / fpr)) if tpr > delta else 0.0


def _epsilon_low(members, others, threshold, delta):
  """Returns the higher bound of two tests: «member» below the threshold, and «other» above the threshold."""
  low_members, low_others = int((members <= threshold).sum()), int((others <= threshold).sum())
  return max(epsilon_low(low_members, len(members), low_others, len(others), delta),
             epsilon_low(len(others) - low_others, len(others), len(members) - low_members, len(members), delta))
