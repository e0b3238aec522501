"""What the label of an image is: a class, findings, a mask, boxes or a number; its type, shape, and how it is counted.

This is the only place that distinguishes the kinds of labels by their arrays. A data set states its kind in
`data.images.ImageSpec.labels`; partitions, summaries and reports count `tags`, which every kind has.
"""

import enum

import numpy as np

# The value of mask pixels that no loss and no measure counts.
IGNORED = 255
# Masks are stored in 8 bits, and one value is `IGNORED`.
MOST_MASK_CLASSES = 255
# A row of boxes: top, left, bottom and right as shares of the image's height and width, and the class.
BOX_WIDTH = 5
# The class of rows that are no box, which fill up the rows of an image to the number that all images have.
NO_BOX = -1
# A class 0 of this name is what is not to be found.
BACKGROUND = 'background'


class Kind(enum.Enum):
  """The kind of label that each image of a data set has."""
  CLASS = 'class'
  FINDINGS = 'findings'
  MASK = 'mask'
  VOLUME = 'volume'
  BOXES = 'boxes'
  NUMBER = 'number'

  @property
  def dtype(self) -> np.dtype:
    """The type of labels: class numbers int32, findings float32 of 0 and 1, masks of images and volumes uint8, boxes
    and numbers float32."""
    return np.dtype({Kind.CLASS: np.int32, Kind.FINDINGS: np.float32, Kind.MASK: np.uint8, Kind.VOLUME: np.uint8,
                     Kind.BOXES: np.float32, Kind.NUMBER: np.float32}[self])

  @property
  def is_spatial(self) -> bool:
    """Whether a label is a mask, of an image or of a volume: what moves an image moves the label in the same way."""
    return self in (Kind.MASK, Kind.VOLUME)

  @property
  def has_one_tag(self) -> bool:
    """Whether `tags` gives one class number for each image, and not findings of 0 and 1."""
    return self in (Kind.CLASS, Kind.NUMBER)

  def shape(self, image_shape: tuple[int, int, int], num_classes: int, max_boxes: int = 0) -> tuple[int, ...]:
    """Returns the shape of one label: () for a class or number, (findings,), (height, width) for a mask, (height,
    width, depth) for the mask of a volume, or (boxes, 5).

    Args:
      image_shape: (height, width, channels) of the image that the label belongs to; of a volume, channels are slices.
      num_classes: Number of classes or findings.
      max_boxes: Number of rows for boxes.
    """
    if self is Kind.MASK:
      return tuple(image_shape[:2])
    if self is Kind.VOLUME:
      return tuple(image_shape)
    if self is Kind.BOXES:
      return max_boxes, BOX_WIDTH
    return (num_classes,) if self is Kind.FINDINGS else ()


_OF_ARRAYS = {(kind.dtype, rank): kind for kind, rank in (
    (Kind.CLASS, 1), (Kind.FINDINGS, 2), (Kind.MASK, 3), (Kind.VOLUME, 4), (Kind.BOXES, 3), (Kind.NUMBER, 1))}


def kind_of(y: np.ndarray) -> Kind:
  """Returns the kind of the labels of several images, [n, ...].

  Raises:
    ValueError: No kind of label has this type and rank.
  """
  if (y.dtype, y.ndim) not in _OF_ARRAYS:
    raise ValueError(f'labels must be [n] int32 or float32, [n, findings] float32, [n, height, width] or [n, height, '
                     f'width, depth] uint8, or [n, boxes, 5] float32, found {list(y.shape)} of {y.dtype}.')
  return _OF_ARRAYS[y.dtype, y.ndim]


def tags(y: np.ndarray, num_classes: int) -> np.ndarray:
  """Returns labels as partitions, summaries and reports count them: class numbers, or findings of 0 and 1.

  Class numbers and findings are returned unchanged. A mask counts as the classes other than 0 that it shows; class 0,
  which is usually the background, counts only if the mask shows no other class. Boxes count as the classes that they
  have, and all numbers as one class, which bears the name of what is measured.

  Args:
    y: [n, ...] labels of one kind.
    num_classes: Number of classes or findings.

  Returns:
    [n] int32, or [n, num_classes] float32 of 0 and 1.
  """
  if kind_of(y) is Kind.NUMBER:
    return np.zeros(len(y), np.int32)
  if kind_of(y) is Kind.BOXES:
    return (y[..., 4:] == np.arange(num_classes)).any(axis=1).astype(np.float32)
  if not kind_of(y).is_spatial:
    return y
  shown = np.zeros((len(y), num_classes), np.float32)
  for row, mask in zip(shown, y, strict=True):
    found = np.unique(mask)
    row[found[found < num_classes]] = 1
  return only_alone(shown)


def only_alone(shown: np.ndarray) -> np.ndarray:
  """Returns [n, classes] with class 0 counted only where it is the only class of its row; `shown` is changed."""
  shown[:, 0] = ~shown[:, 1:].any(axis=1)
  return shown


def without_example(tags: np.ndarray, num_classes: int, kind: Kind) -> np.ndarray:
  """Returns the numbers of the classes that no example has, [k]; class 0 of masks surrounds the other classes."""
  counts = np.bincount(tags, minlength=num_classes) if tags.ndim == 1 else tags.sum(axis=0)
  missing = np.flatnonzero(counts == 0)
  return missing[missing > 0] if kind.is_spatial and len(tags) else missing


def rarest(tags: np.ndarray) -> np.ndarray:
  """Returns [n] int64, for each row of [n, classes] `tags` its class that the fewest rows have; 0 if it has none."""
  counts = tags.sum(axis=0)
  return np.where(tags > 0, counts, np.inf).argmin(axis=1)


def outside(y: np.ndarray, num_classes: int) -> np.ndarray:
  """Returns the positions of labels that are no class of `num_classes`, [k]; findings have none."""
  kind = kind_of(y)
  if kind in (Kind.FINDINGS, Kind.NUMBER):
    return np.zeros(0, np.int64)
  if kind is Kind.BOXES:
    number = y[..., 4]
    return np.flatnonzero(((number != np.round(number)) | (number >= num_classes)
                           | (number < ignored_box(num_classes - 1))).any(axis=1))
  wrong = (y < 0) | (y >= num_classes)
  if kind.is_spatial:
    wrong = (wrong & (y != IGNORED)).any(axis=tuple(range(1, y.ndim)))
  return np.flatnonzero(wrong)


def ignored_box(number: int) -> int:
  """Returns the class of a box in which class `number` is neither wanted nor wrong, such as a crowd."""
  return -2 - number


def no_boxes(count: int, max_boxes: int) -> np.ndarray:
  """Returns labels for `count` images without boxes, [count, max_boxes, 5]."""
  y = np.zeros((count, max_boxes, BOX_WIDTH), np.float32)
  y[..., 4] = NO_BOX
  return y
