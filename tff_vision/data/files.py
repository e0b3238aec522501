"""Images that stay in their files until a client is trained."""

import concurrent.futures
import functools
import hashlib
import json
import os
from collections.abc import Sequence

import numpy as np

from tff_vision import configs
from tff_vision.data import decode, fetch, images

_THREADS = 8
_LARGEST_WITHOUT_IMAGE_SIZE = 512


class FileExamples:
  """Image files with class numbers, as an `ExamplePool` that keeps only their names in memory."""

  def __init__(self, paths: Sequence[str], y: np.ndarray, shape: tuple[int, int, int]):
    """Takes [n] `paths`, `y` as in `images.Examples`, and the shape to which every image is brought."""
    self._paths = np.asarray(paths, str)
    self.y = y
    self.shape = shape

  def __len__(self) -> int:
    return len(self.y)

  def take(self, indices: np.ndarray) -> images.Examples:
    """Decodes the files at `indices`.

    Raises:
      ValueError: A file is corrupt; it is named.
    """
    read = functools.partial(decode.read, shape=self.shape)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
      x = list(threads.map(read, self._paths[indices]))
    return images.Examples(np.stack(x) if x else np.zeros((0, *self.shape), np.uint8), self.y[indices])


def usable(paths: Sequence[str], corrupt_images: str) -> tuple[np.ndarray, list[str]]:
  """Finds corrupt files before a run begins.

  Args:
    paths: [n] image files.
    corrupt_images: `refuse` looks at the ends of each file, which finds the truncated ones; `skip` decodes every
      file once, since a client's size must be known, and remembers the answer in the cache.

  Returns:
    [n] bool, which files are usable; and notes that count the others.

  Raises:
    ValueError: `refuse`, and a file is corrupt.
  """
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
    if corrupt_images == 'skip':
      good = _decoded_once(paths, threads)
    else:
      good = np.array(list(threads.map(_seems_good, paths)), bool)
  bad = np.flatnonzero(~good)
  if not len(bad):
    return good, []
  if corrupt_images == 'refuse':
    raise ValueError(f'{paths[bad[0]]} is corrupt or no image ({len(bad)} of {len(paths)} files are); mend it, or '
                     'leave such files out with corrupt_images=skip.')
  return good, [images.Counted(
      f'{len(bad)} corrupt of {len(paths)} image files left out, the first is {paths[bad[0]]}.')]


def stored_shape(path: str, config: configs.DataConfig) -> tuple[tuple[int, int, int], list[str]]:
  """Returns the (height, width, channels) to which images are brought, by the options or by the file at `path`.

  Raises:
    ValueError: The image is too large to be taken as a model's input without being asked for.
  """
  height, width, channels = decode.read(path).shape
  channels = config.image_channels or channels
  if config.image_size is not None:
    return (config.image_size, config.image_size, channels), []
  if max(height, width) > _LARGEST_WITHOUT_IMAGE_SIZE:
    raise ValueError(f'{path} has {height}x{width} pixels: choose what to resize to with image_size.')
  return (height, width, channels), [f'All images are brought to {height}x{width}x{channels}, the shape of the first; '
                                     'image_size and image_channels choose another.']


def _decoded_once(paths, threads):
  status = [os.stat(path) for path in paths]
  names = json.dumps([[path, s.st_size, s.st_mtime_ns] for path, s in zip(paths, status, strict=True)])
  place = fetch.cache_dir() / f'decoded-{hashlib.sha256(names.encode()).hexdigest()[:16]}.npy'
  if place.is_file():
    return np.load(place, allow_pickle=False)
  good = np.array(list(threads.map(_decodes, paths)), bool)
  place.parent.mkdir(parents=True, exist_ok=True)
  fetch.write_atomically(place, lambda out: np.save(out, good))
  return good


def _seems_good(path):
  # Cameras write kilobytes behind the image: what looks cut short may still be whole.
  return decode.looks_whole(path) or _decodes(path)


def _decodes(path):
  try:
    decode.read(path)
  except ValueError:
    return False
  return True
