"""Labels that users give as arrays, brought to the types of `labels.Kind`."""

from collections.abc import Sequence

import numpy as np

from tff_vision import labels as labels_lib


def classes(y: np.ndarray, what: str, ignored: int | None = None) -> np.ndarray:
  """Returns labels in the form that `images.Examples` requires.

  Raises:
    ValueError: They are neither class numbers, nor findings of 0 and 1, nor masks of class numbers; or only `ignored`
      says that they are masks.
  """
  if y.ndim in (3, 4) and (y.ndim == 3 or y.shape[3] == 1):
    return masks(y.reshape(y.shape[:3]), what, ignored)
  if ignored is not None:
    raise ValueError(f'ignore_index={ignored} is a value of masks, [n, height, width], and {what} is {list(y.shape)}.')
  if y.ndim == 2 and y.shape[1] == 1:
    y = y[:, 0]
  if y.ndim == 2 and np.isin(y, (0, 1)).all():
    if len(y) and (y.sum(axis=1) == 1).all():
      raise ValueError(f'{what} looks one-hot: give class numbers, [n]; [n, findings] is for images with any number '
                       'of findings.')
    return y.astype(np.float32)
  if y.ndim != 1 or y.dtype.kind not in 'iuf' or (y != np.floor(y)).any() or (y < 0).any():
    raise ValueError(f'{what} must be [n] class numbers from 0, [n, findings] of 0 and 1, or masks [n, height, width]; '
                     f'found {list(y.shape)} of {y.dtype}' + (
                         f' down to {y.min()}.' if y.size and y.dtype.kind in 'iuf' else '.'))
  return y.astype(np.int32)


def masks(y: np.ndarray, what: str, ignored: int | None = None) -> np.ndarray:
  """Returns masks, [n, height, width] of class numbers, as uint8; `labels.IGNORED` marks pixels that do not count.

  Args:
    y: The masks.
    what: Their name in errors.
    ignored: Another value of pixels that do not count.

  Raises:
    ValueError: A value is no whole number in 0..255.
  """
  if ignored is not None:
    y = np.where(y == ignored, labels_lib.IGNORED, y)
  if y.dtype.kind not in 'biuf' or (y.dtype.kind == 'f' and (y != np.floor(y)).any()) or y.size and (
      y.min() < 0 or y.max() > labels_lib.IGNORED):
    raise ValueError(f'{what} must be masks of class numbers in 0..{labels_lib.MOST_MASK_CLASSES - 1}, and '
                     f'{labels_lib.IGNORED} for pixels that do not count; found {y.dtype}' + (
                         f' in {y.min():g}..{y.max():g}.' if y.size and y.dtype.kind in 'iuf' else '.'))
  return y.astype(np.uint8)  # `labels.IGNORED` stays what it is.


def num_classes(parts: Sequence[np.ndarray]) -> int:
  """Returns how many classes or findings the labels of several parts need at least."""
  if labels_lib.kind_of(parts[0]) is labels_lib.Kind.FINDINGS:
    return parts[0].shape[1]
  ignored = labels_lib.IGNORED if labels_lib.kind_of(parts[0]) is labels_lib.Kind.MASK else -1
  return 1 + max(int(part.max(initial=0, where=part != ignored)) for part in parts)
