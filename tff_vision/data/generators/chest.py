"""Generates chest films of three hospitals that differ in scanner, prevalence and markers.

The marker identifies the hospital, and so tells the odds of disease: a shortcut that a model trained at one place
learns and that fails elsewhere. Films are phantoms (see `chest_anatomy`), for experiments and never for diagnosis.
"""

import dataclasses

import numpy as np

from tff_vision import configs, seeds
from tff_vision.data import images
from tff_vision.data.generators import cache, chest_anatomy
from tff_vision.data.sources.pool import Pool

SIZES = (28, 64)
_VERSION = 1
_BATCH = 100  # Number of films drawn at once: the memory they need fits into the processor's cache.
_MAIN_FINDING = (0.5, 0.25, 0.15, 0.10)
_SECOND_FINDING = 0.2
_REFERENCE = 64  # Lengths of scanners are given in pixels of films of this size.
_LETTERS = {'R': ('1110', '1001', '1110', '1010', '1001'), 'L': ('1000', '1000', '1000', '1000', '1111')}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hospital:
  """One hospital, which is one client.

  Attributes:
    train, test: Numbers of films for training and for testing.
    prevalence: Share of films with a finding.
    gain, offset, gamma: Parameters of the detector: (gain * exposure + offset) ** gamma.
    noise: Standard deviation of quantum noise at full exposure; it grows with the square root of exposure.
    blur: Standard deviation of the focal spot, in pixels of a film of 64.
    vignette: Loss of light in the corners.
    marker: Letter in the corner, or ''.
    collimation: Largest dark border, as a share of the film.
  """
  train: int
  prevalence: float
  gain: float = 1.0
  offset: float = 0.0
  gamma: float = 1.0
  noise: float
  blur: float
  vignette: float
  marker: str = ''
  collimation: float = 0.0
  test: int = 400


HOSPITALS = {
    'north': Hospital(train=1200, prevalence=0.25, noise=0.020, blur=0.5, vignette=0.05, marker='R'),
    'coast': Hospital(train=500, prevalence=0.50, gain=0.80, offset=0.06, gamma=1.45, noise=0.055, blur=0.9,
                      vignette=0.20, collimation=0.05),
    'metro': Hospital(train=800, prevalence=0.70, gain=1.20, offset=-0.04, gamma=0.75, noise=0.035, blur=0.3,
                      vignette=0.10, marker='L', collimation=0.10),
}


def load(config: configs.DataConfig) -> Pool:
  """Returns films that are normal or abnormal; image_size is 28 (the default) or 64."""
  return _load(config, multi_label=False)


def load_findings(config: configs.DataConfig) -> Pool:
  """Returns the same films with the four findings of `chest_anatomy.FINDINGS` as labels; some have two or none."""
  return _load(config, multi_label=True)


def load_large(config: configs.DataConfig) -> Pool:
  """Returns films of the same hospitals with four times as many for training: 4,800, 2,000 and 3,200."""
  return _load(config, multi_label=False, times=4)


def load_lungs(config: configs.DataConfig) -> Pool:
  """Returns the films of `load` with masks of the lungs as labels."""
  size = _size(config.image_size)
  arrays = cache.load_or_make(f'synthetic_chest_lungs-v{_VERSION}-{size}-s0', lambda: _draw(0, size, masks=True),
                              config.data_dir)
  parts = [images.Examples(arrays[f'{split}_x'], arrays[f'{split}_lungs']) for split in ('train', 'test')]
  return _pool(*parts, arrays, ('background', 'lung'))


def pool(*, seed: int, size: int = 28, multi_label: bool = False, data_dir: str | None = None, times: int = 1) -> Pool:
  """Draws the films of three hospitals. This takes seconds at 28 pixels, and is done once.

  Args:
    seed: Everything depends on it.
    size: One of `SIZES`.
    multi_label: Whether labels are findings, or 0 for normal and 1 for abnormal.
    data_dir: Where to keep the arrays, if not in the cache.
    times: Factor on the number of training films of each hospital.

  Raises:
    ValueError: There is no such size.
  """
  _size(size)
  arrays = cache.load_or_make(f'synthetic_chest-v{_VERSION}-{size}-s{seed}' + (f'-x{times}' if times > 1 else ''),
                              lambda: _draw(seed, size, times), data_dir)
  parts = {}
  for split in ('train', 'test'):
    findings = arrays[f'{split}_findings']
    labels = findings.astype(np.float32) if multi_label else findings.any(axis=1).astype(np.int32)
    parts[split] = images.Examples(arrays[f'{split}_x'], labels)
  return _pool(parts['train'], parts['test'], arrays,
               chest_anatomy.FINDINGS if multi_label else ('normal', 'abnormal'))


def _size(size):
  """Returns the size of films, the smallest if none is given."""
  if size is not None and size not in SIZES:
    raise ValueError(f'image_size={size} is no size of synthetic_chest; choose {" or ".join(map(str, SIZES))}.')
  return size or SIZES[0]


def _pool(train, test, arrays, class_names):
  return Pool(train=train, test=test, train_owners=arrays['train_owners'], test_owners=arrays['test_owners'],
              class_names=class_names, preprocessing=images.Preprocessing(pixels='per_image'),
              notes=('synthetic_chest holds drawings, not films of patients: nothing learned from it serves '
                     'diagnosis.',))


def _load(config, multi_label, times=1):
  return pool(seed=0, size=_size(config.image_size), multi_label=multi_label, data_dir=config.data_dir,
              times=times)


def _draw(seed, size, times=1, masks=False):
  named = 'lungs' if masks else 'findings'
  parts = {f'{split}_{what}': [] for split in ('train', 'test') for what in ('x', named, 'owners')}
  for name, hospital in HOSPITALS.items():
    for split, number in (('train', times * hospital.train), ('test', hospital.test)):
      for start in range(0, number, _BATCH):
        rng = np.random.default_rng(seeds.derive(seed, 'synthetic_chest', name, split, start))
        films = min(_BATCH, number - start)
        findings = _diagnose(rng, films, hospital.prevalence)
        severity = rng.beta(1.5, 1.5, films)
        ideal, lungs = chest_anatomy.draw_with_lungs(rng, findings, severity, size)
        parts[f'{split}_x'].append(scan(rng, ideal, hospital))
        parts[f'{split}_{named}'].append(lungs.astype(np.uint8) if masks else findings)
        parts[f'{split}_owners'].append(np.full(films, name))
  return {name: np.concatenate(arrays) for name, arrays in parts.items()}


def _diagnose(rng, films, prevalence):
  """Returns [films, findings] of bool; each film has no, one or two findings."""
  number = len(chest_anatomy.FINDINGS)
  ill = rng.random(films) < prevalence
  main = np.eye(number, dtype=bool)[rng.choice(number, films, p=_MAIN_FINDING)]
  second = np.eye(number, dtype=bool)[rng.integers(0, number, films)] & (rng.random((films, 1)) < _SECOND_FINDING)
  return ill[:, None] & (main | second)


def scan(rng: np.random.Generator, film: np.ndarray, hospital: Hospital) -> np.ndarray:
  """Returns the images that a hospital's scanner gives of ideal films.

  Args:
    rng: Source of randomness for exposure, noise and the place of the border.
    film: [films, size, size] float.
    hospital: The hospital that has the scanner.

  Returns:
    [films, size, size, 1] uint8.
  """
  from scipy import ndimage  # Imported late: only drawing needs it.
  films, size, _ = film.shape
  blur = hospital.blur * size / _REFERENCE
  seen = ndimage.gaussian_filter(film, (0, blur, blur), mode='nearest')
  exposure = np.clip(seen * hospital.gain + hospital.offset + rng.normal(0, 0.02, (films, 1, 1)), 0, None)
  seen = exposure ** (hospital.gamma * np.exp(rng.normal(0, 0.06, (films, 1, 1))))
  y, x = np.mgrid[-1:1:size * 1j, -1:1:size * 1j]
  seen = seen * (1 - hospital.vignette * (x**2 + y**2) / 2)
  seen = seen + hospital.noise * rng.standard_normal(seen.shape) * np.sqrt(np.clip(seen, 0.05, 1))
  marker = _marker(hospital.marker, size)
  seen = seen * (1 - marker) + 0.95 * marker
  border = hospital.collimation * size * rng.uniform(0.5, 1, (films, 1, 1))
  inside = np.minimum(*(np.minimum(at, size - 1 - at) for at in np.mgrid[:size, :size])) >= np.floor(border)
  return np.rint(255 * np.clip(np.where(inside, seen, 0.02), 0, 1)).astype(np.uint8)[..., None]


def _marker(letter, size):
  """Returns [size, size], the share of each pixel that the letter covers."""
  template = np.zeros((_REFERENCE, _REFERENCE))
  for row, bits in enumerate(_LETTERS.get(letter, ())):
    for column, bit in enumerate(bits):
      template[4 + row, 4 + column] = int(bit)
  cuts = np.linspace(0, _REFERENCE, size + 1)
  covered = np.clip(np.minimum(cuts[1:, None], np.arange(1, _REFERENCE + 1))
                    - np.maximum(cuts[:-1, None], np.arange(_REFERENCE)), 0, None) * size / _REFERENCE
  return covered @ template @ covered.T
