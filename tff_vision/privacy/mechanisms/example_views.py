"""Several random views of each example, whose gradients are averaged before the clip: augmentation multiplicity.

De et al., "Unlocking High-Accuracy Differentially Private Image Classification through Scale", 2022, arXiv:2204.13650,
section 3.2: more views cost computing time but no privacy, because one clip bounds all views of an example together.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tff_vision import labels
from tff_vision.secure import chacha20

_VIEWS = 2 ** 16 + 2  # Nonce of the words that shift and mirror; batches and noise use other nonces.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Views:
  """The random views of each example in training.

  Attributes:
    copies: Number of views of an example in one step.
    shift: The largest shift of a view in pixels, vertically and horizontally; new pixels are reflected at the edge.
    mirror: Whether half of the views are mirrored, left to right.
  """
  copies: int = 1
  shift: int = 0
  mirror: bool = False

  @property
  def changes(self) -> bool:
    """Whether a view differs from its image."""
    return bool(self.shift or self.mirror)

  def check(self, shape: tf.TensorShape) -> None:
    """Raises ValueError if the model's input, [batch, ...], cannot be shifted or mirrored in this way."""
    if self.changes and shape.rank != 4:
      raise ValueError(f'example_shift={self.shift} and example_mirror={self.mirror} are for images, and the model '
                       f'takes inputs of shape {tuple(shape[1:])}.')
    if self.changes and self.shift >= min(shape[1:3]):
      raise ValueError(f'example_shift={self.shift} moves images of {shape[1]}x{shape[2]} pixels out of sight.')


def words(views: Views, key: tf.Tensor, step: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
  """Returns the random words that determine each view of each of a client's examples in a step, [count, copies] uint32.

  Words are drawn for all examples, whether the step uses them or not. So the views of one example do not depend on
  which other examples are in the batch.

  Args:
    key: [8] uint32, secret.
    step: Step number in the round, from 0.
    count: The client's number of examples.
  """
  nonce = tf.stack([tf.constant(_VIEWS, tf.uint32), tf.cast(step, tf.uint32), tf.constant(1, tf.uint32)])
  return tf.reshape(chacha20.key_stream(key, nonce, count * views.copies), [count, views.copies])


def seen(views: Views, x: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
  """Returns the views of x, [batch * copies, ...]; the views of one example are consecutive.

  Args:
    x: Images, [batch, height, width, channels]; any tensor if the views do not change it.
    own: The rows of `words` for these examples, [batch, copies].
  """
  reflected = _with_margin(x, views.shift) if views.shift else x
  return _moved(views, tf.repeat(reflected, views.copies, 0), own)


def _with_margin(images, width):
  """Returns images with a margin that mirrors them at their edge; `tf.pad` fails for a batch without images."""
  for axis in (1, 2):
    last = images.shape[axis] - 1
    images = tf.gather(images, last - np.abs(last - np.abs(np.arange(-width, last + 1 + width))), axis=axis)
  return images


def seen_labels(views: Views, y: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
  """Returns the labels of the views, [batch * copies, ...]: masks move with their images, other labels are repeated.

  Pixels of a mask from beyond the edge are ignored.

  Args:
    y: Labels, [batch, ...]; masks are [batch, height, width] uint8.
    own: As in `seen`.
  """
  if y.shape.rank != 3 or y.dtype != tf.uint8:
    return tf.repeat(y, views.copies, 0)
  around = [views.shift, views.shift]
  wider = tf.pad(y, [[0, 0], around, around], constant_values=labels.IGNORED)
  return _moved(views, tf.repeat(wider[..., tf.newaxis], views.copies, 0), own)[..., 0]


def _moved(views, x, own):
  """Returns rows of images with a margin of `shift` pixels, shifted and mirrored as `own` says, without the margin."""
  bits = tf.cast(tf.reshape(own, [-1]), tf.int64)
  if views.shift:
    height, width = (side - 2 * views.shift for side in x.shape[1:3])
    places = 2 * views.shift + 1
    # 15 bits each: the probability of a position is wrong by at most 2^-15.
    top, left = (tf.cast(tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, tf.constant(low, tf.int64)), 2 ** 15 - 1)
                         * places // 2 ** 15, tf.int32) for low in (1, 16))
    x = tf.gather(x, top[:, None] + tf.range(height)[None], axis=1, batch_dims=1)
    x = tf.gather(x, left[:, None] + tf.range(width)[None], axis=2, batch_dims=1)
  if views.mirror:
    x = tf.where(tf.equal(bits % 2, 1)[:, None, None, None], tf.reverse(x, [2]), x)
  return x
