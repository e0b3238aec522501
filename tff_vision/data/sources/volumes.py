"""Files of several slices as one volume each: the slices are the channels of an image, [height, width, depth].

So everything that moves, scales and sends images does the same to volumes. All volumes have `depth` slices: more are
averaged, fewer are interpolated.
"""

import numpy as np

from tff_vision.data import images
from tff_vision.data.sources import decode, store


class VolumeExamples(store.StoredExamples):
  """Volumes with labels, as an `ExamplePool`: each place holds one volume, of which all slices are taken."""

  def _image(self, opened, number):
    del number
    return read(opened, self.shape, self._stored)


def read(opened: decode.Contents, shape: tuple[int, int, int], stored: images.StoredPixels) -> np.ndarray:
  """Returns the slices of a file as one volume of `shape`, in the type of `decode.Contents.shaped`.

  Raises:
    ValueError: The file is corrupt, or holds several volumes.
  """
  import tensorflow as tf  # Imported late: listing files does not need it.
  if (series := opened.series) > 1:
    raise ValueError(f'{opened.name} holds {series} volumes after each other, and volume_depth takes files of one: '
                     'save each as a file of its own.')
  height, width, depth = shape
  slices = np.stack([opened.shaped(number, (height, width, 1), stored)[..., 0] for number in range(opened.count)])
  if len(slices) != depth:
    rows = tf.reshape(slices, [1, len(slices), height * width, 1])
    along = tf.image.resize(rows, [depth, height * width], antialias=True).numpy().reshape(depth, height, width)
    slices = along if slices.dtype == np.float32 else np.clip(np.round(along), 0, 255).astype(slices.dtype)
  return np.ascontiguousarray(np.moveaxis(slices, 0, -1))


def nearest(count: int, depth: int) -> np.ndarray:
  """Returns, for each of `depth` places along `count` slices, the number of the nearest one."""
  return (2 * np.arange(depth) + 1) * count // (2 * depth)
