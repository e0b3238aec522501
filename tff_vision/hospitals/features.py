"""The part of a model that is never trained, computed once for every image instead of in every step.

Each hospital can compute it by itself: it is the same function for all and reads one image at a time.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tff_vision import models
from tff_vision.data import images as images_lib
from tff_vision.data import preprocess
from tff_vision.hospitals import cohorts
from tff_vision.models import scattering

_BATCH = 200


def trained_part(images: images_lib.FederatedImages, model: str
                 ) -> tuple[images_lib.FederatedImages, models.ModelBuilder]:
  """Returns what is trained on, and what is trained: for `scattering`, features and the layer on top of them."""
  if model != 'scattering':
    return images, models.MODELS[model]
  shape = preprocess.input_shape(images.preprocessing, images.test.examples.shape)
  network = scattering.build_features(shape)
  forward = tf.function(lambda x: network(preprocess.evaluation_fn(images.preprocessing, x)), reduce_retracing=True)

  def featured(examples):
    x = [forward(examples.x[start:start + _BATCH]).numpy() for start in range(0, len(examples), _BATCH)]
    return images_lib.Examples(np.concatenate(x), examples.y)

  parts = [featured(images.train.examples(client)) for client in range(len(images.train))]
  train = cohorts.clients_of(parts, images.train.client_ids)
  test = dataclasses.replace(images.test, examples=featured(images.test.examples))
  return dataclasses.replace(images, train=train, test=test, unseen=None,
                             preprocessing=images_lib.Preprocessing(scale=1.0)), _layer


def _layer(input_shape, num_classes):
  """Returns the one layer that scattering trains; it starts at zero."""
  return tf.keras.Sequential([
      tf.keras.layers.Input(input_shape), tf.keras.layers.Flatten(),
      tf.keras.layers.Dense(num_classes, kernel_initializer='zeros')], name='scattering_layer')
