"""Average precision of detections, computed by pycocotools (Lin et al., "Microsoft COCO", ECCV 2014).

A detection is right if it overlaps a true box of its class, not claimed by a better one, by at least a threshold. The
precision is averaged over 101 levels of recall, at the overlap 0.5 or over the overlaps 0.5, 0.55, ..., 0.95.
"""

import contextlib
import dataclasses
import io
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision:
  """Average precisions of some images; None for what these images do not determine.

  Attributes:
    at_half: Mean over classes, at the overlap 0.5.
    mean: Mean over classes and over the ten overlaps from 0.5 to 0.95.
    half_by_class: One value at 0.5 for each class; None for a class without true boxes.
    by_class: One mean over the overlaps for each class.
  """
  at_half: float | None
  mean: float | None
  half_by_class: list[float | None]
  by_class: list[float | None]


def measure(found: Mapping[str, np.ndarray], y: np.ndarray, classes: int) -> Precision:
  """Returns the precision of the boxes `found`, as `centre_points.decode` returns them, for labels [n, boxes, 5]."""
  from pycocotools import coco, cocoeval  # Imported late: only detection needs it, and it imports matplotlib.
  with contextlib.redirect_stdout(io.StringIO()):  # The library prints its progress.
    true = coco.COCO()
    true.dataset = {'images': [{'id': number} for number in range(len(y))],
                    'categories': [{'id': number} for number in range(classes)], 'annotations': _true(y)}
    true.createIndex()
    claimed = coco.COCO()
    claimed.dataset = {**true.dataset, 'annotations': _claimed(found)}
    claimed.createIndex()
    counted = cocoeval.COCOeval(true, claimed, 'bbox')
    # Sizes are shares of the image here, so all boxes are one range of areas.
    counted.params.areaRng, counted.params.areaRngLbl = [[0, 1e10]], ['all']
    counted.params.maxDets = [max(1, found['scores'].shape[1])]
    counted.evaluate()
    counted.accumulate()
  precision = counted.eval['precision'][..., 0, 0]  # [overlaps, levels of recall, classes]; -1 where there is no box.
  half, every = ([_mean(part[..., kind]) for kind in range(classes)] for part in (precision[:1], precision))
  return Precision(at_half=_of_known(half), mean=_of_known(every), half_by_class=half, by_class=every)


def _true(y):
  # Numbers begin at 1: pycocotools takes the number 0 for «not matched».
  rows = [(image, *row) for image, label in enumerate(y) for row in label if row[4] != -1]
  return [{'id': number, 'image_id': image, 'category_id': int(kind if kind >= 0 else -2 - kind),
           'iscrowd': int(kind < 0), **_box(top, left, bottom, right)}
          for number, (image, top, left, bottom, right, kind) in enumerate(rows, start=1)]


def _claimed(found):
  rows = [(image, box, score, kind) for image, (boxes, scores, kinds) in enumerate(zip(
      found['boxes'], found['scores'], found['classes'], strict=True))
          for box, score, kind in zip(boxes, scores, kinds, strict=True) if score > 0]
  return [{'id': number, 'image_id': image, 'category_id': int(kind), 'score': float(score), 'iscrowd': 0, **_box(*box)}
          for number, (image, box, score, kind) in enumerate(rows, start=1)]


def _box(top, left, bottom, right):
  height, width = float(bottom - top), float(right - left)
  return {'bbox': [float(left), float(top), width, height], 'area': width * height}


def _mean(values):
  known = values[values > -1]
  return float(known.mean()) if known.size else None


def _of_known(values):
  known = [value for value in values if value is not None]
  return float(np.mean(known)) if known else None
