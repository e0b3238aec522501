"""Generates images of machined discs from eight factories, with and without defects (32x32x1).

The layout is that of industrial inspection sets such as MVTec AD (Bergmann et al., CVPR 2019): only good parts for
training, and every kind of defect for testing. Each factory has its own products, light, lens and sensor.
"""

import dataclasses

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data import images
from tff_vision.data.generators import cache
from tff_vision.data.sources.pool import Pool

CLASSES = ('good', 'scratch', 'hole', 'stain', 'chip', 'missing_bore')
_VERSION = 2
_SIDE = 32
_TEST_GOOD, _TEST_OF_EACH_DEFECT = 50, 10
_COVERED = 0.3  # A pixel belongs to a defect if the defect covers more than this share of it.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Factory:
  """One factory, which is one client.

  Attributes:
    train: Number of good parts for training.
    bores: Holes around the centre of each of its products.
    gain, gamma: Parameters of its camera.
    noise: Standard deviation of its sensor's noise.
    blur: Blur of its lens, in pixels.
    light: How much brighter one side of the image is than the other.
  """
  train: int
  bores: tuple[int, ...]
  gain: float
  gamma: float
  noise: float
  blur: float
  light: float


FACTORIES = {
    'aachen': Factory(train=400, bores=(4, 6), gain=1.0, gamma=1.0, noise=0.02, blur=0.5, light=0.1),
    'brno': Factory(train=250, bores=(4, 5), gain=0.85, gamma=1.1, noise=0.03, blur=0.6, light=-0.2),
    'cordoba': Factory(train=150, bores=(5, 6), gain=1.1, gamma=0.9, noise=0.02, blur=0.4, light=0.2),
    'daegu': Factory(train=350, bores=(6, 8), gain=0.9, gamma=1.2, noise=0.04, blur=0.5, light=0.0),
    'esbjerg': Factory(train=100, bores=(5, 8), gain=1.0, gamma=0.85, noise=0.03, blur=0.7, light=0.15),
    'fukuoka': Factory(train=300, bores=(4, 8), gain=1.05, gamma=1.0, noise=0.015, blur=0.4, light=-0.1),
    'guadalajara': Factory(train=200, bores=(4, 5, 6), gain=0.8, gamma=1.0, noise=0.035, blur=0.6, light=0.25),
    'haifa': Factory(train=120, bores=(6, 8), gain=0.95, gamma=1.15, noise=0.025, blur=0.5, light=-0.25),
}


def load(config: configs.DataConfig) -> Pool:
  """Returns the parts, 1,870 for training and 800 for testing. They do not depend on the run's seed."""
  return pool(seed=0, data_dir=config.data_dir)


def pool(*, seed: int, data_dir: str | None = None) -> Pool:
  """Draws the parts of all factories. This takes a second, and is done once.

  Args:
    seed: Everything depends on it.
    data_dir: Where to keep the arrays, if not in the cache.
  """
  arrays = cache.load_or_make(f'synthetic_parts-v{_VERSION}-s{seed}', lambda: _draw(seed), data_dir)
  return Pool(train=images.Examples(arrays['train_x'], arrays['train_y']),
              test=images.Examples(arrays['test_x'], arrays['test_y']), class_names=CLASSES,
              preprocessing=images.Preprocessing(pixels='per_image'),
              train_owners=arrays['train_owners'], test_owners=arrays['test_owners'])


def load_masks(config: configs.DataConfig) -> Pool:
  """Returns parts of the same factories, half of them with a defect, with masks that show where it is."""
  arrays = cache.load_or_make(f'synthetic_parts_masks-v{_VERSION}-s0', _draw_masks, config.data_dir)
  return Pool(train=images.Examples(arrays['train_x'], arrays['train_y']),
              test=images.Examples(arrays['test_x'], arrays['test_y']), class_names=('background', *CLASSES[1:]),
              preprocessing=images.Preprocessing(pixels='per_image'),
              train_owners=arrays['train_owners'], test_owners=arrays['test_owners'])


def photograph(rng: np.random.Generator, labels: np.ndarray, factory: Factory) -> np.ndarray:
  """Returns one image for each label.

  Args:
    rng: Source of randomness for the part's position, its texture, the defect, light and noise.
    labels: [n] numbers of `CLASSES`.
    factory: The factory that has the products and the camera.

  Returns:
    [n, 32, 32, 1] uint8.
  """
  return photograph_with_masks(rng, labels, factory)[0]


def photograph_with_masks(rng: np.random.Generator, labels: np.ndarray, factory: Factory
                          ) -> tuple[np.ndarray, np.ndarray]:
  """Returns the images of `photograph`, and masks: [n, 32, 32] uint8, the part's label where its defect is, else 0."""
  from scipy import ndimage  # Imported late: only drawing needs it.
  n = len(labels)
  number = (n, 1, 1)
  y, x = np.mgrid[-1:1:_SIDE * 1j, -1:1:_SIDE * 1j][:, None]
  x, y = x - rng.normal(0, 0.02, number), y - rng.normal(0, 0.02, number)
  turn = rng.normal(0, 0.04, number)
  x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
  radius = np.hypot(x, y)
  metal = np.minimum(_edge(0.88 - radius), _edge(radius - 0.27))
  bores = rng.choice(factory.bores, n)
  missing = np.where(labels == CLASSES.index('missing_bore'), rng.integers(0, bores), -1)
  whole, filled = metal, np.zeros_like(metal)
  for bore in range(max(factory.bores)):
    angle = 2 * np.pi * bore / bores[:, None, None]
    open_ = _edge(0.11 - np.hypot(x - 0.58 * np.cos(angle), y - 0.58 * np.sin(angle)))
    metal = np.minimum(metal, 1 - open_ * ((bore < bores) & (missing != bore))[:, None, None])
    filled = np.maximum(filled, open_ * (missing == bore)[:, None, None])
  # Turning on a lathe leaves grooves around the centre.
  grooves = (0.04 * np.sin(34 * radius + rng.uniform(0, 2 * np.pi, number))
             + 0.03 * rng.standard_normal((n, _SIDE, _SIDE)))
  surface, damage = _damaged(rng, labels, x, y, 0.72 + grooves)
  chips = _chips(rng, labels, x, y)
  # A defect of the surface shows where there is metal; a chip, where there would be.
  covered = np.maximum.reduce([damage * (metal > 0.5), chips * (whole > 0.5), filled])
  metal = np.minimum(metal, 1 - chips)
  picture = 0.12 * (1 - metal) + surface * metal
  picture *= 1 + factory.light * x + rng.normal(0, 0.03, number)
  picture = ndimage.gaussian_filter(picture, (0, factory.blur, factory.blur), mode='nearest')
  picture = np.clip(factory.gain * picture, 0, None) ** factory.gamma + rng.normal(0, factory.noise, picture.shape)
  masks = np.where(covered > _COVERED, labels[:, None, None], 0).astype(np.uint8)
  return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)[..., None], masks


def _edge(depth):
  """Returns the covered share of a pixel whose centre lies at this depth inside a shape."""
  return np.clip(0.5 + depth * _SIDE / 2, 0, 1)


def _damaged(rng, labels, x, y, surface):
  """Returns the surface with the scratch, hole or stain of each part's class, each with its own strength.

  Also returns the share of each pixel that the defect covers.
  """
  number = (len(labels), 1, 1)
  is_a = lambda name: (labels == CLASSES.index(name))[:, None, None]
  angle, along = rng.uniform(0, 2 * np.pi, number), rng.uniform(0.4, 0.75, number)
  dx, dy = x - along * np.cos(angle), y - along * np.sin(angle)
  direction, strength = rng.uniform(0, np.pi, number), rng.uniform(0.2, 0.5, number)
  across = np.abs(dx * np.sin(direction) - dy * np.cos(direction))
  length = np.abs(dx * np.cos(direction) + dy * np.sin(direction))
  scratch = np.minimum(_edge(0.035 - across), _edge(rng.uniform(0.2, 0.4, number) - length))
  hole = _edge(rng.uniform(0.05, 0.1, number) - np.hypot(dx, dy))
  stain = np.exp(-(dx**2 + dy**2) / (2 * rng.uniform(0.12, 0.22, number) ** 2)) * rng.choice([-1, 1], number)
  covered = is_a('scratch') * scratch + is_a('hole') * hole + is_a('stain') * np.abs(stain)
  return (surface - is_a('scratch') * strength * scratch - is_a('hole') * 0.6 * hole
          - is_a('stain') * 0.6 * strength * stain), covered


def _chips(rng, labels, x, y):
  """Returns the pieces that are broken off the rim."""
  number = (len(labels), 1, 1)
  angle = rng.uniform(0, 2 * np.pi, number)
  chip = _edge(rng.uniform(0.1, 0.2, number) - np.hypot(x - 0.88 * np.cos(angle), y - 0.88 * np.sin(angle)))
  return chip * (labels == CLASSES.index('chip'))[:, None, None]


def _draw(seed):
  parts = {f'{split}_{what}': [] for split in ('train', 'test') for what in ('x', 'y', 'owners')}
  for name, factory in FACTORIES.items():
    test = np.repeat(np.arange(len(CLASSES)), [_TEST_GOOD] + [_TEST_OF_EACH_DEFECT] * (len(CLASSES) - 1))
    for split, labels in (('train', np.zeros(factory.train)), ('test', test)):
      labels = labels.astype(np.int32)
      rng = np.random.default_rng(seeds.derive(seed, 'synthetic_parts', name, split))
      parts[f'{split}_x'].append(photograph(rng, labels, factory))
      parts[f'{split}_y'].append(labels)
      parts[f'{split}_owners'].append(np.full(len(labels), name))
  return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _draw_masks():
  parts = {f'{split}_{what}': [] for split in ('train', 'test') for what in ('x', 'y', 'owners')}
  defects = len(CLASSES) - 1
  for name, factory in FACTORIES.items():
    test = np.repeat(np.arange(len(CLASSES)), [_TEST_GOOD] + [_TEST_OF_EACH_DEFECT] * defects)
    train = np.maximum(np.arange(factory.train) % (2 * defects) - defects + 1, 0)
    for split, labels in (('train', train), ('test', test)):
      rng = np.random.default_rng(seeds.derive(0, 'synthetic_parts:masks', name, split))
      x, y = photograph_with_masks(rng, labels, factory)
      parts[f'{split}_x'].append(x)
      parts[f'{split}_y'].append(y)
      parts[f'{split}_owners'].append(np.full(len(labels), name))
  return {name: np.concatenate(arrays) for name, arrays in parts.items()}
