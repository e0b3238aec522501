"""The 62 characters of EMNIST as strokes in ten of the Hershey fonts (see NOTICE).

A glyph is stored as pairs of characters. Each character is a coordinate: its code minus the code of 'R'. The pair ' R'
lifts the pen. y grows downwards; capitals are 21 units high.
"""

import functools
import json
import pathlib

import numpy as np

CHARACTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
_FILE = pathlib.Path(__file__).with_name('hershey_glyphs.json')
_STEP = 0.6  # Distance of points along a stroke, in font units: about half a pixel when drawn.


@functools.cache
def fonts() -> tuple[str, ...]:
  """Returns the names of the fonts, the plainest first."""
  return tuple(_encoded())


@functools.cache
def points(font: str, character: str) -> np.ndarray:
  """Returns [points, 2] float32 (x, y) along the strokes of a glyph, `_STEP` apart or closer; read-only.

  Horizontally the origin is the glyph's centre. Vertically it is halfway between the centre of the glyph and the
  centre of the font's capitals: people centre a letter in its box, but keep `p` lower than `b`.
  """
  strokes = [_resample(stroke) for stroke in _decode(_encoded()[font][character])]
  found = np.concatenate(strokes)
  centre = (found.min(axis=0) + found.max(axis=0)) / 2
  found -= [centre[0], 0.5 * (centre[1] - 1.5)]
  found = found.astype(np.float32)
  found.flags.writeable = False
  return found


@functools.cache
def _encoded():
  return json.loads(_FILE.read_text())


def _decode(text):
  pairs = [text[i:i + 2] for i in range(0, len(text), 2)]
  strokes = [[]]
  for pair in pairs:
    if pair == ' R':
      strokes.append([])
    else:
      strokes[-1].append([ord(pair[0]) - ord('R'), ord(pair[1]) - ord('R')])
  return [np.array(stroke, float) for stroke in strokes if len(stroke) > 1]


def _resample(stroke):
  """Returns points at equal distances along a polyline, [corners, 2] -> [points, 2]."""
  lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])
  at = np.linspace(0, lengths[-1], 2 + int(lengths[-1] / _STEP))
  return np.stack([np.interp(at, lengths, stroke[:, axis]) for axis in (0, 1)], axis=1)
