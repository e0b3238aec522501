"""Reconstructs images from one update: the gradient of a dense layer on pixels is a mixture of the pixels.

For outputs z = x W + b, dL/dW[:, j] = x * dL/db[j]: one division gives the image back, exactly for an update of one
example (Phong et al. 2018, "Privacy-preserving deep learning via additively homomorphic encryption", section 3).
"""

import numpy as np
import tensorflow as tf

from tff_vision.secure import chacha20, os_keys


def first_dense(model: tf.keras.Model) -> int:
  """Returns the position in `trainable_variables` of the first layer's kernel, which must see pixels directly.

  Raises:
    ValueError: The model begins with another layer.
  """
  for layer in model.layers:
    if layer.trainable_variables:
      if not isinstance(layer, tf.keras.layers.Dense) or not layer.use_bias:
        raise ValueError(f'the closed-form inversion needs a Dense layer with bias on the pixels; model {model.name} '
                         f'begins with {type(layer).__name__}.')
      return next(i for i, v in enumerate(model.trainable_variables) if v is layer.kernel)
  raise ValueError(f'model {model.name} has no weights.')


def gradient(model: tf.keras.Model, loss_fn: tf.keras.losses.Loss, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
  """Returns what a client would send after one step of size 1 over (x, y)."""
  with tf.GradientTape() as tape:
    loss = loss_fn(y, model(x, training=False))
  return [g.numpy() for g in tape.gradient(
      loss, model.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)]


def noised(update: list[np.ndarray], *, clip_norm: float, noise_multiplier: float, seed: int) -> list[np.ndarray]:
  """Returns the update, clipped and noised: one release of a private mechanism to one reader, for the picture only."""
  norm = np.sqrt(sum((part ** 2).sum() for part in update))
  rng = np.random.default_rng(seed)
  return [part * min(1, clip_norm / norm) + rng.normal(0, clip_norm * noise_multiplier, part.shape) for part in update]


def masked(update: list[np.ndarray]) -> list[np.ndarray]:
  """Returns the update as a masked upload shows it: fixed point plus a ChaCha20 key stream, modulo 2^32."""
  words = chacha20.key_stream(os_keys.kernel_key(), tf.zeros([3], tf.uint32), sum(part.size for part in update)).numpy()
  hidden, start = [], 0
  for part in update:
    integers = np.round(part * 2.0 ** 16).astype(np.int64).ravel() + words[start:start + part.size]
    hidden.append((integers % 2 ** 32 - 2.0 ** 31).reshape(part.shape))
    start += part.size
  return hidden


def reconstruct(model: tf.keras.Model, update: list[np.ndarray]) -> np.ndarray:
  """Returns the image, [height, width, channels], that follows from the first layer's gradients.

  It is the mean of the columns, weighted by dL/db[j]^2: columns with a small gradient hold little of the image.
  """
  kernel = first_dense(model)
  weights, bias = update[kernel], update[kernel + 1]
  image = weights @ bias / max(float(bias @ bias), 1e-30)
  return image.reshape(model.input_shape[1:])
