"""The part of report.html that shows how training images vary: a few of them, as they are and as training sees them."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tff_vision import seeds
from tff_vision.data import images as images_lib
from tff_vision.data import preprocess
from tff_vision.report import pictures

_IMAGES = 4
_VARIANTS = 7


def strip(images: images_lib.FederatedImages) -> Sequence[Sequence[Mapping]]:
  """Returns rows of pictures, `{'png': bytes, 'label': str}`: a training image as evaluations see it, then variants.

  Mixtures of two images are not shown. Returns nothing if images do not vary.
  """
  changed = dataclasses.replace(images.preprocessing, pixels='raw')
  if not changed.augmentation.changes:
    return ()
  rows = []
  for client in np.flatnonzero(images.train.sizes)[:_IMAGES].tolist():
    example = images.train.examples(client).take(np.zeros(1, np.int64))
    x = tf.constant(np.repeat(example.x, _VARIANTS, axis=0))
    seed = tf.constant(seeds.derive(0, 'augmented', client), tf.int64)
    drawn = preprocess.draw(changed, images.spec.shape, _VARIANTS, seed)
    found = np.concatenate([preprocess.evaluation_fn(changed, x[:1]), preprocess.training_fn(changed, x, drawn)])
    rows.append([{'png': pictures.png(picture), 'label': 'varied' if place else 'as it is'}
                 for place, picture in enumerate(pictures.displayable(found))])
  return rows
