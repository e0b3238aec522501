"""What a client counts of its training examples before anything is trained: labels, intensities, sizes.

Everything is a whole number, so that sums are exact however they are hidden. An image contributes the share of its
pixels that lies in each bin of intensity, not its number of pixels: so one image changes a sum by a known amount.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision.data import images as images_lib
from tff_vision.learning import tallies

BINS = 64
STEPS = 2**20  # Of a share or a moment in 0..1.
SHIFT_BINS = 20
_BATCH = 100
_COUNTS = 3  # How many of the names are counts.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
  """The numbers of a survey of images of one kind.

  Attributes:
    spec: The kind. Intensities are taken between the stored values of black and of white; what lies outside counts as
      black or white.
  """
  spec: images_lib.ImageSpec

  @property
  def shapes(self) -> Mapping[str, tuple[int, ...]]:
    """Name -> shape: first the counts, then the sums in steps of 1 / STEPS."""
    channels = self.spec.shape[2]
    return {'examples': (), 'labels': (len(self.spec.class_names),), 'empty': (), 'outside': (channels,),
            'intensity': (channels, BINS), 'mean': (channels,), 'square': (channels,)}

  @property
  def groups(self) -> tuple[tuple[int, int], ...]:
    """The counts and the sums, with the largest value of a client; see `aggregation.hidden_totals.Pieces`."""
    sizes = [math.prod(shape) for shape in self.shapes.values()]
    return (sum(sizes[:_COUNTS]), tallies.MOST_EXAMPLES), (sum(sizes[_COUNTS:]), tallies.MOST_EXAMPLES * STEPS)

  @property
  def sensitivity(self) -> float:
    """The L2 norm by which one image, added or removed, changes all numbers, of which sums count in units of 1.

    The number of images and of images of one value change by 1 each, labels by 1 or by 1 for each finding, the shares
    of a channel by 1 together, each moment by 1 at most, and the share outside of the range too.
    """
    labels = len(self.spec.class_names) if self.spec.multi_label else 1
    return math.sqrt(1 + labels + 1 + 4 * self.spec.shape[2])

  def named(self, vector: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the parts of a vector by name: counts as they are, and sums in units of 1."""
    found, first = {}, 0
    for place, (name, shape) in enumerate(self.shapes.items()):
      size = math.prod(shape)
      part = np.asarray(vector[first:first + size]).reshape(shape)
      found[name] = part if place < _COUNTS else part / STEPS
      first += size
    return found

  def of(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Returns the numbers of all stored images and labels of a client as one vector, int64; runs on clients."""
    total = tf.zeros([sum(size for size, _ in self.groups)], tf.int64)

    @tf.function
    def run(x, y, total):
      for first in tf.range(0, tf.shape(y)[0], _BATCH):
        total += self._of_batch(x[first:first + _BATCH], y[first:first + _BATCH])
      return total

    return run(x, y, total)

  def shares(self, total: Any) -> tuple[Any, Any]:
    """Returns the shares of labels and the shares of intensities of channels, each adding up to 1, from a vector."""
    classes, channels = len(self.spec.class_names), self.spec.shape[2]
    number = tf.cast(total, tf.float64)
    labels = number[1:1 + classes]
    first = 2 + classes + channels
    intensity = number[first:first + channels * BINS]
    return (tf.math.divide_no_nan(labels, tf.reduce_sum(labels)),
            tf.math.divide_no_nan(intensity, tf.reduce_sum(intensity)))

  def _of_batch(self, x, y):
    black, white = self.spec.stored.black, self.spec.stored.white
    pixels = (tf.cast(x, tf.float64) - black) / (white - black)
    outside = tf.logical_or(pixels < 0, pixels > 1) | tf.math.is_nan(pixels)
    pixels = tf.clip_by_value(tf.where(tf.math.is_nan(pixels), tf.zeros_like(pixels), pixels), 0.0, 1.0)
    images, channels = tf.shape(x)[0], self.spec.shape[2]
    labels = (tf.reduce_sum(tf.cast(y > 0.5, tf.int64), axis=0) if self.spec.multi_label else
              tf.math.unsorted_segment_sum(tf.ones_like(y, tf.int64), y, len(self.spec.class_names)))
    empty = tf.math.count_nonzero(tf.equal(tf.reduce_max(pixels, axis=(1, 2, 3)), tf.reduce_min(
        pixels, axis=(1, 2, 3))), dtype=tf.int64)
    bins = tf.cast(tf.minimum(pixels * BINS, BINS - 1.0), tf.int32)
    place = bins + BINS * tf.range(channels)
    place += BINS * channels * tf.reshape(tf.range(images), [-1, 1, 1, 1])
    counted = tf.math.unsorted_segment_sum(tf.ones_like(place, tf.float64), place, BINS * channels * images)
    size = self.spec.shape[0] * self.spec.shape[1]
    # Rounded down, so that the shares of an image add up to no more than 1.
    shares = tf.reduce_sum(_steps(tf.reshape(counted / size, [images, channels * BINS])), axis=0)
    moment = lambda values: tf.reduce_sum(_steps(tf.reduce_mean(values, axis=(1, 2))), axis=0)
    return tf.concat([
        [tf.cast(images, tf.int64)], labels, [empty], moment(tf.cast(outside, tf.float64)), shares,
        moment(pixels), moment(pixels * pixels)], axis=0)


def _steps(values):
  return tf.cast(tf.floor(values * STEPS), tf.int64)


def counting(survey: Survey, read: Any, request_type: tff.Type) -> tff.Computation:
  """Returns the computation of a client's numbers from (nothing, its request); `read`: of `federated_evaluation`."""
  @tff.tensorflow.computation(np.int64, request_type)
  def of_client(nothing, request):
    x, y = read(request)
    return survey.of(x, y) + 0 * nothing

  return of_client


def distances(survey: Survey, read: Any, request_type: tff.Type) -> tff.Computation:
  """Returns the computation of how far a client is from all others: from (the sums over all, its request).

  The result is [2, SHIFT_BINS] as one vector: one client counts 1 in the bin of the total variation between its labels
  and those of the others, and 1 in that of its intensities. A client without examples counts nowhere.
  """
  @tff.tensorflow.computation(tff.TensorType(np.int64, [sum(size for size, _ in survey.groups)]), request_type)
  def of_client(everybody, request):
    x, y = read(request)
    mine = survey.of(x, y)
    found = []
    for own, others in zip(survey.shares(mine), survey.shares(everybody - mine), strict=True):
      away = tf.reduce_sum(tf.abs(own - others)) / 2
      place = tf.cast(tf.minimum(away * SHIFT_BINS, SHIFT_BINS - 1.0), tf.int32)
      found.append(tf.one_hot(place, SHIFT_BINS, dtype=tf.int64))
    return tf.concat(found, axis=0) * tf.minimum(mine[0], 1)

  return of_client
