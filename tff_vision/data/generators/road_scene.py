"""Draws road scenes: cars, trucks and signs in perspective, with the instance that each pixel shows."""

import dataclasses

import numpy as np

SIDE = 64
KINDS = ('car', 'truck', 'sign')
_LEAST_SHOWN = 12  # Visible pixels of an object that counts.
_MOST_OVERLAP = 0.25  # Of a new object's box with those that are there, over the smaller of the two.
_NEAREST, _FARTHEST = SIDE - 3, 0.3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
  """One road scene without weather.

  Attributes:
    picture: [SIDE, SIDE, 3] in 0..1.
    depth: [SIDE, SIDE] in 0..1, 1 at the horizon and above it; for haze.
    mask: [SIDE, SIDE] uint8: 0 background, 1 road, then 2 + kind.
    boxes: [k, 4] top, left, bottom and right in pixels of the visible part of each object.
    kinds: [k] numbers of `KINDS`.
  """
  picture: np.ndarray
  depth: np.ndarray
  mask: np.ndarray
  boxes: np.ndarray
  kinds: np.ndarray


def draw(rng: np.random.Generator, *, horizon: float, number: int, mix: tuple[float, float, float], sky: np.ndarray,
         ground: np.ndarray) -> Scene:
  """Returns a scene with up to `number` objects; those that would hide others are not drawn.

  Args:
    horizon: The row of the horizon.
    mix: The share of each of `KINDS`.
    sky, ground: Their colours, [3] in 0..1.
  """
  y, x = np.mgrid[:SIDE, :SIDE] + 0.5
  below = np.clip((y - horizon) / (SIDE - horizon), 0, 1)
  vanishing, half_width = SIDE / 2 + rng.normal(0, 6), rng.uniform(24, 34)
  picture = np.where((y < horizon)[..., None], sky * (1 - 0.25 * (y / SIDE))[..., None],
                     ground * (0.8 + 0.2 * below)[..., None])
  road = (y >= horizon) & (np.abs(x - vanishing) < half_width * below)
  picture[road] = 0.35 + 0.08 * below[road][:, None]
  dashes = road & (np.abs(x - vanishing) < 0.03 * half_width * below + 0.3) & (np.floor(4 / (below + 0.12)) % 2 == 0)
  picture[dashes] = 0.85
  instance, mask = np.full((SIDE, SIDE), -1), road.astype(np.uint8)
  placed = _places(rng, number, mix, horizon, vanishing, half_width)
  for index, (kind, row, column, scale) in enumerate(sorted(placed, key=lambda one: one[1])):
    shape = _SHAPES[kind](rng, x - column, row - y, scale)
    for where, colour in shape:
      picture[where], instance[where], mask[where] = colour, index, 2 + kind
  boxes, kinds = _visible(instance, mask)
  return Scene(picture=picture + rng.normal(0, 0.015, picture.shape), depth=1 - below, mask=mask, boxes=boxes,
               kinds=kinds)


def _places(rng, number, mix, horizon, vanishing, half_width):
  """Returns kind, row of the base, column and scale of objects whose extents hardly overlap."""
  placed, extents = [], []
  for _ in range(number):
    kind = int(rng.choice(len(KINDS), p=mix))
    nearness = rng.uniform(_FARTHEST, 1)
    row = horizon + nearness * (_NEAREST - horizon)
    beside = rng.choice([-1, 1]) * rng.uniform(1.1, 1.35) if kind == KINDS.index('sign') else rng.uniform(-0.85, 0.85)
    column = vanishing + beside * half_width * nearness
    scale = 24 * nearness * rng.uniform(0.85, 1.15)
    height, width = _EXTENTS[kind]
    extent = np.array([row - height * scale, column - width * scale / 2, row, column + width * scale / 2])
    if extent[1] > 1 and extent[3] < SIDE - 1 and extent[0] > 1 and all(
        _overlap(extent, other) < _MOST_OVERLAP for other in extents):
      placed.append((kind, row, column, scale))
      extents.append(extent)
  return placed


def _overlap(one, other):
  sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
  areas = [(part[2] - part[0]) * (part[3] - part[1]) for part in (one, other)]
  return np.prod(np.maximum(sides, 0)) / min(areas)


def _visible(instance, mask):
  boxes, kinds = [], []
  for index in range(instance.max() + 1):
    rows, columns = np.nonzero(instance == index)
    if len(rows) >= _LEAST_SHOWN:
      boxes.append((rows.min(), columns.min(), rows.max() + 1, columns.max() + 1))
      kinds.append(mask[rows[0], columns[0]] - 2)
  return np.array(boxes, np.float32).reshape(-1, 4), np.array(kinds, np.int64)


def _within(x, up, left, right, low, high):
  return (x >= left) & (x < right) & (up >= low) & (up < high)


def _vivid(rng):
  colour = rng.uniform(0.05, 0.95, 3)
  colour[rng.integers(3)] = rng.choice([0.05, 0.95])
  return colour


# Height and width of each kind, in scales.
_EXTENTS = ((0.62, 1.0), (1.05, 0.95), (1.1, 0.36))


def _car(rng, x, up, scale):
  """Returns the parts of a car in the order of painting: where each is, and its colour."""
  x, up, paint = x / scale, up / scale, _vivid(rng)
  body = _within(x, up, -0.5, 0.5, 0.1, 0.38)
  cabin = (np.abs(x) < 0.36 - 0.35 * (up - 0.38)) & (up >= 0.38) & (up < 0.62)
  glass = (np.abs(x) < 0.3 - 0.35 * (up - 0.38)) & (up >= 0.42) & (up < 0.56) & (np.abs(x) > 0.02)
  wheels = np.hypot(np.abs(x) - 0.3, up - 0.11) < 0.12
  lamps = (np.abs(np.abs(x) - 0.44) < 0.05) & (up > 0.24) & (up < 0.34)
  return [(body | cabin, paint), (glass, (0.65, 0.8, 0.9)), (lamps, (0.95, 0.9, 0.6)), (wheels, (0.06, 0.06, 0.06))]


def _truck(rng, x, up, scale):
  x, up, paint = x / scale, up / scale, _vivid(rng)
  load = _within(x, up, -0.475, 0.475, 0.3, 1.05)
  rim = load & ~_within(x, up, -0.42, 0.42, 0.36, 0.99)
  bumper = _within(x, up, -0.475, 0.475, 0.12, 0.3)
  wheels = _within(np.abs(x), up, 0.22, 0.42, 0.0, 0.2)
  return [(load, 0.55 + 0.4 * rng.random(3)), (rim, paint), (bumper, paint * 0.7), (wheels, (0.06, 0.06, 0.06))]


def _sign(rng, x, up, scale):
  x, up = x / scale, up / scale
  pole = _within(x, up, -0.04, 0.04, 0.0, 0.78) | ((np.abs(x) * scale < 0.6) & (up >= 0) & (up < 0.78))
  away = np.hypot(x, up - 0.92)
  if rng.random() < 0.5:
    plates = [(away < 0.18, (0.85, 0.08, 0.08)), (away < 0.1, (0.97, 0.97, 0.97))]
  else:
    plates = [(np.maximum(np.abs(x), np.abs(up - 0.92)) < 0.17, (0.1, 0.25, 0.8)), (away < 0.08, (0.97, 0.97, 0.97))]
  return [(pole, (0.5, 0.5, 0.52)), *plates]


_SHAPES = (_car, _truck, _sign)
