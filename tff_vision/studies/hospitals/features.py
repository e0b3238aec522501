"""Computes the frozen part of a model once for each image instead of in every step.

Each hospital can compute it alone: the function is the same for all hospitals and reads one image at a time.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tff_vision import models
from tff_vision.data import images as images_lib
from tff_vision.data import preprocess
from tff_vision.models import scattering, scatternet
from tff_vision.studies.hospitals import hospital_data

_BATCH = 200
_LEAST_DEVIATION = 0.01  # Smallest deviation of features, whose values are of the order of 1.


def trained_part(images: images_lib.FederatedImages, model: str
                 ) -> tuple[images_lib.FederatedImages, models.ModelBuilder]:
  """Returns the training inputs and the trained model: where features are fixed, these and the layer on top of them."""
  if model not in _FIXED:
    return images, models.MODELS[model]
  shape = preprocess.input_shape(images.preprocessing, images.spec.shape)
  build, normalized = _FIXED[model]
  network = build(shape)
  forward = tf.function(lambda x: normalized(network(preprocess.evaluation_fn(images.preprocessing, x))),
                        reduce_retracing=True)

  def featured(examples):
    x = [forward(examples.x[start:start + _BATCH]).numpy() for start in range(0, max(1, len(examples)), _BATCH)]
    return images_lib.Examples(np.concatenate(x), examples.y)

  parts = [featured(images.train.examples(client)) for client in range(len(images.train))]
  train = hospital_data.clients_of(parts, images.train.client_ids)
  test = dataclasses.replace(images.test, examples=featured(images.test.examples))
  spec = images_lib.ImageSpec.of(test.examples, images.class_names)
  # Features have no black and white, but are computed from pixels that have.
  deduced = [*images.deduced] + images.range_told_by_clients * ['the range of pixels: say it (pixel_range)']
  return dataclasses.replace(images, train=train, test=test, unseen=None, spec=spec, deduced=deduced,
                             preprocessing=images_lib.Preprocessing(scale=1.0)), _layer


def standardized(features: tf.Tensor) -> tf.Tensor:
  """Returns the features, [n, height, width, channels], with mean 0 and deviation 1 in each channel of each image.

  Most of a feature is the same for every image, and this part takes most of the clipped gradient of private training.
  Subtracting the mean over images would work better, but that mean depends on all images and so has a privacy cost.
  This normalisation depends on one image alone (instance normalisation, Ulyanov et al. 2016, arXiv:1607.08022).
  """
  mean, variance = tf.nn.moments(features, (1, 2), keepdims=True)
  return (features - mean) / (tf.sqrt(variance) + _LEAST_DEVIATION)


# Model -> what computes its features, and what follows it in each image; `scatternet` normalises its own.
_FIXED = {'scattering': (scattering.build_features, standardized),
          'scatternet': (scatternet.build_features, tf.identity)}


def _layer(input_shape, num_classes):
  """Returns the only layer that is trained on fixed features; its weights start at zero."""
  return tf.keras.Sequential([
      tf.keras.layers.Input(input_shape), tf.keras.layers.Flatten(),
      tf.keras.layers.Dense(num_classes, kernel_initializer='zeros')], name='scattering_layer')
