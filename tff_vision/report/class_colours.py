"""Colours of the classes of masks, as in charts: in reports, overlays and the palettes of mask files."""

import colorsys

import numpy as np

from tff_vision import labels
from tff_vision.report import palette as palette_lib

_GOLDEN = 0.618034  # Consecutive hues are far apart.
_NOT_COUNTED = (200, 200, 200)


def palette(number: int) -> np.ndarray:
  """Returns the colours of `number` classes, uint8 [number, 3]: class 0 is black, and `labels.IGNORED` grey."""
  made = [(0, 0, 0), *(tuple(bytes.fromhex(colour[1:])) for colour in palette_lib.CLASS_COLORS)]
  for place in range(len(made), number):
    made.append(tuple(round(255 * part) for part in colorsys.hsv_to_rgb(place * _GOLDEN % 1, 0.65, 0.85)))
  colours = np.array(made[:number], np.uint8)
  if number > labels.IGNORED:
    colours[labels.IGNORED] = _NOT_COUNTED
  return colours
