"""Generates road scenes of six cameras, with the box and the mask of every car, truck and sign (64x64x3).

Each camera has its own weather, light, lens, horizon and traffic, as carmakers' and cities' recordings differ. The
truth is known to the pixel: a box is the extent of the visible part of an object.
"""

import dataclasses

import numpy as np

from tff_vision import configs, labels, seeds
from tff_vision.data import images
from tff_vision.data.generators import cache, road_scene
from tff_vision.data.sources.pool import Pool

CLASSES = road_scene.KINDS
MASK_CLASSES = ('background', 'road', *CLASSES)
MOST_OBJECTS = 8
_VERSION = 1
_TEST = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
  """One camera, which is one client.

  Attributes:
    train: Number of its training images.
    horizon: The row of the horizon, about.
    objects: The most objects that it tries to place in a scene; 0 up to this number, all equally often.
    mix: The share of cars, trucks and signs.
    light: Factor on brightness.
    tint: Colour of its haze and light.
    haze: Share of the tint at the horizon.
    noise: Standard deviation of its sensor's noise.
    blur: Blur of its lens, in pixels.
    specks: Share of pixels that show snow or rain.
  """
  train: int
  horizon: float
  objects: int
  mix: tuple[float, float, float]
  light: float = 1.0
  tint: tuple[float, float, float] = (0.75, 0.8, 0.85)
  haze: float = 0.1
  noise: float = 0.02
  blur: float = 0.3
  specks: float = 0.0


CAMERAS = {
    'dusk_village': Camera(train=90, horizon=22, objects=5, mix=(0.4, 0.15, 0.45), light=0.75, tint=(0.9, 0.6, 0.4),
                           haze=0.25),
    'foggy_coast': Camera(train=120, horizon=20, objects=5, mix=(0.5, 0.25, 0.25), haze=0.75, blur=0.5),
    'night_suburb': Camera(train=150, horizon=24, objects=5, mix=(0.6, 0.1, 0.3), light=0.35, tint=(0.1, 0.1, 0.2),
                           noise=0.04),
    'rainy_city': Camera(train=180, horizon=26, objects=8, mix=(0.55, 0.2, 0.25), light=0.7, tint=(0.5, 0.55, 0.6),
                         haze=0.35, blur=0.6, specks=0.01),
    'snowy_pass': Camera(train=100, horizon=18, objects=4, mix=(0.35, 0.35, 0.3), tint=(0.95, 0.95, 1.0), haze=0.4,
                         specks=0.03),
    'sunny_highway': Camera(train=200, horizon=20, objects=7, mix=(0.55, 0.35, 0.1), light=1.1),
}


def load(config: configs.DataConfig) -> Pool:
  """Returns 840 training and 240 test scenes with boxes. They do not depend on the run's seed."""
  return pool(seed=0, data_dir=config.data_dir)


def load_masks(config: configs.DataConfig) -> Pool:
  """Returns the same scenes with masks."""
  return pool(seed=0, masks=True, data_dir=config.data_dir)


def pool(*, seed: int, masks: bool = False, data_dir: str | None = None) -> Pool:
  """Draws the scenes of all cameras. This takes some seconds, and is done once.

  Args:
    seed: Everything depends on it.
    masks: Whether labels are masks of `MASK_CLASSES`; otherwise they are boxes of `CLASSES`.
    data_dir: Where to keep the arrays, if not in the cache.
  """
  arrays = cache.load_or_make(f'synthetic_road-v{_VERSION}-s{seed}', lambda: _draw(seed), data_dir)
  kind = 'masks' if masks else 'boxes'
  parts = [images.Examples(arrays[f'{split}_x'], arrays[f'{split}_{kind}']) for split in ('train', 'test')]
  return Pool(train=parts[0], test=parts[1], class_names=MASK_CLASSES if masks else CLASSES,
              preprocessing=images.Preprocessing(pixels='per_image'), train_owners=arrays['train_owners'],
              test_owners=arrays['test_owners'])


def photograph(rng: np.random.Generator, camera: Camera) -> tuple[np.ndarray, road_scene.Scene]:
  """Returns one scene as the camera sees it, [64, 64, 3] uint8, and the scene itself."""
  from scipy import ndimage  # Imported late: only drawing needs it.
  tint = np.array(camera.tint)
  sky = 0.5 * tint + 0.5 * np.array([0.45, 0.65, 0.95]) * rng.uniform(0.9, 1.1)
  ground = np.array([0.35, 0.5, 0.25]) * rng.uniform(0.8, 1.2, 3)
  horizon, number = camera.horizon + rng.normal(0, 1.5), int(rng.integers(camera.objects + 1))
  scene = road_scene.draw(rng, horizon=horizon, number=number, mix=camera.mix, sky=sky, ground=ground)
  seen = scene.picture
  haze = (camera.haze * scene.depth ** 1.5)[..., None]
  seen = (seen * (1 - haze) + tint * haze) * camera.light * rng.uniform(0.9, 1.1)
  seen = ndimage.gaussian_filter(seen, (camera.blur, camera.blur, 0), mode='nearest')
  specks = rng.random(scene.depth.shape) < camera.specks
  seen[specks] = 0.6 * seen[specks] + 0.4
  seen = seen + rng.normal(0, camera.noise, seen.shape)
  return np.rint(255 * np.clip(seen, 0, 1)).astype(np.uint8), scene


def _draw(seed):
  parts = {f'{split}_{what}': [] for split in ('train', 'test') for what in ('x', 'boxes', 'masks', 'owners')}
  for name, camera in CAMERAS.items():
    for split, number in (('train', camera.train), ('test', _TEST)):
      rng = np.random.default_rng(seeds.derive(seed, 'synthetic_road', name, split))
      for _ in range(number):
        x, scene = photograph(rng, camera)
        rows = labels.no_boxes(1, MOST_OBJECTS)[0]
        rows[:len(scene.kinds)] = np.column_stack([scene.boxes / road_scene.SIDE, scene.kinds])
        for what, value in (('x', x), ('boxes', rows), ('masks', scene.mask), ('owners', name)):
          parts[f'{split}_{what}'].append(value)
  return {name: np.stack(values) for name, values in parts.items()}
