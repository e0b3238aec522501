"""Masks that stay in their files until a client is trained, beside the images that they belong to."""

import concurrent.futures
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from tff_vision import labels as labels_lib
from tff_vision.data import images
from tff_vision.data.sources import mask_classes, mask_palettes, mask_reading, volumes

_THREADS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Survey:
  """What all masks hold.

  Attributes:
    classes: Their classes.
    tags: [n, classes] float32, as `labels.tags`.
    files: [n] mask files; '' where an image has none and nothing is to be found in it.
    numbers: [n] which mask of its file each is; None: all masks of a file, as one volume.
    slice_axis: The axis along which volumes are cut.
    kinds: [n] class numbers that replace every class of a mask but 0; None: the masks' own classes.
  """
  classes: mask_classes.Classes
  tags: np.ndarray
  files: Sequence[str]
  numbers: np.ndarray | None
  slice_axis: str = 'axial'
  kinds: np.ndarray | None = None


class MaskedExamples:
  """Image files with mask files, as an `ExamplePool` that keeps only the file names in memory."""

  def __init__(self, pictures: images.ExamplePool, survey: Survey, mine: np.ndarray):
    """Takes the images, and which masks of the survey belong to them: [n] positions in their order."""
    self._images = pictures
    self._files = [survey.files[place] for place in mine]
    self._numbers = None if survey.numbers is None else survey.numbers[mine]
    self._kinds = None if survey.kinds is None else survey.kinds[mine]
    self._survey = survey
    self.tags = survey.tags[mine]

  def __len__(self) -> int:
    return len(self._files)

  @property
  def shape(self) -> tuple[int, int, int]:
    return self._images.shape

  @property
  def y(self) -> np.ndarray:
    """All masks, [n, height, width] or [n, height, width, depth]; this reads every file."""
    return self._masks(np.arange(len(self)))

  def take(self, indices: np.ndarray) -> images.Examples:
    """Decodes the images and masks at `indices`.

    Raises:
      ValueError: A file is corrupt, or a mask has a value that is no class; the message names it.
    """
    return images.Examples(self._images.take(indices).x, self._masks(indices))

  def _masks(self, indices):
    indices = np.asarray(indices, np.int64)
    masks = np.zeros((len(indices), *(self.shape if self._numbers is None else self.shape[:2])), np.uint8)
    rows: dict[str, list[int]] = {}
    for row, place in enumerate(indices.tolist()):
      rows.setdefault(self._files[place], []).append(row)
    rows.pop('', None)

    def fill(path):
      opened = mask_reading.opened(path, self._survey.slice_axis)
      read = functools.partial(_class_numbers, opened, classes=self._survey.classes, shape=self.shape)
      for row in rows[path]:
        if self._numbers is not None:
          masks[row] = read(int(self._numbers[indices[row]]))
        else:
          masks[row] = np.stack([read(int(number)) for number in volumes.nearest(opened.count, self.shape[2])], -1)

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
      list(threads.map(fill, rows))
    if self._kinds is None or not len(masks):
      return masks
    kinds = self._kinds[indices].reshape(-1, *[1] * (masks.ndim - 1))
    return np.where((masks == 0) | (masks == labels_lib.IGNORED), masks, kinds)


def survey(paths: Sequence[str], masks: Sequence[str], counts: Sequence[int], root: pathlib.Path, *,
           kinds: Sequence[str] = (), kind_of: Sequence[str] = (), ignored: int | None = None,
           slice_axis: str = 'axial', whole: bool = False, clients: Sequence[str | None] = ()) -> Survey:
  """Reads every mask once: its values give the classes, and its size must be that of its image.

  Args:
    paths: [n] image files.
    masks: [n] mask files; '' for an image in which nothing is to be found.
    counts: [n] the number of images in each file.
    root: The folder that may list the classes.
    kinds: The classes beside the background, if a folder says which one a mask shows; empty: masks say it themselves.
    kind_of: [n] such folders, read with `kinds`.
    ignored: As in `mask_classes.resolve`.
    slice_axis: The axis along which volumes are cut.
    whole: Whether a file is one volume, with one label; otherwise each image in it has its own.
    clients: [n] the client of each image, if there are clients.

  Raises:
    ValueError: A mask is missing, corrupt, lossy, of another size or number than its image, or has a value that is no
      class.
  """
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
    found = list(threads.map(functools.partial(_values, slice_axis=slice_axis), paths, masks, counts))
  everything = [one for file in found for one in file]
  differing = mask_palettes.difference(list(zip(np.repeat(masks, list(map(len, found))).tolist(), everything,
                                                strict=True)))
  coloured = bool(differing) or any(one.numbers is None for one in everything) or (
      ignored is None and mask_palettes.go_by_list(everything, mask_classes.listed_colours(root)))
  pick: Callable[[mask_reading.Values], np.ndarray] = lambda one: np.unique(one.colours if coloured else one.numbers)
  found = [[np.unique(np.concatenate([pick(one) for one in file]))] if whole else [pick(one) for one in file]
           for file in found]
  values: dict[int, str] = {}
  for mask, file in zip(masks, found, strict=True):
    for value in np.unique(np.concatenate(file)).tolist():
      values.setdefault(value, mask)
  if not values:
    raise ValueError(f'{root} holds no mask.')
  if not coloured and ignored is None:
    mask_classes.refuse_two_whites(masks, [set(np.unique(np.concatenate(file)).tolist()) for file in found], clients)
  classes = mask_classes.resolve(root, values, coloured=coloured, ignored=ignored)
  if differing:
    classes = dataclasses.replace(classes, notes=(differing, *classes.notes))
  each = np.repeat(np.arange(len(masks)), [len(file) for file in found])
  shown = np.zeros((len(each), len(classes.names)), np.float32)
  for row, own in zip(shown, (own for file in found for own in file), strict=True):
    numbers = [classes.of_value[int(value)] for value in own]
    row[[number for number in numbers if number != labels_lib.IGNORED]] = 1
  made = Survey(
      classes=classes, tags=labels_lib.only_alone(shown), files=[masks[place] for place in each], slice_axis=slice_axis,
      numbers=None if whole else np.concatenate([np.arange(len(file), dtype=np.int32) for file in found]))
  return made if not kinds else _of_kinds(made, kinds, [kind_of[place] for place in each])


def _of_kinds(found, kinds, kind_of):
  """Returns a survey of masks whose folders say which class they show."""
  numbers = np.array([1 + list(kinds).index(kind) if kind in kinds else 0 for kind in kind_of], np.uint8)
  by_kind = np.zeros((len(kind_of), 1 + len(kinds)), np.float32)
  by_kind[np.arange(len(kind_of)), np.where(found.tags[:, 1:].any(axis=1), numbers, 0)] = 1
  return dataclasses.replace(
      found, classes=dataclasses.replace(found.classes, names=(labels_lib.BACKGROUND, *kinds)),
      tags=labels_lib.only_alone(by_kind), kinds=numbers)


def _values(path, mask, count, slice_axis) -> list[mask_reading.Values]:
  """Returns the values that each mask of a file holds, [different values]: each number with its colour."""
  if not mask:
    return [mask_reading.Values(np.zeros(1, np.int64), np.zeros(1, np.int64))] * count
  opened, image = mask_reading.opened(mask, slice_axis), mask_reading.outline(path, slice_axis)
  mask_reading.check_place(image, opened)
  if opened.count != count:
    raise ValueError(f'{mask} holds {opened.count} masks, pages or slices, and its image {path} {count} images.')
  height, width = image.size
  found: list[mask_reading.Values] = []
  for number in range(count):
    values = opened.values(number)
    rows, columns = values.colours.shape
    if (rows, columns) != (height, width):
      raise ValueError(f'{mask} has {rows}x{columns} pixels, and its image {path} {height}x{width}.')
    found.append(mask_palettes.different(values))
  return found


def _class_numbers(opened, number, classes, shape):
  """Returns one mask as class numbers, uint8 [height, width] of `shape`; each pixel is the nearest of the file's."""
  height, width = shape[:2]
  if number >= opened.count:
    raise ValueError(f'{opened.name} holds {opened.count} masks now, and held more when the data were listed.')
  held = opened.values(number)
  found = held.colours if classes.coloured else held.numbers
  if found is None:
    raise ValueError(f'{opened.name} has colours now, and had none when the data were listed.')
  found = found[volumes.nearest(found.shape[0], height)[:, None], volumes.nearest(found.shape[1], width)]
  values, numbers = mask_classes.table(classes)
  places = np.minimum(np.searchsorted(values, found), len(values) - 1)
  if (unknown := found[values[places] != found]).size:
    raise ValueError(f'{opened.name} holds the {classes.shown(int(unknown[0]))}, which is no class.')
  return numbers[places]
