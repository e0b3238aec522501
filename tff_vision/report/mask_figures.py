"""Test images of a segmentation with their masks and predictions: those where the model is worst, and a sample."""

import functools
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import labels, tasks
from tff_vision.data import images as images_lib
from tff_vision.learning import evaluation
from tff_vision.report import class_colours
from tff_vision.report import pictures as pictures_lib

_EACH = 6
_MOST_NAMES = 12  # In the legend.
_MOST_IMAGES = 400  # So many test images, evenly spaced, are looked through.
_WORST = 'Test images where the model is worst: image, mask, prediction'
_SAMPLE = 'Test images from the best to the worst: image, mask, prediction'


def of_page(report: Mapping[str, Any], task: tasks.Problem, evaluator: evaluation.Evaluator) -> Mapping[str, bytes]:
  """Returns the pictures for the page of a report: none where a promise keeps images out of it."""
  return pictures(task, evaluator) if report.get('training_data_shown') else {}


def pictures(task: tasks.Problem, evaluator: evaluation.Evaluator) -> Mapping[str, bytes]:
  """Returns PNG pictures by caption; none unless the objective measures masks of single images and there are some.

  Only test images are shown.

  Args:
    evaluator: Holds the final weights.
  """
  objective, test = task.objective, task.images.test.examples
  if not hasattr(objective, 'of_images') or not len(test):
    return {}
  places = np.unique(np.linspace(0, len(test) - 1, min(len(test), _MOST_IMAGES)).astype(int))
  looked_at = test.take(places)
  dice = objective.of_images(evaluator.counted(looked_at))
  known = np.flatnonzero(~np.isnan(dice))
  order = known[np.argsort(dice[known], kind='stable')]
  if not len(order):
    return {}
  spread = order[::-1][np.unique(np.linspace(0, len(order) - 1, _EACH).round().astype(int))]
  draw = functools.partial(_draw, evaluator=evaluator, class_names=task.images.class_names)
  return {_WORST: draw(looked_at.take(order[:_EACH]), dice[order[:_EACH]]),
          _SAMPLE: draw(looked_at.take(spread), dice[spread])}


def _draw(examples: images_lib.Examples, dice: Sequence[float], *, evaluator: evaluation.Evaluator,
          class_names: Sequence[str]) -> bytes:
  from matplotlib import figure, patches  # Imported late: every training loads this module, and few draw.
  images, found, masks = _flat(examples.x, evaluator.logits(examples.x).argmax(axis=-1), evaluator.labels(examples))
  colours = class_colours.palette(256)
  fig = figure.Figure(figsize=(1.6 * _EACH, 5.4), layout='constrained')
  grid = fig.subplots(3, _EACH, squeeze=False)
  for cell in grid.ravel():
    cell.set_axis_off()
  for column, (x, true, predicted, value) in enumerate(zip(pictures_lib.displayable(images), masks, found, dice,
                                                           strict=True)):
    grid[0, column].imshow(x if x.shape[-1] == 3 else np.repeat(x, 3, axis=-1))
    grid[0, column].set_title(f'Dice {value:.2f}', fontsize=8)
    grid[1, column].imshow(colours[true], interpolation='nearest')
    grid[2, column].imshow(colours[predicted], interpolation='nearest')
  shown = list(enumerate(_names(class_names)))[:_MOST_NAMES]
  fig.legend(handles=[patches.Patch(facecolor=colours[number] / 255, edgecolor='0.5', label=name)
                      for number, name in shown], loc='outside lower center', ncols=6, fontsize=8, frameon=False)
  buffer = io.BytesIO()
  fig.savefig(buffer, format='png', dpi=100, metadata={'Software': None})
  return buffer.getvalue()


def _flat(x, found, masks):
  """Returns images, predictions and masks; of volumes, the slice of each on which mask and prediction show most."""
  masks = np.asarray(masks)
  if masks.ndim == 3:
    return x, found, masks
  shown = ((found > 0) | (masks > 0) & (masks != labels.IGNORED)).sum(axis=(1, 2)).argmax(axis=1)
  places = np.arange(len(x)), slice(None), slice(None), shown
  return x[places][..., np.newaxis], found[places], masks[places]


def _names(class_names: Sequence[str]) -> Sequence[str]:
  """Returns the names if the picture's font is known to have all their letters; otherwise their numbers from 0."""
  names = [str(name) for name in class_names]
  if all(name.isprintable() and name.strip() and max(name) < '\u0530' for name in names):
    return [name.replace('$', r'\$') for name in names]
  return [str(number) for number in range(len(names))]
