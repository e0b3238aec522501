"""Generates images of ten coloured shapes (32x32x3): a small stand-in for CIFAR in tests.

Shapes have superclasses, so the set can also be used with the Pachinko partition. It has no clients of its own.
"""

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data import images
from tff_vision.data.generators import cache
from tff_vision.data.sources.pool import Pool

CLASSES = ('disc', 'ring', 'crescent', 'triangle', 'square', 'pentagon', 'star', 'cross', 'bars', 'checkers')
# Round, polygons, pointed, patterns.
COARSE_OF_CLASS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3], np.int32)
_VERSION = 2
_SIDE = 32
_BATCH = 200
_TRAIN, _TEST = 6000, 1000
_LEAST_CONTRAST = 0.25


def load(config: configs.DataConfig) -> Pool:
  """Returns 6,000 training and 1,000 test images. They do not depend on the run's seed."""
  return pool(seed=0, data_dir=config.data_dir)


def load_sizes(config: configs.DataConfig) -> Pool:
  """Returns the same images with the diameter of each shape as a number, in pixels: 12.8 to 24."""
  shapes = load(config)
  parts = {split: images.Examples(getattr(shapes, split).x, _diameters(0, split, len(getattr(shapes, split))))
           for split in ('train', 'test')}
  return Pool(**parts, class_names=('size',), coarse_labels=shapes.coarse_labels)


def _diameters(seed, split, number):
  """Returns what `draw` has drawn as sizes, [number] float32, in pixels."""
  found = []
  for start in range(0, number, _BATCH):
    rng = np.random.default_rng(seeds.derive(seed, 'synthetic_shapes', split, start))
    found.append(_turns_and_sizes(rng, min(_BATCH, number - start))[1].ravel())
  return (_SIDE * np.concatenate(found)).astype(np.float32)


def pool(*, seed: int, train: int = _TRAIN, test: int = _TEST, data_dir: str | None = None) -> Pool:
  """Draws `train` and `test` images of balanced classes. This takes a few seconds, and is done once.

  Args:
    seed: Everything depends on it.
    train: Number of training images.
    test: Number of test images.
    data_dir: Where to keep the arrays, if not in the cache.
  """
  name = f'synthetic_shapes-v{_VERSION}-{train}+{test}-s{seed}'
  arrays = cache.load_or_make(name, lambda: _draw_splits(seed, {'train': train, 'test': test}), data_dir)
  return Pool(train=images.Examples(arrays['train_x'], arrays['train_y']),
              test=images.Examples(arrays['test_x'], arrays['test_y']), class_names=CLASSES,
              coarse_labels=COARSE_OF_CLASS[arrays['train_y']])


def draw(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
  """Draws one image for each label.

  Args:
    rng: Source of randomness for position, size, rotation, colours, light and noise.
    labels: [n] class numbers.

  Returns:
    [n, 32, 32, 3] uint8.
  """
  number = (len(labels), 1, 1)
  y, x = np.mgrid[-1:1:_SIDE * 1j, -1:1:_SIDE * 1j][:, None]
  turn, size = _turns_and_sizes(rng, len(labels))
  x, y = x - rng.uniform(-0.25, 0.25, number), y - rng.uniform(-0.25, 0.25, number)
  x, y = (x * np.cos(turn) - y * np.sin(turn)) / size, (x * np.sin(turn) + y * np.cos(turn)) / size
  inside = np.zeros(x.shape)
  for c, depth in enumerate(_DEPTHS):
    mine = labels == c
    # The edge is one pixel wide for shapes of any size.
    inside[mine] = np.clip(0.5 + depth(x[mine], y[mine]) * size[mine] * _SIDE / 2, 0, 1)
  paint, ground = _colours(rng, len(labels))
  light = 1 + 0.25 * (rng.uniform(-1, 1, number) * np.linspace(-1, 1, _SIDE)
                      + rng.uniform(-1, 1, number) * np.linspace(-1, 1, _SIDE)[:, None])
  picture = (inside[..., None] * paint + (1 - inside[..., None]) * ground) * light[..., None]
  picture += rng.normal(0, 0.04, picture.shape)
  return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


def _turns_and_sizes(rng, number):
  """Returns angles, and radii as shares of half a side, [number, 1, 1]; they are drawn before anything else."""
  return rng.uniform(-np.pi, np.pi, (number, 1, 1)), rng.uniform(0.4, 0.75, (number, 1, 1))


def _colours(rng, number):
  """Returns colours of shapes and of backgrounds, [number, 1, 1, 3] each, that the eye can distinguish."""
  paint, ground = rng.uniform(0.05, 0.95, (2, number, 3))
  apart = paint - ground
  length = np.linalg.norm(apart, axis=1, keepdims=True)
  paint = ground + apart * np.maximum(1, _LEAST_CONTRAST * np.sqrt(3) / np.maximum(length, 1e-6))
  return paint[:, None, None], ground[:, None, None]


def _polygon(corners):
  """Returns the depth of a point inside a regular polygon that touches the unit circle."""
  def depth(x, y):
    angle = np.mod(np.arctan2(y, x), 2 * np.pi / corners) - np.pi / corners
    return np.cos(np.pi / corners) - np.hypot(x, y) * np.cos(angle)
  return depth


def _star(x, y):
  angle = np.abs(np.mod(np.arctan2(y, x), 2 * np.pi / 5) - np.pi / 5) / (np.pi / 5)
  return (0.42 + 0.58 * angle) - np.hypot(x, y)


def _cross(x, y):
  x, y = np.abs(x), np.abs(y)
  return np.maximum(np.minimum(0.3 - x, 0.95 - y), np.minimum(0.3 - y, 0.95 - x))


def _within_square(x, y):
  return 0.85 - np.maximum(np.abs(x), np.abs(y))


# The depth of a point inside each shape, in radii; negative outside.
_DEPTHS = (
    lambda x, y: 0.9 - np.hypot(x, y),
    lambda x, y: 0.25 - np.abs(np.hypot(x, y) - 0.7),
    lambda x, y: np.minimum(0.95 - np.hypot(x, y), np.hypot(x - 0.45, y) - 0.75),
    _polygon(3), _polygon(4), _polygon(5), _star, _cross,
    lambda x, y: np.minimum(_within_square(x, y), 0.15 - np.abs(np.mod(y + 0.85, 0.6) - 0.3)),
    lambda x, y: np.minimum(_within_square(x, y), 0.5 * np.sign(x * y)),
)


def _draw_splits(seed, sizes):
  arrays = {}
  for split, number in sizes.items():
    labels = np.random.default_rng(seeds.derive(seed, 'synthetic_shapes', split)).permutation(
        np.arange(number) % len(CLASSES)).astype(np.int32)
    arrays[f'{split}_y'] = labels
    arrays[f'{split}_x'] = np.concatenate([
        draw(np.random.default_rng(seeds.derive(seed, 'synthetic_shapes', split, start)), labels[start:start + _BATCH])
        for start in range(0, number, _BATCH)])
  return arrays
