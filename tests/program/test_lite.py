"""TFLite files of models whose layers TFLite has no single operation for, in batches of any size."""

import numpy as np
import pytest
import tensorflow as tf

from tff_vision.data import images as images_lib
from tff_vision.export import serving, tflite

L = tf.keras.layers


@pytest.fixture(scope='module')
def normalized():
  """A model with group normalisations of several kinds, one of them in a model inside, with weights that all matter."""
  inside = tf.keras.Sequential([L.Input((3, 4, 6)), L.GroupNormalization(3, epsilon=0.1), L.Conv2D(4, 2)])
  pixels = L.Input((6, 8, 1))
  x = L.GroupNormalization(2)(L.Conv2D(6, 3, padding='same')(pixels / 255.0))
  x = L.GroupNormalization(1, center=False, scale=False)(L.MaxPool2D()(x))
  x = L.GroupNormalization(-1, scale=False)(inside(x))
  model = tf.keras.Model(pixels, L.Dense(3)(L.Flatten()(x)))
  rng = np.random.default_rng(0)
  model.set_weights([rng.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()])
  return model


def test_group_normalisation_runs_on_one_image_and_on_many(normalized, tmp_path):
  path = tmp_path / 'model.tflite'
  served = serving.ServedModel(normalized, stored=images_lib.StoredPixels(), answers=serving.ANSWERS['classification'])
  path.write_bytes(tflite.convert(served))
  logits = tflite.outputs_fn(path, 'logits')
  for count in (1, 7, 2):
    images = np.random.default_rng(count).uniform(0, 255, (count, 6, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(logits(images), normalized(images), atol=1e-4)
