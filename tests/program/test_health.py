"""Warnings of a run, against numbers made by hand."""

import math

import numpy as np
import pytest

from tff_vision import configs
from tff_vision.data import images
from tff_vision.program import health

Y = np.array([0] * 6 + [1] * 4, np.int32)
ENTROPY = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4))


def _said(history=(), *, y=Y, **evaluation):
  test = images.Examples(np.zeros((len(y), 1, 1, 1), np.uint8), y)
  return ' '.join(health.warnings(history, evaluation, test, configs.ExperimentConfig()))


@pytest.mark.parametrize(('accuracy', 'loss', 'learned'), [
    (0.6, ENTROPY, False), (0.6, math.log(2), False), (0.4, 5.0, False), (0.6, math.nan, False),
    (0.6, 0.5 * ENTROPY, True), (1.0, 9.0, True), (0.95, 0.1, True)])
def test_a_model_that_knows_no_more_than_shares_has_learned_nothing(accuracy, loss, learned):
  assert ('learned nothing' in _said(accuracy=accuracy, loss=loss)) != learned


def test_diverged_rounds_are_counted():
  history = [{'round': 1, 'train': {'loss': 1.0}}, {'round': 2, 'train': {'loss': math.nan}},
             {'round': 3, 'train': {'loss': math.inf}}, {'round': 4}]
  said = _said(history, accuracy=1.0, loss=0.1)
  assert 'in 2 of 4 rounds, from round 2 on' in said and 'client_learning_rate (0.2)' in said
  assert 'did not change' in _said([{'round': 8, 'unmoved': 'yes'}], accuracy=1.0, loss=0.1)
  assert 'test set is not a finite number' in _said(accuracy=0.9, loss=math.nan)
  assert _said([{'round': 1, 'train': {}}], accuracy=1.0, loss=0.1) == ''


def test_findings_and_other_tasks_are_left_alone():
  assert _said(y=np.zeros((4, 2), np.float32), loss=0.7) == ''
  assert _said(equal_error_rate=0.5) == ''
  assert _said(y=np.zeros(4, np.int32), accuracy=1.0, loss=0.0) == ''


def test_a_small_test_set_is_not_said_to_show_more_than_it_can():
  """Of 8 images, 5 right are less than two deviations more than the 3 that naming the commonest class gets right."""
  said = _said(y=np.array([0, 0, 0, 1, 1, 1, 2, 2], np.int32), accuracy=0.625, loss=1.2)
  assert said.startswith(
      'the model has learned nothing that 8 test images can show: naming the commonest class gives an accuracy of '
      '0.3750, the model\'s of 0.6250 is not clearly higher, and its loss is no better than chance.')
