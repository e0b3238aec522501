"""Masks that stay in their files until a client is trained, beside the images that they belong to."""

import concurrent.futures
import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import numpy as np

from tff_vision import labels as labels_lib
from tff_vision.data import images
from tff_vision.data.sources import decode, files, formats, mask_classes

_THREADS = 8
_LOSSY = ('JPEG',)
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width.
_ORIENTATION = 0x0112


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
  """What all masks hold.

  Attributes:
    classes: Their classes.
    tags: [n, classes] float32, as `labels.tags`.
    paths: [n] mask files; '' where an image has none and nothing is to be found in it.
    kinds: [n] class numbers that replace every class of a mask but 0; None: the masks' own classes.
  """
  classes: mask_classes.Classes
  tags: np.ndarray
  paths: Sequence[str]
  kinds: np.ndarray | None = None


class MaskedExamples:
  """Image files with mask files, as an `ExamplePool` that keeps only the file names in memory."""

  def __init__(self, pictures: files.FileExamples, survey: Survey, mine: np.ndarray):
    """Takes the images, and which masks of the survey belong to them: [n] positions in their order."""
    self._images = pictures
    self._paths = [survey.paths[place] for place in mine]
    self._kinds = None if survey.kinds is None else survey.kinds[mine]
    self._classes = survey.classes
    self.tags = survey.tags[mine]

  def __len__(self) -> int:
    return len(self._paths)

  @property
  def shape(self) -> tuple[int, int, int]:
    return self._images.shape

  @property
  def y(self) -> np.ndarray:
    """All masks, [n, height, width]; this reads every file."""
    return self._masks(np.arange(len(self)))

  def take(self, indices: np.ndarray) -> images.Examples:
    """Decodes the images and masks at `indices`.

    Raises:
      ValueError: A file is corrupt, or a mask has a value that is no class; the message names it.
    """
    return images.Examples(self._images.take(indices).x, self._masks(indices))

  def _masks(self, indices):
    read = functools.partial(_class_numbers, classes=self._classes, shape=self.shape)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
      found = list(threads.map(read, [self._paths[place] for place in indices]))
    masks = np.stack(found) if found else np.zeros((0, *self.shape[:2]), np.uint8)
    if self._kinds is None or not len(masks):
      return masks
    return np.where((masks == 0) | (masks == labels_lib.IGNORED), masks, self._kinds[indices][:, None, None])


def survey(paths: Sequence[str], masks: Sequence[str], root: pathlib.Path, *, kinds: Sequence[str] = (),
           kind_of: Sequence[str] = (), ignored: int | None = None) -> Survey:
  """Reads every mask once: its values give the classes, and its size must be that of its image.

  Args:
    paths: [n] image files.
    masks: [n] mask files; '' for an image in which nothing is to be found.
    root: The folder that may list the classes.
    kinds: The classes beside the background, if a folder says which one a mask shows; empty: masks say it themselves.
    kind_of: [n] such folders, read with `kinds`.
    ignored: As in `mask_classes.resolve`.

  Raises:
    ValueError: A mask is missing, corrupt, lossy, of another size than its image, or has a value that is no class.
  """
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
    found = list(threads.map(_values, paths, masks))
  coloured = any(indices is None for indices, _ in found)
  values: dict[int, str] = {}
  for mask, (indices, colours) in zip(masks, found, strict=True):
    for value in colours if coloured else indices:
      values.setdefault(int(value), mask)
  if not values:
    raise ValueError(f'{root} holds no mask.')
  classes = mask_classes.resolve(root, values, coloured=coloured, ignored=ignored)
  shown = np.zeros((len(masks), len(classes.names)), np.float32)
  for row, (indices, colours) in zip(shown, found, strict=True):
    numbers = [classes.of_value[int(value)] for value in (colours if coloured else indices)]
    row[[number for number in numbers if number != labels_lib.IGNORED]] = 1
  if not kinds:
    return Survey(classes=classes, tags=labels_lib.only_alone(shown), paths=masks)
  numbers = np.array([1 + list(kinds).index(kind) if kind in kinds else 0 for kind in kind_of], np.uint8)
  by_kind = np.zeros((len(masks), 1 + len(kinds)), np.float32)
  by_kind[np.arange(len(masks)), np.where(shown[:, 1:].any(axis=1), numbers, 0)] = 1
  return Survey(classes=dataclasses.replace(classes, names=(labels_lib.BACKGROUND, *kinds)),
                tags=labels_lib.only_alone(by_kind), paths=masks, kinds=numbers)


def _values(path, mask):
  """Returns the values that a mask holds, as class numbers or greys (None if it has colours) and as colours."""
  if not mask:
    return np.zeros(1, np.int64), np.zeros(1, np.int64)
  indices, colours = _read(mask)
  height, width = _size(path)
  if colours.shape != (height, width):
    raise ValueError(f'{mask} has {colours.shape[0]}x{colours.shape[1]} pixels, and its image {path} {height}x{width}.')
  return None if indices is None else np.unique(indices), np.unique(colours)


def _read(path):
  """Returns a mask's class numbers or greys, [height, width], None if it has colours; and its colours, 0xrrggbb."""
  from PIL import Image
  with open(path, 'rb') as file:
    kind = formats.kind_of(file.read(32))
  if kind in _LOSSY:
    raise ValueError(f'{path} is a {kind}, which changes the values of a mask: save masks as PNG.')
  try:
    with Image.open(path) as image:
      image.load()
      if image.mode == 'P':
        indices, rgb = np.asarray(image), np.asarray(image.convert('RGB'))
      elif image.mode in ('1', 'L', 'LA', 'La') or image.mode.startswith('I'):
        indices = np.asarray(image.convert('L') if image.mode in ('LA', 'La') else image).astype(np.int64)
        rgb = np.repeat(indices[..., None], 3, axis=-1)
      else:
        rgb = np.asarray(image.convert('RGB'))
        grey = (rgb == rgb[..., :1]).all()
        indices = rgb[..., 0] if grey else None
  except Exception as error:  # Pillow's readers can raise any exception on a broken file.
    raise ValueError(f'{path} is no mask that can be read, or it is corrupt.') from error
  red, green, blue = np.moveaxis(rgb.astype(np.int64), -1, 0)
  return indices, red << 16 | green << 8 | blue


def _size(path):
  """Returns (height, width) of an image as it is shown; only its header is read where that tells."""
  from PIL import Image
  try:
    with Image.open(path) as image:
      width, height = image.size
      turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
  except Exception:  # Pillow does not know the format.
    return decode.native(path).shape[:2]
  return (width, height) if turned else (height, width)


def _class_numbers(path, classes, shape):
  """Returns one mask as class numbers, uint8 [height, width] of `shape`; each pixel is the nearest of the file's."""
  height, width = shape[:2]
  if not path:
    return np.zeros((height, width), np.uint8)
  indices, colours = _read(path)
  found = colours if classes.coloured else indices
  if found is None:
    raise ValueError(f'{path} has colours now, and had none when the data were listed.')
  rows, columns = ((np.arange(wanted) * 2 + 1) * side // (2 * wanted)
                   for wanted, side in zip((height, width), found.shape, strict=True))
  found = found[rows[:, None], columns]
  values, numbers = mask_classes.table(classes)
  places = np.minimum(np.searchsorted(values, found), len(values) - 1)
  if (unknown := found[values[places] != found]).size:
    raise ValueError(f'{path} holds the {classes.shown(int(unknown[0]))}, which is no class.')
  return numbers[places]
