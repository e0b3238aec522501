"""Generates handwriting of many writers: 62 characters, 28x28, in the form of federated EMNIST.

A writer has a main alphabet, with a quarter of the characters from other alphabets. A writer also has slant, rotation,
size, proportions, pen width, ink, a smooth warp of the plane, tremor, and an amount by which all this varies from one
character to the next. Images are upright, with light paper (255) and dark ink (0): the convention of TFF's EMNIST
(Caldas et al. 2018, arXiv:1812.01097), in uint8.
"""

import dataclasses
import math

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data.generators import cache, glyphs
from tff_vision.data.images import Examples
from tff_vision.data.sources.pool import Pool

_VERSION = 1
_SIDE = 28
_TEST_FRACTION = 0.15
_WRITERS = 100
# In the order of `glyphs.fonts()`; the plainest fonts are the most common.
_FONT_WEIGHTS = (5, 4, 2, 1.5, 2, 2, 1, 1, 0.7, 1)
_ALLOGRAPHS = 0.25
_WAVES = 3


def load(config: configs.DataConfig) -> Pool:
  """Returns the writers that `config` asks for; with partition=natural, one fifth more writers that never train.

  The data does not depend on the run's seed. A partition other than natural divides the characters of 100 writers.
  """
  if config.partition != 'natural':
    return pool(num_clients=_WRITERS, seed=0, data_dir=config.data_dir)
  trained = config.num_clients or _WRITERS
  unseen = math.ceil(trained / 5) if config.held_out_clients is None else config.held_out_clients
  found = pool(num_clients=trained + unseen, seed=0, data_dir=config.data_dir)
  return dataclasses.replace(found, unseen_clients=unseen)


def pool(*, num_clients: int, seed: int, examples_per_client: int = 100, heterogeneity: float = 1.0,
         data_dir: str | None = None) -> Pool:
  """Draws writers. This takes seconds for 100 writers with about 100 characters each, and is done once.

  Args:
    num_clients: How many writers.
    seed: A writer depends only on it and on the writer's number.
    examples_per_client: Mean number of characters; sizes are log-normal, between 12 and 418 (EMNIST's largest).
      `_TEST_FRACTION` of each writer's characters, at least one, are test examples.
    heterogeneity: Scales how much writers differ; 0 makes them alike.
    data_dir: Where to keep the arrays, if not in the cache.
  """
  name = f'synthetic_emnist-v{_VERSION}-{num_clients}x{examples_per_client}-h{heterogeneity:g}-s{seed}'
  arrays = cache.load_or_make(name, lambda: _draw(num_clients, seed, examples_per_client, heterogeneity), data_dir)
  return Pool(train=Examples(arrays['train_x'], arrays['train_y']),
              test=Examples(arrays['test_x'], arrays['test_y']), class_names=tuple(glyphs.CHARACTERS),
              train_owners=arrays['train_owners'], test_owners=arrays['test_owners'],
              notes=('synthetic_emnist is drawn from the Hershey fonts (by Dr. A. V. Hershey, U. S. National Bureau '
                     'of Standards); it is not the handwriting of real people.',))


@dataclasses.dataclass(frozen=True)
class Style:
  """Properties shared by all characters of one writer; lengths in pixels of a 28x28 image, angles in radians."""
  alphabet: tuple[str, ...]  # The font of each of the 62 characters.
  slant: float
  rotation: float
  size: float
  aspect: float
  pen: float
  ink: float
  softness: float
  tremor: float
  carelessness: float
  warp: np.ndarray  # [_WAVES, 2] amplitudes
  phase: np.ndarray  # [_WAVES, 2]
  offset: np.ndarray  # [2]


def draw_style(rng: np.random.Generator, heterogeneity: float = 1.0) -> Style:
  """Draws the style of one person at random."""
  h = heterogeneity
  weights = np.array(_FONT_WEIGHTS) / sum(_FONT_WEIGHTS)
  fonts = rng.choice(glyphs.fonts(), p=weights, size=1 + len(glyphs.CHARACTERS))
  borrowed = rng.random(len(glyphs.CHARACTERS)) < _ALLOGRAPHS * min(h, 1)
  return Style(
      alphabet=tuple(np.where(borrowed, fonts[1:], fonts[0] if h else glyphs.fonts()[0])),
      slant=rng.normal(0, 0.22) * h, rotation=rng.normal(0, 0.06) * h,
      size=np.clip(1 + rng.normal(0, 0.12) * h, 0.65, 1.25), aspect=np.exp(rng.normal(0, 0.13) * h),
      pen=np.clip(1.05 * np.exp(rng.normal(0, 0.32) * h), 0.5, 2.2), ink=np.clip(rng.normal(0.95, 0.08 * h), 0.6, 1),
      softness=np.clip(rng.normal(0.8, 0.25 * h), 0.4, 1.6),
      tremor=np.clip(rng.lognormal(np.log(0.45), 0.5 * h), 0.1, 1.6),
      carelessness=np.clip(rng.lognormal(0, 0.4 * h), 0.3, 2.2), warp=rng.normal(0, 0.7 * h, (_WAVES, 2)),
      phase=rng.uniform(0, 2 * np.pi, (_WAVES, 2)), offset=rng.normal(0, 0.9 * h, 2))


def write(style: Style, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """Writes characters in one person's hand.

  Args:
    style: The person.
    labels: [n] class numbers.
    rng: Source of the random variation from one character to the next.

  Returns:
    [n, 28, 28, 1] uint8, 255 paper, 0 full ink.
  """
  strokes = [glyphs.points(style.alphabet[label], glyphs.CHARACTERS[label]) for label in labels]
  lengths = [len(points) for points in strokes]
  inked = np.split(_bend(style, np.concatenate(strokes), lengths, rng), np.cumsum(lengths)[:-1])
  distance = np.stack([_distance(points) for points in inked])
  n = len(labels)
  pen = (style.pen * np.exp(rng.normal(0, 0.1, n)))[:, None, None]
  ink = np.clip(style.ink + rng.normal(0, 0.03, n), 0, 1)[:, None, None]
  covered = np.clip((pen - distance) / style.softness + 0.5, 0, 1) * ink
  return np.rint(255 * (1 - covered)).astype(np.uint8)[..., None]


def _bend(style, points, lengths, rng):
  """Maps the points of n ideal glyphs, [points, 2] in font units, to this person's positions, in pixels."""
  n = len(lengths)
  spread = lambda per_glyph: np.repeat(per_glyph.astype(np.float32), lengths, axis=0)
  normal = lambda scale, *shape: rng.normal(0, scale, (n, *shape))
  scale = 0.82 * style.size * np.exp(normal(0.05))
  x = points[:, 0] * spread(scale * style.aspect * np.exp(normal(0.05)))
  y = points[:, 1] * spread(scale)
  x = x - spread(style.slant + normal(0.06)) * y
  angle = spread(style.rotation + normal(0.05))
  x, y = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
  for k in range(1, _WAVES + 1):
    amplitude = spread((style.warp[k - 1] + 0.45 * style.carelessness * normal(1, 2)) / k)
    phase = spread(style.phase[k - 1] + normal(0.5, 2))
    x, y = _wave(x, y, 0.12 * k * np.ones((1, 2), np.float32), phase, amplitude)
  x, y = _wave(x, y, spread(rng.uniform(0.5, 1.1, (n, 2))), spread(rng.uniform(0, 2 * np.pi, (n, 2))),
               np.full((1, 2), 0.35 * style.tremor, np.float32))
  moved = np.stack([x, y], axis=1) + spread(_SIDE / 2 + 0.6 * style.offset + normal(0.6, 2))
  return moved.astype(np.float32)


def _wave(x, y, frequency, phase, amplitude):
  """Displaces each axis by a sine of the other one."""
  return (x + amplitude[:, 0] * np.sin(frequency[:, 0] * y + phase[:, 0]),
          y + amplitude[:, 1] * np.sin(frequency[:, 1] * x + phase[:, 1]))


def _distance(points):
  """Returns [28, 28] distances from pixel centres to the nearest of [points, 2], from the squares along each axis."""
  centres = np.arange(_SIDE, dtype=np.float32)[:, None] + 0.5
  across = np.square(centres - points[:, 0])
  down = np.square(centres - points[:, 1])
  return np.sqrt((down[:, None, :] + across[None, :, :]).min(axis=-1))


def _draw(num_clients, seed, examples_per_client, heterogeneity):
  parts = {name: [] for name in ('train_x', 'train_y', 'train_owners', 'test_x', 'test_y', 'test_owners')}
  for client in range(num_clients):
    rng = np.random.default_rng(seeds.derive(seed, 'synthetic_emnist', client))
    style = draw_style(rng, heterogeneity)
    size = int(np.clip(rng.lognormal(np.log(examples_per_client) - 0.1, 0.45), 12, 418))
    labels = rng.integers(0, len(glyphs.CHARACTERS), size).astype(np.int32)
    written = write(style, labels, rng)
    cut = max(1, round(_TEST_FRACTION * size))
    for which, of in ('test', slice(cut)), ('train', slice(cut, None)):
      parts[f'{which}_x'].append(written[of])
      parts[f'{which}_y'].append(labels[of])
      parts[f'{which}_owners'].append(np.full(len(labels[of]), f'writer_{client:04d}'))
  return {name: np.concatenate(arrays) for name, arrays in parts.items()}
