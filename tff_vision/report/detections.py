"""The part of a report about detections: average precision by class and client, and test images with their boxes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_vision import tasks
from tff_vision.data import boxes as boxes_lib
from tff_vision.data import preprocess
from tff_vision.learning import evaluation
from tff_vision.objectives import detection
from tff_vision.report import box_drawing

LEAST_SCORE = 0.3  # Boxes with a lower score are not drawn.
_IMAGES, _COLUMNS, _SIDE = 12, 4, 220
_CAPTIONS = ('Test images: true boxes are white, found boxes have the colour of their class and their score',
             'The test images with the largest loss')


def sections(task: tasks.Task, evaluator: evaluation.Evaluator, *, sizes: bool) -> dict[str, Any]:
  """Returns `detection_by_class` and `detection_by_client` of report.json; nothing for other tasks.

  Args:
    sizes: Whether the numbers of each client's test images and boxes are told. A client may be tested on a share of its
      own examples, so they can tell how many it has.
  """
  test = task.images.test
  if not isinstance(task.objective, detection.Detection) or not len(test.examples):
    return {}
  outputs, y, names = evaluator.logits(test.examples.x), evaluator.labels(test.examples), task.images.class_names
  (whole,) = task.objective.of_clients(outputs, y, [np.arange(len(y))])
  number = lambda own: {'test_images': len(own), 'test_boxes': int((y[own, :, 4] >= 0).sum())} if sizes else {}
  by_class = [{'class': str(name), 'test_boxes': int((y[..., 4] == place).sum()), 'map': whole.by_class[place],
               'map_50': whole.half_by_class[place]} for place, name in enumerate(names)]
  by_client = [] if len(task.images.train) > evaluation.MAX_LISTED else [{
      'client': str(client), **number(own), 'map': found.mean, 'map_50': found.at_half,
      **{f'{name}: map': value for name, value in zip(names, found.by_class, strict=True)}}
      for client, own, found in zip(task.images.train.client_ids, test.clients,
                                    task.objective.of_clients(outputs, y, test.clients), strict=True)]
  return {'detection_by_class': by_class, 'detection_by_client': by_client}


def pictures(task: tasks.Task, evaluator: evaluation.Evaluator) -> dict[str, bytes]:
  """Returns PNG sheets by caption: some test images, and the worst; nothing for other tasks."""
  test = task.images.test
  if not isinstance(task.objective, detection.Detection) or not len(test.examples):
    return {}
  outputs, y = evaluator.logits(test.examples.x), evaluator.labels(test.examples)
  spread = np.unique(np.linspace(0, len(y) - 1, _IMAGES).astype(int))
  worst = np.argsort(-detection.losses(outputs, y), kind='stable')[:_IMAGES]
  # Drawn on whole images, of which a model that crops sees a part; labels are of that part as well.
  part = preprocess.seen(task.images.preprocessing, task.images.spec.shape)
  y = np.concatenate([boxes_lib.in_whole(y[..., :4], part), y[..., 4:]], -1)
  found = {}
  for caption, chosen in zip(_CAPTIONS, (spread, worst), strict=True):
    boxes = detection.decoded(outputs[chosen])
    boxes['boxes'] = boxes_lib.in_whole(boxes['boxes'], part)
    pixels = _displayable(test.examples.x[chosen], task.images.stored_pixels)
    found[caption] = box_drawing.sheet([
        box_drawing.drawn(image, box_drawing.boxes_of(boxes, place, LEAST_SCORE), list(map(
            str, task.images.class_names)), true=rows, side=_SIDE)
        for place, (image, rows) in enumerate(zip(pixels, y[chosen], strict=True))], _COLUMNS)
  return found


def _displayable(x, stored):
  """Returns stored images as uint8 [n, height, width, 1 or 3]; images of no known range span theirs."""
  x = x if x.shape[-1] in (1, 3) else x[..., :1]
  if x.dtype == np.uint8:
    return x
  low, high = (stored.black, stored.white) if stored.black is not None else (float(x.min()), float(x.max()))
  return np.round(255 * np.clip((x - low) / max(high - low, 1e-9), 0, 1)).astype(np.uint8)


def of_page(report: Mapping[str, Any], task: tasks.Task, evaluator: evaluation.Evaluator) -> dict[str, bytes]:
  """Returns the pictures for the page of a report: none where a promise keeps images out of it."""
  return pictures(task, evaluator) if report.get('training_data_shown') else {}
