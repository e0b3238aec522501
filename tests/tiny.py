"""Tiny tasks that several tests train on: separable images of 4x4 pixels in three classes."""

import numpy as np
import tensorflow as tf

from tff_vision import configs, tasks
from tff_vision.data import images

CLASSES = ('dark', 'middle', 'bright')


def linear(input_shape, num_classes):
  return tf.keras.Sequential([tf.keras.layers.Input(input_shape), tf.keras.layers.Flatten(),
                              tf.keras.layers.Dense(num_classes)], name='linear')


def two_layers(input_shape, num_classes):
  return tf.keras.Sequential([tf.keras.layers.Input(input_shape), tf.keras.layers.Flatten(),
                              tf.keras.layers.Dense(4, 'relu'), tf.keras.layers.Dense(num_classes)], name='two_layers')


def federated_images(sizes=(7, 12, 3, 9), seed=0):
  """Returns clients of the given sizes."""
  rng = np.random.default_rng(seed)
  total = sum(sizes)
  y = rng.integers(0, 3, total).astype(np.int32)
  x = np.clip(rng.normal(60 + 70 * y[:, None, None, None], 30, (total, 4, 4, 1)), 0, 255).astype(np.uint8)
  pool = images.Examples(x, y)
  bounds = np.split(np.arange(total), np.cumsum(sizes)[:-1])
  return images.FederatedImages(
      name='tiny', class_names=CLASSES,
      train=images.ArrayClients(pool, bounds, [f'c{i}' for i in range(len(sizes))]),
      test=images.HeldOut(examples=pool, clients=bounds))


def task(builder=linear, sizes=(7, 12, 3, 9), **client):
  return tasks.Task(images=federated_images(sizes), model_builder=builder, seed=5,
                    client=configs.ClientConfig(**{'batch_size': 4, **client}))
