"""Encoded images that stay where they are, in files or archives, until a client is trained."""

import abc
import concurrent.futures
import hashlib
import io
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from tff_vision.data import images
from tff_vision.data.sources import decode, formats

THREADS = 8
_AHEAD = 4 * THREADS
_CHUNK = 64  # Files that a thread looks at in turn; of 100,000 files, waiting for single ones takes seconds.


class Store(abc.ABC):
  """[n] encoded images; each has a place from 0 and may hold several images (pages, frames, slices)."""

  @abc.abstractmethod
  def __len__(self) -> int:
    """The number of places."""

  @abc.abstractmethod
  def name(self, place: int) -> str:
    """The name of a place in messages, with its file."""

  @abc.abstractmethod
  def read(self, places: Sequence[int]) -> Iterator[tuple[int, Callable[[], bytes]]]:
    """Yields (place, function that returns its content) for `places`, in an order that suits the store.

    Raises:
      ValueError: A file cannot be read.
    """

  def glances(self) -> list[formats.Glance]:
    """Returns what the first and last bytes of each place tell."""
    found: list[Any] = [None] * len(self)
    for place, content in self.read(range(len(self))):
      try:
        found[place] = formats.glance_at(content(), self.name(place))
      except ValueError:  # It cannot be read, which is said when it is used.
        found[place] = formats.Glance(kind='', unread='', whole=False, deep=False, digest=b'')
    return found

  def open(self, place: int) -> BinaryIO:
    """Returns the content of a place as a file."""
    (_, content), = self.read([place])
    return io.BytesIO(content())

  def size(self, place: int) -> int:
    """Returns the length of a place in bytes."""
    return len(self.open(place).getbuffer())

  def identity(self, place: int) -> str:
    """Returns a text that is the same for places that are the same file."""
    return str(place)

  def relative_name(self, place: int, root: str) -> str:
    """Returns the name of a place that does not depend on where the data are."""
    return below(self.name(place), root)


class Files(Store):
  """Image files; only their names are kept."""

  def __init__(self, paths: Sequence[str]):
    self._paths = list(paths)

  def __len__(self) -> int:
    return len(self._paths)

  def name(self, place: int) -> str:
    return self._paths[place]

  def read(self, places: Sequence[int]) -> Iterator[tuple[int, Callable[[], bytes]]]:
    for place in places:
      yield place, lambda path=self._paths[place]: _content(path)

  def glances(self) -> list[formats.Glance]:
    chunks = (self._paths[first:first + _CHUNK] for first in range(0, len(self._paths), _CHUNK))
    return [seen for chunk in each(lambda paths: [formats.glance(path) for path in paths], chunks) for seen in chunk]

  def open(self, place: int) -> BinaryIO:
    return open(self._paths[place], 'rb')

  def size(self, place: int) -> int:
    return os.path.getsize(self._paths[place])

  def identity(self, place: int) -> str:
    status = os.stat(self._paths[place])
    return f'{status.st_dev}:{status.st_ino}'


def of(encoded: 'Store | Sequence[str]') -> Store:
  """Returns a store as it is, and the paths of files as one."""
  return encoded if isinstance(encoded, Store) else Files(encoded)


def _content(path):
  try:
    with open(path, 'rb') as file:
      return file.read()
  except OSError as error:
    raise ValueError(f'{path} cannot be read ({error.strerror}).') from error


class StoredExamples:
  """Encoded images with labels, as an `ExamplePool`. They are decoded, and resized one by one, when they are taken."""

  def __init__(self, store: Store, y: np.ndarray, shape: tuple[int, int, int],
               stored: images.StoredPixels = images.StoredPixels(), *,  # noqa: B008  Frozen.
               places: np.ndarray | None = None, numbers: np.ndarray | None = None):
    """Takes encoded images and their labels.

    Args:
      store: Where they are.
      y: [n], as in `images.Examples`.
      shape: The shape to which every image is brought.
      stored: How values become pixels.
      places: [n] the place of each example; None: all places, in order.
      numbers: [n] which image of its place an example is; None: each place holds a single one, or is refused.
    """
    self._store = store
    self.y = y
    self.shape = shape
    self._stored = stored
    self._places = np.arange(len(store)) if places is None else places
    self._numbers = numbers

  def __len__(self) -> int:
    return len(self.y)

  def take(self, indices: np.ndarray) -> images.Examples:
    """Decodes the images at `indices`; each file is read once.

    Raises:
      ValueError: A file is corrupt, has values that other files do not have, or holds several images where one is
        taken; the message names it.
    """
    indices = np.asarray(indices, np.int64)
    x = np.zeros((len(indices), *self.shape), np.uint8 if self._stored.window is None else np.float32)
    wanted: dict[int, dict[int, list[int]]] = {}
    numbers = np.zeros(len(indices), np.int32) if self._numbers is None else self._numbers[indices]
    for row, (place, number) in enumerate(zip(self._places[indices].tolist(), numbers.tolist(), strict=True)):
      wanted.setdefault(place, {}).setdefault(number, []).append(row)

    def fill(found):
      place, content = found
      opened = decode.contents(content(), self._store.name(place), self._stored)
      for number, rows in wanted[place].items():
        x[rows] = self._image(opened, number)
    each(fill, self._store.read(sorted(wanted)))
    return images.Examples(x, self.y[indices])

  def _image(self, opened, number):
    """Returns the image of an example: [height, width, channels] of `shape`."""
    if self._numbers is None and opened.count > 1:
      raise ValueError(f'{opened.name} holds {opened.count} images, pages, frames or slices, and one is read here: '
                       'save each as a file of its own.')
    if number >= opened.count:
      raise ValueError(f'{opened.name} has {opened.count} images now, and had more before.')
    return opened.shaped(number, self.shape, self._stored)


def each(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
  """Returns the function's results for `items`, in order; threads work, and only a few items are read ahead."""
  results, items = [], iter(items)
  with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
    while ahead := list(itertools.islice(items, _AHEAD)):
      results += threads.map(function, ahead)
  return results


def below(path: str, root: str) -> str:
  """Returns a path relative to a folder; quickly, if it begins with it."""
  folder = root.rstrip(os.sep) + os.sep
  return path[len(folder):] if path.startswith(folder) else os.path.relpath(path, root)


def digest(names: Iterable[str]) -> str:
  """Returns a digest of lines of text, whatever their order."""
  return hashlib.blake2b('\n'.join(sorted(names)).encode('utf-8', 'surrogateescape'), digest_size=32).hexdigest()
