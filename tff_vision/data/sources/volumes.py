"""Files of several slices as one volume each: the slices are the channels of an image, [height, width, depth].

So everything that moves, scales and sends images does the same to volumes. All volumes have `depth` slices: more are
averaged, fewer are interpolated.
"""

import pathlib

import numpy as np

from tff_vision.data import images
from tff_vision.data.sources import decode, store


class VolumeExamples:
  """Volumes with labels, as an `ExamplePool`; they are decoded one by one when they are taken."""

  def __init__(self, encoded: store.Store, y: np.ndarray, shape: tuple[int, int, int], stored: images.StoredPixels,
               places: np.ndarray):
    """Takes files, [n] labels, the shape of all volumes, how values become pixels, and the [n] places of the files."""
    self._store, self.y, self.shape, self._stored, self._places = encoded, y, shape, stored, places

  def __len__(self) -> int:
    return len(self.y)

  def take(self, indices: np.ndarray) -> images.Examples:
    """Decodes the volumes at `indices`.

    Raises:
      ValueError: A file is corrupt, or holds several volumes; the message names it.
    """
    indices = np.asarray(indices, np.int64)
    x = np.zeros((len(indices), *self.shape), np.uint8 if self._stored.window is None else np.float32)
    rows = {place: np.flatnonzero(self._places[indices] == place) for place in set(self._places[indices].tolist())}

    def fill(found):
      place, content = found
      x[rows[place]] = read(decode.contents(content(), self._store.name(place), self._stored), self.shape, self._stored)
    store.each(fill, self._store.read(sorted(rows)))
    return images.Examples(x, self.y[indices])


def read(opened: decode.Contents, shape: tuple[int, int, int], stored: images.StoredPixels) -> np.ndarray:
  """Returns the slices of a file as one volume of `shape`, in the type of `decode.Contents.shaped`.

  Raises:
    ValueError: The file is corrupt, or holds several volumes.
  """
  import tensorflow as tf  # Imported late: listing files does not need it.
  if opened.series > 1:
    raise ValueError(f'{opened.name} holds {opened.series} volumes after each other, and volume_depth takes files of '
                     'one: save each as a file of its own.')
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


def as_stored(path: str | pathlib.Path, shape: tuple[int, int, int], stored: images.StoredPixels) -> np.ndarray:
  """Returns a file as input for the model of a data set of volumes: float32 of `shape`, in the set's own range.

  Raises:
    ValueError: As `decode.all_as_stored` and `read`.
  """
  decode.check_range(path, stored)
  assert stored.black is not None and stored.white is not None
  scale = (stored.white - stored.black) / (255 if stored.window is None else 1)
  return stored.black + read(decode.opened(path, stored), shape, stored).astype(np.float32) * scale
