"""Black and white where only the values of pixels tell them: of floats, 0 and 1, and files of more than 8 bits."""

from collections.abc import Sequence

import numpy as np

_USUAL = ((0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5))
_ROUNDING = 1e-5  # Of the range: so far floats may lie beyond black or white and still be of it.
_WHOLE, _BEYOND = 0.01, 0.05  # Of a range: a client uses the whole of it, or has values beyond it.
_DEPTHS = (255, 1023, 4095, 16383, 65535)


def ends_of(low: float, high: float) -> tuple[float | None, float | None]:
  """Returns black and white of floats in low..high; (None, None) if nothing tells them."""
  return next((ends for ends in _USUAL if _spans(ends, low, high)), (None, None))


def ends_of_whole(high: float) -> tuple[float, float]:
  """Returns black and white of whole numbers in 0..`high` in arrays: of 0 and 1, 1 is white."""
  return 0.0, 1.0 if high == 1 else 255.0


def white_of_depth(high: float) -> float:
  """Returns white of whole numbers up to `high` <= 65535: that of the fewest bits with which sensors write them."""
  return float(next(top for top in _DEPTHS if top >= high))


def refuse(x: np.ndarray, owners: Sequence[str], pixel_range: tuple[float, float] | None, where: str) -> None:
  """Refuses floats as of `difference`, unless `pixel_range` says which values are black and white.

  Raises:
    ValueError: With two owners and their ranges.
  """
  if pixel_range is None and (told := difference(x, owners)):
    raise ValueError(f'{where}: {told}: bring them to one range, or say which values are black and white with '
                     'pixel_range=BLACK,WHITE.')


def difference(x: np.ndarray, owners: Sequence[str]) -> str:
  """Returns a clause on floats of which one owner's use the whole of a usual range and another's go beyond it, or ''.

  Args:
    x: Images, [n, height, width, channels].
    owners: [n] whose each is, in words.
  """
  if x.dtype.kind != 'f' or not x.size:
    return ''
  names, place = np.unique(np.asarray(owners), return_inverse=True)
  low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
  np.minimum.at(low, place, x.min(axis=(1, 2, 3)))
  np.maximum.at(high, place, x.max(axis=(1, 2, 3)))
  for black, white in _USUAL:
    span = white - black
    whole = (np.abs(low - black) <= _WHOLE * span) & (np.abs(high - white) <= _WHOLE * span)
    beyond = (low < black - _BEYOND * span) | (high > white + _BEYOND * span)
    if whole.any() and beyond.any():
      one, other = (np.flatnonzero(which)[0] for which in (whole, beyond))
      return (f'{names[one]} holds floats in {low[one]:.4g}..{high[one]:.4g}, and {names[other]} floats in '
              f'{low[other]:.4g}..{high[other]:.4g}')
  return ''


def _spans(ends, low, high):
  """Whether values in low..high come from the range `ends`. A range other than 0..1 must be used fully to be known."""
  black, white = ends
  rounding = _ROUNDING * (white - black)
  if not black - rounding <= low <= high <= white + rounding:
    return False
  return black == 0 or (low - black < 0.05 * (white - black) and white - high < 0.05 * (white - black))
