"""Warnings about runs that went wrong, with what to change; they use released numbers only."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import configs, wording
from tff_vision.data import images as images_lib

# A model that knows only the shares of the classes has a loss equal to their entropy. A loss slightly below the entropy
# can be chance, so the threshold is this fraction of it.
_KNOWS_SHARES_ONLY = 0.98


def warnings(history: Sequence[Mapping[str, Any]], evaluation: Mapping[str, float], test: images_lib.Examples,
             config: configs.ExperimentConfig) -> list[str]:
  """Returns warnings that users must read before they trust a run.

  Args:
    history: One record for each round, as in `loop.Outcome`.
    evaluation: The evaluation of the final weights; it has accuracy and loss if the task has classes.
    test: The test examples of that evaluation.
    config: The config of the run.
  """
  rate, found = config.client.client_learning_rate, []
  change = (f'lower client_learning_rate ({rate:g}) or server_learning_rate ({config.server.server_learning_rate:g}), '
            'bound gradients with client_gradient_clip, or see whether pixels are scaled as the model expects')
  if lost := [record['round'] for record in history if not math.isfinite(record.get('train', {}).get('loss', 0.0))]:
    found.append(f'in {len(lost)} of {len(history)} rounds, from round {lost[0]} on, the training loss is not a finite '
                 f'number: clients diverged, and their updates counted as zero. To mend it, {change}.')
  if still := [record['round'] for record in history if record.get('unmoved')]:
    found.append(f'the model did not change between the evaluations before and at {len(still)} rounds, first at round '
                 f'{still[0]}: no update counted, as when all are not finite numbers. To mend it, {change}.')
  if not math.isfinite(evaluation.get('loss', 0.0)):
    found.append(f'the loss on the test set is not a finite number: the model is of no use. To mend it, {change}.')
  if test.y.ndim == 1 and 'accuracy' in evaluation and (said := _learned_nothing(evaluation, test.y, rate)):
    found.append(said)
  return found


def _learned_nothing(evaluation, y, rate):
  shares = np.bincount(y)[np.bincount(y) > 0] / len(y)
  commonest, entropy = shares.max(), -(shares * np.log(shares)).sum()
  if len(shares) < 2:
    return ''
  chance = commonest + 2 * math.sqrt(commonest * (1 - commonest) / len(y))
  if evaluation['accuracy'] > chance or evaluation.get('loss', math.inf) < _KNOWS_SHARES_ONLY * entropy:
    return ''
  return (f'the model has learned nothing that {wording.counted(len(y), "test image")} can show: naming the commonest '
          f'class gives an accuracy of {commonest:.4f}, the model\'s of {evaluation["accuracy"]:.4f} is not clearly '
          f'higher, and its loss is no better than chance. Try another client_learning_rate ({rate:g}), more rounds, '
          'preprocess=standardize, or another model.')
