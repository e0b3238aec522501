"""Several random views of each example, whose gradients are averaged before the clip: augmentation multiplicity.

De et al., "Unlocking High-Accuracy Differentially Private Image Classification through Scale", 2022, arXiv:2204.13650,
section 3.2: more views cost time, no privacy, since one clip bounds all views of an example together.
"""

import dataclasses

import tensorflow as tf

from tff_vision.secure import chacha20

_VIEWS = 2 ** 16 + 2  # Names the words that move and mirror; others choose batches, and noise has its tensors' numbers.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
  """How training sees an example.

  Attributes:
    copies: Views of it in one step.
    shift: Each is moved by up to so many pixels, up or down and to a side; what comes in is reflected at the edge.
    mirror: Whether half of them are mirrored, left to right.
  """
  copies: int = 1
  shift: int = 0
  mirror: bool = False

  @property
  def changes(self) -> bool:
    """Whether a view differs from its image."""
    return bool(self.shift or self.mirror)

  def check(self, shape: tf.TensorShape) -> None:
    """Raises ValueError for a model's input, [batch, ...], that cannot be moved or mirrored so."""
    if self.changes and shape.rank != 4:
      raise ValueError(f'example_shift={self.shift} and example_mirror={self.mirror} are for images, and the model '
                       f'takes inputs of shape {tuple(shape[1:])}.')
    if self.changes and self.shift >= min(shape[1:3]):
      raise ValueError(f'example_shift={self.shift} moves images of {shape[1]}x{shape[2]} pixels out of sight.')


def words(views: Views, key: tf.Tensor, step: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
  """Returns what decides about each view of each of a client's examples in a step, [count, copies] uint32.

  Of all examples, whether the step takes them or not: so the views of one do not depend on which others are there.

  Args:
    key: [8] uint32, secret.
    step: From 0, of the round.
    count: The client's examples.
  """
  nonce = tf.stack([tf.constant(_VIEWS, tf.uint32), tf.cast(step, tf.uint32), tf.constant(1, tf.uint32)])
  return tf.reshape(chacha20.key_stream(key, nonce, count * views.copies), [count, views.copies])


def seen(views: Views, x: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
  """Returns the views of x, [batch * copies, ...], those of an example one after the other.

  Args:
    x: Images, [batch, height, width, channels]; anything if the views do not change it.
    own: The examples' rows of `words`, [batch, copies].
  """
  x = tf.repeat(x, views.copies, 0)
  bits = tf.cast(tf.reshape(own, [-1]), tf.int64)
  if views.shift:
    height, width = x.shape[1:3]
    around = [views.shift, views.shift]
    x = tf.pad(x, [[0, 0], around, around, [0, 0]], 'REFLECT')
    places = 2 * views.shift + 1
    # 15 bits each: a place's probability is off by 2^-15 at most.
    top, left = (tf.cast(tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, tf.constant(low, tf.int64)), 2 ** 15 - 1)
                         * places // 2 ** 15, tf.int32) for low in (1, 16))
    x = tf.gather(x, top[:, None] + tf.range(height)[None], axis=1, batch_dims=1)
    x = tf.gather(x, left[:, None] + tf.range(width)[None], axis=2, batch_dims=1)
  if views.mirror:
    x = tf.where(tf.equal(bits % 2, 1)[:, None, None, None], tf.reverse(x, [2]), x)
  return x
