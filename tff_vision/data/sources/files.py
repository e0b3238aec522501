"""Images that stay in their files until a client is trained."""

import concurrent.futures
import functools
import hashlib
import json
import os
from collections.abc import Sequence

import numpy as np

from tff_vision import configs
from tff_vision.data import images
from tff_vision.data.sources import decode, fetch, formats

_THREADS = 8
_LARGEST_WITHOUT_IMAGE_SIZE = 512
_SAMPLE = 64
_DEPTHS = (255, 1023, 4095, 16383, 65535)


class FileExamples:
  """Image files with class numbers, as an `ExamplePool` that keeps only the file names in memory."""

  def __init__(self, paths: Sequence[str], y: np.ndarray, shape: tuple[int, int, int],
               stored: images.StoredPixels = images.StoredPixels()):  # noqa: B008  Frozen.
    """Takes [n] `paths`, `y` as in `images.Examples`, and the shape and range to which every image is converted."""
    self._paths = np.asarray(paths, str)
    self.y = y
    self.shape = shape
    self._stored = stored

  def __len__(self) -> int:
    return len(self.y)

  def take(self, indices: np.ndarray) -> images.Examples:
    """Decodes the files at `indices`.

    Raises:
      ValueError: A file is corrupt or has values that other files do not have; the message names it.
    """
    read = functools.partial(decode.read, shape=self.shape, stored=self._stored)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
      x = list(threads.map(read, self._paths[indices]))
    nothing = np.zeros((0, *self.shape), np.uint8 if self._stored.window is None else np.float32)
    return images.Examples(np.stack(x) if x else nothing, self.y[indices])


def survey(paths: Sequence[str]) -> list[formats.Glance]:
  """Returns what is known of each file from its first and last bytes."""
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
    return list(threads.map(formats.glance, paths))


def usable(paths: Sequence[str], glances: Sequence[formats.Glance], corrupt_images: str
           ) -> tuple[np.ndarray, list[str]]:
  """Finds corrupt files and files of unsupported formats before a run begins.

  Args:
    paths: [n] image files.
    glances: The result of `survey` for them.
    corrupt_images: `refuse` checks the first and last bytes of each file, which finds truncated files; `skip` decodes
      every file once, since a client's size must be known, and stores the result in the cache.

  Returns:
    [n] bool, which files are usable; and notes with the numbers of the others.

  Raises:
    ValueError: With `refuse`: a file is corrupt or of an unsupported format.
  """
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
    if corrupt_images == 'skip':
      good = _decoded_once(paths, threads)
    else:  # Cameras write kilobytes after the image: a file that looks truncated may be complete.
      good = np.array(list(threads.map(lambda path, seen: seen.whole or _decodes(path), paths, glances)), bool)
  bad = np.flatnonzero(~good)
  if not len(bad):
    return good, []
  foreign = [place for place in bad if glances[place].unread]
  if corrupt_images == 'refuse':
    first = bad[0]
    if glances[first].unread:
      raise ValueError(f'{paths[first]} is a file of the format {glances[first].unread}, which is not read '
                       f'({len(foreign)} of {len(paths)} files are): save such files as {formats.READ}, or leave them '
                       'out with corrupt_images=skip.')
    raise ValueError(f'{paths[first]} is corrupt or no image ({len(bad)} of {len(paths)} files are); mend it, or '
                     'leave such files out with corrupt_images=skip.')
  notes = []
  if broken := [place for place in bad if not glances[place].unread]:
    notes.append(images.Counted(
        f'{len(broken)} corrupt of {len(paths)} image files left out, the first is {paths[broken[0]]}.'))
  if foreign:
    kinds = ', '.join(sorted({glances[place].unread for place in foreign}))
    notes.append(images.Counted(
        f'{len(foreign)} of {len(paths)} files are of a format that is not read ({kinds}) and left out, the first is '
        f'{paths[foreign[0]]}.'))
  return good, notes


def stored_shape(path: str, config: configs.DataConfig) -> tuple[tuple[int, int, int], list[str]]:
  """Returns the (height, width, channels) that images are resized to, from the options or from the file at `path`.

  Raises:
    ValueError: The image is too large to be a model's input, unless the user asks for this size.
  """
  height, width, channels = decode.native(path).shape
  channels = config.image_channels or channels
  if config.image_size is not None:
    return (config.image_size, config.image_size, channels), []
  if max(height, width) > _LARGEST_WITHOUT_IMAGE_SIZE:
    raise ValueError(f'{path} has {height}x{width} pixels: choose what to resize to with image_size.')
  return (height, width, channels), [f'All images are brought to {height}x{width}x{channels}, the shape of the first; '
                                     'image_size and image_channels choose another.']


def stored_pixels(paths: Sequence[str], glances: Sequence[formats.Glance], pixel_range: tuple[float, float] | None
                  ) -> tuple[images.StoredPixels, list[str]]:
  """Returns how the values of files become pixels, and notes.

  If files have more than 8 bits, up to 64 of them are decoded. The smallest number of bits that holds all values
  determines white, because sensors of 10, 12 or 14 bits write files of 16 bits.

  Args:
    paths: [n] image files.
    glances: The result of `survey` for them.
    pixel_range: The values of black and white, if the user has given them.

  Raises:
    ValueError: Black and white cannot be determined from the values of float or signed images.
  """
  deep = [path for path, seen in zip(paths, glances, strict=True) if seen.deep or seen.kind == 'TIFF']
  if pixel_range is not None:
    said = f'Values {pixel_range[0]:g}..{pixel_range[1]:g} of image files become 0..1 (pixel_range).'
    eight = pixel_range if len(deep) < len(paths) or pixel_range[1] <= 255 else None
    return images.StoredPixels(white=1.0, window=pixel_range, eight_bit=eight), [said]
  sample = [deep[place] for place in np.unique(np.linspace(0, len(deep) - 1, min(len(deep), _SAMPLE)).astype(int))]
  found = [(image.min(), image.max(), image.dtype, path) for path in sample
           if (image := decode.native(path)).dtype != np.uint8]
  if not found:
    return images.StoredPixels(), []
  low, high = min(each[0] for each in found), max(each[1] for each in found)
  if any(each[2] != np.uint16 for each in found):
    if not (low >= 0 and high <= 1):
      raise ValueError(f'{found[0][3]} holds values in {low:g}..{high:g}, and nothing tells which are black and white: '
                       'say pixel_range=BLACK,WHITE.')
    window = (0.0, 1.0)
  else:
    window = (0.0, float(next(top for top in _DEPTHS if top >= high)))
  eight = (0.0, 255.0) if len(deep) < len(paths) or len(found) < len(sample) else None
  return images.StoredPixels(white=1.0, window=window, eight_bit=eight, clips=False), [images.Counted(
      f'{len(deep)} files have more than 8 bits; {len(found)} of them hold values in {low:g}..{high:g}. Of such files '
      f'{window[0]:g}..{window[1]:g} become 0..1; pixel_range=BLACK,WHITE chooses another window.')]


def _decoded_once(paths, threads):
  status = [os.stat(path) if os.path.exists(path) else None for path in paths]  # A link may be broken.
  names = json.dumps([[path, s and s.st_size, s and s.st_mtime_ns] for path, s in zip(paths, status, strict=True)])
  place = fetch.cache_dir() / f'decodes-{hashlib.sha256(names.encode()).hexdigest()[:16]}.npy'
  if place.is_file():
    return np.load(place, allow_pickle=False)
  good = np.array(list(threads.map(_decodes, paths)), bool)
  place.parent.mkdir(parents=True, exist_ok=True)
  fetch.write_atomically(place, lambda out: np.save(out, good))
  return good


def _decodes(path):
  try:
    decode.native(path)
  except ValueError:
    return False
  return True
