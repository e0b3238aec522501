"""Stored images as small PNG files, for pages."""

import io
from collections.abc import Sequence

import numpy as np

MAX_PIXELS = 128


def displayable(x: np.ndarray) -> np.ndarray:
  """Returns [n, height, width, 1 or 3] uint8; if float pixels leave [0, 1], all are rescaled together to the range.

  Of other numbers of channels, such as the slices of a volume, the middle one is shown.
  """
  if x.shape[-1] not in (1, 3):
    x = x[..., x.shape[-1] // 2, np.newaxis]
  step = -(-max(x.shape[1:3]) // MAX_PIXELS)
  x = x[:, ::step, ::step]
  if x.dtype == np.uint8:
    return x
  x = np.nan_to_num(x)
  low, high = min(x.min(), 0.0), max(x.max(), 1.0)
  return np.round(255 * (x - low) / (high - low)).astype(np.uint8)


def png(x: np.ndarray) -> bytes:
  """Returns the PNG of an image, [height, width, 1 or 3] uint8."""
  from matplotlib import image  # Imported late: it loads slowly.
  buffer = io.BytesIO()
  image.imsave(buffer, np.repeat(x, 3, axis=-1) if x.shape[-1] == 1 else x, format='png',
               metadata={'Software': None})
  return buffer.getvalue()


def label(y: np.ndarray, class_names: Sequence[str]) -> str:
  """Returns the name of an image's class, or of all its findings."""
  if y.ndim == 0:
    return str(class_names[y])
  return ', '.join(str(class_names[i]) for i in np.flatnonzero(y)) or 'no finding'
