"""Renders chest films as sums of soft shapes: random patients, as an ideal scanner would see them.

x runs to the right of the film and y down, both from -1 to 1; bright is dense. A batch of films has its parameters
in arrays of [films, 1, 1] and its images in [films, size, size], float32 throughout.
"""

import dataclasses

import numpy as np

FINDINGS = ('consolidation', 'effusion', 'nodule', 'cardiomegaly')
_CONSOLIDATION, _EFFUSION, _NODULE, _CARDIOMEGALY = range(4)
_SIDES = (-1, 1)
_RIBS = 8
_VESSELS = 7  # Number of vessels on each side.


@dataclasses.dataclass(frozen=True)
class _Lung:
  """One lung of each film: its mask and its position."""
  side: int
  mask: np.ndarray
  x: np.ndarray
  y: np.ndarray
  width: np.ndarray
  height: np.ndarray
  floor: np.ndarray  # [films, size, size] y of the diaphragm below each column.


def draw(rng: np.random.Generator, findings: np.ndarray, severity: np.ndarray, size: int) -> np.ndarray:
  """Draws one patient for each row of findings.

  Args:
    rng: Source of randomness.
    findings: [films, 4] of bool in the order of `FINDINGS`.
    severity: [films] in 0..1: how large or dense the findings are.
    size: Height and width in pixels.

  Returns:
    [films, size, size] float32, about 0..1.
  """
  return draw_with_lungs(rng, findings, severity, size)[0]


def draw_with_lungs(rng: np.random.Generator, findings: np.ndarray, severity: np.ndarray, size: int
                    ) -> tuple[np.ndarray, np.ndarray]:
  """Returns the films of `draw`, and where their lungs are: [films, size, size] of bool.

  Lungs count as such also behind the heart and under findings.
  """
  chance = _Chance(rng, len(findings))
  has = findings[:, :, None, None].astype(np.float32)
  severity = severity[:, None, None].astype(np.float32)
  x, y = _position(chance, size)
  torso = _edge(np.abs(x) / (0.97 - 0.24 * np.clip(-y - 0.55, 0, 1)) - 1, 0.05)
  heart = _heart(chance, x, y, np.where(has[:, _CARDIOMEGALY] > 0, 1.38 + 0.35 * severity,
                                        1 + np.abs(chance.normal(0.07))))
  mediastinum = _edge(np.abs(x + chance.normal(0.01)) / (0.13 + 0.05 * np.clip(y, -0.2, 1)) - 1, 0.14)
  lungs = _lungs(chance, x, y)
  air = np.maximum(*(lung.mask for lung in lungs))
  film = 0.05 + 0.62 * torso - 0.43 * air * (1 - 0.85 * heart) * (1 - 0.8 * mediastinum) + 0.10 * heart
  film += 0.10 * mediastinum * (1 + 0.25 * np.sin(26 * y + chance.uniform(0, 6))) * (y < 0.9)
  film += _bones(chance, x, y, torso) + _vessels(chance, x, y)
  film += air * sum(amplitude * _texture(rng, len(findings), size, grain)
                    for grain, amplitude in ((16, 0.02), (6, 0.012), (3, 0.010)))
  # Opacities replace air: they stay inside the lung and outside the heart's shadow.
  for finding, opacity in ((_CONSOLIDATION, _consolidation), (_EFFUSION, _effusion), (_NODULE, _nodule)):
    left = rng.random((len(findings), 1, 1)) < 0.5
    shades = [opacity(chance, x, y, lung, severity) * lung.mask for lung in lungs]
    film += has[:, finding] * np.where(left, *shades) * (1 - 0.8 * heart)
  return np.clip(film, 0, 1.1), air > 0.5


class _Chance:
  """Random numbers, one for each film."""

  def __init__(self, rng, films):
    self._rng, self._shape = rng, (films, 1, 1)

  def normal(self, deviation: float) -> np.ndarray:
    return self._rng.normal(0, deviation, self._shape).astype(np.float32)

  def uniform(self, low: float, high: float) -> np.ndarray:
    return self._rng.uniform(low, high, self._shape).astype(np.float32)


def _edge(distance, softness):
  """Returns 1 where `distance` is well below zero, 0 where it is well above."""
  return 1 / (1 + np.exp(np.clip(distance / softness, -30, 30)))


def _blob(x, y, width, height):
  return np.exp(-np.square(x / width) - np.square(y / height))


def _position(chance, size):
  """Returns the patients' own coordinates: tilted, off centre, small or large."""
  y, x = (grid[None].astype(np.float32) for grid in np.mgrid[-1:1:size * 1j, -1:1:size * 1j])
  tilt, large = chance.normal(0.04), np.exp(chance.normal(0.08))
  return ((x * np.cos(tilt) - y * np.sin(tilt) + chance.normal(0.04)) / large,
          (y * np.cos(tilt) + x * np.sin(tilt) + chance.normal(0.05)) / large)


def _heart(chance, x, y, scale):
  across = (x - 0.12 - chance.normal(0.02)) / (0.33 * scale)
  down = (y - 0.33 - chance.normal(0.03)) / (0.30 * (0.6 + 0.4 * scale))
  return _edge(np.square(across) + np.square(down) - 1, 0.16)


def _lungs(chance, x, y):
  breath = chance.normal(0.06)
  lungs = []
  for side in _SIDES:  # The lung on the heart's side is the smaller one, and its diaphragm is lower.
    centre_x, centre_y = side * (0.45 + chance.normal(0.02)), -0.08 + chance.normal(0.02)
    width, height = 0.31 + chance.normal(0.02) - 0.02 * (side > 0), 0.68 + breath + chance.normal(0.02)
    taper = np.clip(1 + 0.28 * (y - centre_y) / height, 0.4, 1.5)
    body = (np.abs(x - centre_x) / (width * taper)) ** 2.4 + (np.abs(y - centre_y) / height) ** 2.6 - 1
    base = centre_y + 0.72 * height + (0.04 if side > 0 else -0.02)
    floor = base + 0.16 - 0.16 * np.clip(1 - np.square((x - centre_x) / (1.2 * width)), 0, 1)
    lungs.append(_Lung(side, _edge(body, 0.13) * _edge(y - floor, 0.035), centre_x, centre_y, width, height, floor))
  return lungs


def _bones(chance, x, y, torso):
  """Returns ribs (back and front) and clavicles."""
  raised, bright = chance.normal(0.03), 0.05 + chance.normal(0.012)
  aside = np.abs(x)
  bones = (0.10 * np.exp(-np.square((y + 0.70 + 0.13 * (aside - 0.1) - raised) / 0.03))
           * ((aside > 0.08) & (aside < 0.8)))
  for rib in range(_RIBS):
    top = -0.78 + 0.175 * rib + raised
    behind = np.exp(-np.square((y - top - 0.30 * aside**1.6 - 0.03 * rib * aside) / 0.028))
    front = np.exp(-np.square((y - top - 0.12 + 0.22 * aside) / 0.022))
    bones = bones + bright * torso * (aside > 0.11) * (behind * np.clip(1.25 - aside, 0, 1) + 0.5 * front)
  return bones


def _vessels(chance, x, y):
  """Returns the vessels that leave the hila, thinner outwards: every film has them, and they look like findings."""
  brightest = np.zeros_like(x)
  for side in _SIDES:
    for _ in range(_VESSELS):
      angle, length = chance.normal(0.75), chance.uniform(0.15, 0.5)
      along_x, along_y = side * np.cos(angle), np.sin(angle)
      from_x, from_y = x - side * 0.17, y - 0.02 - chance.normal(0.05)
      along = np.clip((from_x * along_x + from_y * along_y) / length, 0, 1)
      off = np.square(from_x - along * length * along_x) + np.square(from_y - along * length * along_y)
      brightest = np.maximum(brightest, (1 - 0.7 * along) * np.exp(-off / 0.026**2))
  return chance.uniform(0.05, 0.11) * brightest


def _consolidation(chance, x, y, lung, severity):
  """Returns one or two cloudy patches."""
  patches = np.zeros_like(x)
  for present in (1, chance.uniform(0, 1) < 0.5):
    size = chance.uniform(0.12, 0.26)
    patch = _blob(x - lung.x - chance.uniform(-0.6, 0.6) * lung.width,
                  y - lung.y - chance.uniform(-0.35, 0.75) * lung.height, size, size * chance.uniform(0.7, 1.4))
    cloud = 0.8 + 0.35 * np.sin(chance.uniform(9, 18) * x + chance.uniform(0, 6)) * np.sin(
        chance.uniform(9, 18) * y + chance.uniform(0, 6))
    patches = np.maximum(patches, present * patch * cloud)
  return (0.16 + 0.40 * severity) * patches


def _effusion(chance, x, y, lung, severity):
  """Returns fluid above the diaphragm, higher along the chest wall."""
  outwards = lung.side * (x - lung.x)
  level = lung.floor - (0.16 + 0.46 * severity) + 0.5 * np.square(outwards - 0.6 * lung.width)
  level = level - 0.55 * np.clip(outwards, -0.2, 0.4) + chance.normal(0.02)
  # The fluid lies in the outer part of the chest and becomes thinner towards the heart.
  return 0.36 * _edge(level - y, 0.05) * _edge(-outwards / lung.width - 0.55, 0.08)


def _nodule(chance, x, y, lung, severity):
  size = chance.uniform(0.045, 0.085)
  apart = (np.square(x - lung.x - chance.uniform(-0.6, 0.6) * lung.width)
           + np.square(y - lung.y - chance.uniform(-0.6, 0.5) * lung.height)) / np.square(size)
  return (0.22 + 0.34 * severity) * np.exp(-apart**1.5)


def _texture(rng, films, size, grain):
  """Returns [films, size, size], smooth noise of deviation about 1; `grain` is in pixels of a film of 64."""
  knots = max(2, round(64 / grain) + 1)
  at = np.linspace(0, knots - 1, size)
  weights = np.clip(1 - np.abs(at[:, None] - np.arange(knots)), 0, 1).astype(np.float32)  # Linear interpolation.
  return weights @ rng.standard_normal((films, knots, knots), np.float32) @ weights.T
