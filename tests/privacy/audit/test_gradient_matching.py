"""The search finds the image behind one gradient, and does not where noise covers it."""

import numpy as np
import tensorflow as tf

from tff_vision.audit import gradient_matching, inversion

LOSS = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def test_an_image_comes_back_through_a_convolution_and_not_through_noise():
  tf.keras.utils.set_random_seed(3)
  model = tf.keras.Sequential([
      tf.keras.layers.Input((8, 8, 1)), tf.keras.layers.Conv2D(8, 3, padding='same', activation='tanh'),
      tf.keras.layers.Flatten(), tf.keras.layers.Dense(4)])
  y, x = np.meshgrid(np.arange(8), np.arange(8), indexing='ij')
  image = np.float32(np.exp(-((x - 2) ** 2 + (y - 5) ** 2) / 6))[None, :, :, None]
  update = inversion.gradient(model, LOSS, image, np.array([2]))
  assert gradient_matching.label(update) == 2

  def correlation(seen):
    found, distance = gradient_matching.reconstruct(model, LOSS, seen, steps=300, seed=1)
    return np.corrcoef(found.ravel(), image.ravel())[0, 1], distance

  plain, distance = correlation(update)
  noised, left = correlation(inversion.noised(update, clip_norm=1.0, noise_multiplier=1.0, seed=0))
  assert plain > 0.9 and distance < 0.05
  assert abs(noised) < 0.6 and left > 0.3
