"""Numbers as labels, from text and arrays of users' files."""

import math
from collections.abc import Sequence

import numpy as np

from tff_vision.data.sources import heldout

_BINS = 10
_LARGEST = float(np.finfo(np.float32).max)


def parsed(texts: Sequence[str], what: Sequence[str]) -> np.ndarray:
  """Returns numbers that are written as text, [n] float32.

  Args:
    texts: The text of each.
    what: The place of each, for error messages: one text, or `n` of them.

  Raises:
    ValueError: A text is no finite number.
  """
  found = np.zeros(len(texts), np.float32)
  for place, text in enumerate(texts):
    try:
      number = float(text)
    except ValueError:
      number = math.nan
    if not abs(number) <= _LARGEST or '_' in text:  # Python's own spelling of large numbers, or a slip.
      comma = ' (a decimal point is needed, not a comma)' if ',' in text else ''
      raise ValueError(f'{what[place]}: {text!r} is no number{comma}.')
    found[place] = number
  return found


def of_array(y: np.ndarray, what: str) -> np.ndarray:
  """Returns numbers as labels, [n] float32.

  Raises:
    ValueError: They are not [n] finite numbers.
  """
  if y.ndim == 2 and y.shape[1] == 1:
    y = y[:, 0]
  if y.ndim != 1 or y.dtype.kind not in 'biuf' or not (np.abs(y.astype(np.float64)) <= _LARGEST).all():
    raise ValueError(f'{what} must be [n] finite numbers, one for each image; found {list(y.shape)} of {y.dtype}'
                     f'{" with NaN or infinity" if y.dtype.kind == "f" and y.ndim == 1 else ""}.')
  return y.astype(np.float32)


def strata(y: np.ndarray, groups: int = _BINS) -> np.ndarray:
  """Returns [n] groups of about equal size in the order of the numbers, so that a test set spans their range."""
  edges = np.unique(np.quantile(y, np.linspace(0, 1, groups + 1)[1:-1]))
  return np.searchsorted(edges, y, side='right')


def held_out(y: np.ndarray, fraction: float, *rest: np.ndarray | None) -> np.ndarray:
  """Returns which examples `heldout.stratified` holds out over the range of the numbers; `rest` are its arguments.

  Of few numbers, whose groups are too small to give one each, there are as many groups as examples to hold out.
  """
  found = heldout.stratified(strata(y), fraction, *rest)
  return found if found.any() else heldout.stratified(strata(y, max(1, int(fraction * len(y)))), fraction, *rest)
