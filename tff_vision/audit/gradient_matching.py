"""Gradient matching: searches for the image whose gradient equals a given update.

Geiping et al. 2020, "Inverting Gradients", arXiv:2003.14053, section 4: cosine distance of gradients plus total
variation, minimized by Adam on the signs. It works for one example and smooth activations and often fails otherwise. A
failure of this attack is no evidence of safety.
"""

import numpy as np
import tensorflow as tf

_TOTAL_VARIATION = 1e-4
_LEARNING_RATE = 0.1
_SHRINK_AT = (0.4, 0.6, 0.9)  # The step is divided by ten after these shares of the steps.


def label(update: list[np.ndarray]) -> int:
  """Returns the class of the update's only example: only the bias of this class's logit has a negative gradient.

  Zhao et al. 2020, "iDLG", arXiv:2001.02610. The last layer must have a bias, and the loss must be cross-entropy.
  """
  return int(np.argmin(update[-1]))


def reconstruct(model: tf.keras.Model, loss_fn: tf.keras.losses.Loss, update: list[np.ndarray], *, steps: int,
                seed: int) -> tuple[np.ndarray, float]:
  """Returns an image, [height, width, channels], whose gradient has the direction of `update`, and the remaining error.

  Args:
    loss_fn: A loss for integer labels.
    update: One gradient of one example, possibly noised or masked.
    steps: Number of steps of the search; each costs two passes over the model.

  Returns:
    The image, and the remaining cosine distance of its gradient; near 0 if the search succeeded.
  """
  image = tf.Variable(tf.random.stateless_normal((1, *model.input_shape[1:]), [seed, 0]))
  target, y = [tf.constant(part, tf.float32) for part in update], tf.constant([label(update)])
  norm = tf.maximum(tf.linalg.global_norm(target), 1e-12)
  optimizer = tf.keras.optimizers.Adam(_LEARNING_RATE)

  @tf.function
  def step():
    with tf.GradientTape() as outer:
      with tf.GradientTape() as tape:
        loss = loss_fn(y, model(image, training=False))
      found = [tf.convert_to_tensor(g) for g in tape.gradient(
          loss, model.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)]
      product = tf.add_n([tf.reduce_sum(a * b) for a, b in zip(found, target, strict=True)])
      distance = 1 - product / (norm * tf.maximum(tf.linalg.global_norm(found), 1e-12))
      total = distance + _TOTAL_VARIATION * tf.reduce_mean(tf.image.total_variation(image))
    optimizer.apply_gradients([(tf.sign(outer.gradient(total, image)), image)])
    return distance

  distance = 2.0
  for number in range(steps):
    optimizer.learning_rate = _LEARNING_RATE * 0.1 ** sum(number >= share * steps for share in _SHRINK_AT)
    distance = float(step())
  return image.numpy()[0], distance
