"""Reads one client's examples as ONE element of a data set, and slices batches out of it in the graph.

For a client of 20 images, a `tf.data` pipeline of batches costs more than training on them. So a client's images are
sent as they are stored, together with a seed. The client's own graph draws order, crops and flips from the seed, and
preprocesses each batch when it is needed. Nothing here iterates a data set. All code uses built-in TensorFlow kernels
and gives the same results on the driver, eagerly, and inside a client's computation.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tff_vision.data import images, one_element, preprocess, transforms

Element = Mapping[str, tf.Tensor]
# The draws of `preprocess` are for the purposes below.
_MIXING = 30


class MixedLabels(NamedTuple):
  """The labels of a batch of mixed images.

  Attributes:
    first: Labels of the images that have the share `share`, [b, ...].
    second: Labels of the images that have the other share.
    share: float32 [].
  """
  first: tf.Tensor
  second: tf.Tensor
  share: tf.Tensor

  def mean(self, of: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Returns the mean of `of(first)` and `of(second)`, weighed by their shares."""
    first, second = of(self.first), of(self.second)
    share = tf.cast(self.share, first.dtype)
    return share * first + (1 - share) * second


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchReader:
  """How the element of one client is turned into batches.

  Attributes:
    stored: Shape and type of one stored image and its label.
    epochs: Number of passes over the examples. Each pass has its own order; a batch may span two passes.
  """
  stored: images.ImageSpec
  preprocessing: images.Preprocessing
  epochs: int
  batch_size: int

  @property
  def element_spec(self) -> Mapping[str, tf.TensorSpec]:
    """Types of the one element: seed int64 [], x [n, height, width, channels] as stored, y [n, ...]."""
    return collections.OrderedDict(
        seed=tf.TensorSpec((), tf.int64),
        x=tf.TensorSpec((None, *self.stored.shape), tf.as_dtype(self.stored.dtype)),
        y=tf.TensorSpec((None, *self.stored.label_shape), tf.as_dtype(self.stored.label_dtype)))

  def dataset(self, x: np.ndarray | tf.Tensor, y: np.ndarray | tf.Tensor, *, seed: int | tf.Tensor) -> tf.data.Dataset:
    """Returns the data set of one element that represents a client in one round.

    Args:
      x: All stored images of the client.
      y: Their labels.
      seed: In [0, 2**63); scalar int64 if a tensor.
    """
    element = collections.OrderedDict(seed=tf.convert_to_tensor(seed, tf.int64), x=x, y=y)
    return tf.data.Dataset.from_tensors(element).with_options(one_element.options())

  def element(self, x: np.ndarray, y: np.ndarray, *, seed: int) -> one_element.OneElement:
    """Returns the same for an executor; no `tf.data` data set is made before it is sent."""
    return one_element.OneElement({'seed': np.int64(seed), 'x': x, 'y': y}, self.element_spec)

  @tf.autograph.experimental.do_not_convert  # No Python `if` here asks a tensor, and to convert costs start-up time.
  def open(self, dataset: tf.data.Dataset) -> 'Batches':
    """Returns the batches of the client whose element is in `dataset`."""
    return Batches(self, dataset.get_single_element())


class Batches:
  """The batches of one client in one round, a pure function of its element.

  Attributes:
    num_examples: Number of examples of the client, int32 [].
    num_batches: Number of batches over all epochs, int32 []; the last may be smaller. Zero if there are no examples.
  """

  def __init__(self, reader: BatchReader, element: Element):
    self._reader = reader
    self._x, self._y = (tf.ensure_shape(element[name], reader.element_spec[name].shape) for name in ('x', 'y'))
    self._seed = seed = element['seed']
    self.num_examples = tf.shape(self._y)[0]
    self._total = self.num_examples * reader.epochs
    self.num_batches = -(-self._total // reader.batch_size)
    keys = tf.random.stateless_uniform([reader.epochs, self.num_examples], tf.stack([seed, 0]), minval=None,
                                       maxval=None, dtype=tf.int64)
    self._order = tf.reshape(tf.argsort(keys, axis=1), [-1])
    self._drawn = preprocess.draw(reader.preprocessing, reader.stored.shape, self._total, seed)

  @tf.autograph.experimental.do_not_convert
  def batch(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (model input, labels) of batch number `index`, float32 [b, height, width, channels] and [b, ...]."""
    first = index * self._reader.batch_size
    return self._examples(first, tf.minimum(first + self._reader.batch_size, self._total))

  @tf.autograph.experimental.do_not_convert
  def mixed_batch(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | MixedLabels]:
    """Returns the same batch, mixed with itself in another order if the augmentation asks for it."""
    x, y = self.batch(index)
    mixup = self._reader.preprocessing.augmentation.mixup
    if not mixup:
      return x, y
    share = transforms.mixing_share(mixup, tf.stack([self._seed, _MIXING + tf.cast(index, tf.int64)]))
    return share * x + (1 - share) * tf.roll(x, 1, 0), MixedLabels(y, tf.roll(y, 1, 0), share)

  def one_epoch(self) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (model input, labels) of every example, in the order of the first epoch."""
    return self._examples(0, self.num_examples)

  def all_epochs(self) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns (model input, labels) of all epochs, one after the other."""
    return self._examples(0, self._total)

  def _examples(self, first, end):
    rows = self._order[first:end]
    drawn = tf.nest.map_structure(lambda values: values[first:end], self._drawn)
    x = preprocess.training_fn(self._reader.preprocessing, tf.gather(self._x, rows), drawn)
    y = preprocess.training_labels(self._reader.preprocessing, self._reader.stored, tf.gather(self._y, rows), drawn)
    return x, y
