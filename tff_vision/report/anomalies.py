"""Where an anomaly detector is wrong, in pictures: test images, their reconstructions and the error of each pixel."""

import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from tff_vision import tasks
from tff_vision.data import preprocess
from tff_vision.learning import evaluation
from tff_vision.report import pictures

_OF_A_KIND = 4
_FALSE_ALARMS = 0.05
_BRIGHT = 99.5  # Percentile of errors that has the brightest colour.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
  """A test image as PNG files, with what it is, the verdict on it, and its score over the threshold."""
  image: bytes
  reconstruction: bytes
  error: bytes
  truth: str
  verdict: str
  score: float


def worst(task: tasks.Problem, evaluator: evaluation.Evaluator) -> Sequence[Shown]:
  """Returns the defects with the lowest scores, the good images with the highest, and the clearest defects.

  The threshold gives 5 % false alarms on the good test images.

  Args:
    task: The problem, whose objective is `objectives.anomaly.Anomaly`.
    evaluator: Holds the weights to show.
  """
  examples = task.images.test.examples
  bad = examples.y != task.objective.normal
  if not 0 < bad.sum() < len(bad):
    return ()
  scores = evaluator.logits(examples.x)[:, 1].astype(np.float64)
  threshold = float(np.quantile(scores[~bad], 1 - _FALSE_ALARMS))
  order = np.argsort(scores, kind='stable')
  missed = order[bad[order]][:_OF_A_KIND]
  alarms = order[~bad[order]][::-1][:_OF_A_KIND]
  found = [place for place in order[bad[order]][::-1][:_OF_A_KIND] if place not in set(missed)]
  chosen = np.array([*missed, *alarms, *found], int)
  images = preprocess.evaluation_fn(task.images.preprocessing, examples.x[chosen])
  rebuilt = task.objective.reconstruction(evaluator.model)(images, training=False).numpy()
  images = np.asarray(images)
  errors = np.abs(rebuilt - images).mean(axis=-1)
  bright = float(np.percentile(errors, _BRIGHT)) or 1.0
  low, high = float(images.min()), float(images.max())
  grey = lambda x: pictures.displayable(
      np.clip(255 * (x - low) / ((high - low) or 1.0), 0, 255).round().astype(np.uint8)[None])[0]
  return [Shown(image=pictures.png(grey(image)), reconstruction=pictures.png(grey(again)),
                error=_heat(error / bright), truth=str(task.images.class_names[int(examples.y[place])]),
                verdict='reported' if scores[place] > threshold else 'not reported',
                score=float(scores[place] / (threshold or 1.0)))
          for place, image, again, error in zip(chosen, images, rebuilt, errors, strict=True)]


def _heat(error):
  from matplotlib import image  # Imported late: it loads slowly.
  step = -(-max(error.shape) // pictures.MAX_PIXELS)
  buffer = io.BytesIO()
  image.imsave(buffer, np.clip(error[::step, ::step], 0, 1), vmin=0, vmax=1, cmap='inferno', format='png',
               metadata={'Software': None})
  return buffer.getvalue()
