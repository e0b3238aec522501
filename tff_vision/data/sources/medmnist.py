"""The twelve 2-D sets of MedMNIST (Yang et al. 2023, doi:10.1038/s41597-022-01721-8), 28 to 224 pixels.

Facts are from MedMNIST 3.0.2, files from https://zenodo.org/records/10519652. The sets do not say which patient or
hospital an image is from, so clients can only be made by a partition of the labels.
"""

import pathlib

import numpy as np

from tff_vision import configs
from tff_vision.catalogue.medmnist import SETS
from tff_vision.data import images
from tff_vision.data.sources import arrays, fetch, pool

_RECORD = 'https://zenodo.org/records/10519652/files'
_OWN_FOLDER = pathlib.Path('~/.medmnist')  # The folder of the package medmnist.
SIZES = (28, 64, 128, 224)


def locate(flag: str, data_dir: str | None) -> tuple[bool, str]:
  """Returns whether any size of the set called `flag` is on this machine, and where it is or how to get it."""
  for size in SIZES:
    remote = remote_file(flag, size)
    path = _folder(data_dir, remote.name) / remote.name
    if path.is_file():
      return True, str(path)
  remote = remote_file(flag, SIZES[0])
  return False, fetch.instructions(remote, fetch.cache_dir(data_dir) / remote.name)


def remote_file(flag: str, size: int) -> fetch.RemoteFile:
  """Returns the file of the set called `flag` with images of `size` pixels.

  Raises:
    ValueError: There is no such size.
  """
  if size not in SIZES:
    raise ValueError(f'image_size={size} is no size of medmnist:{flag}; choose {", ".join(map(str, SIZES))}.')
  name = f'{flag}.npz' if size == SIZES[0] else f'{flag}_{size}.npz'
  return fetch.RemoteFile(url=f'{_RECORD}/{name}?download=1', name=name, instead='--dataset=synthetic_chest',
                          digest=f'md5:{SETS[flag].md5[SIZES.index(size)]}')


def load(flag: str, config: configs.DataConfig) -> pool.Pool:
  """Returns the set called `flag`, which is fetched if necessary."""
  facts = SETS[flag]
  size = config.image_size or SIZES[0]
  remote = remote_file(flag, size)
  path = fetch.fetch(remote, _folder(config.data_dir, remote.name))
  wanted = {f'{split}_{part}' for split in ('train', 'val', 'test') for part in ('images', 'labels')}
  found = arrays.read(path, wanted)
  if missing := wanted - set(found):
    raise ValueError(f'{path} lacks {", ".join(sorted(missing))}.')
  train, validation, test = (_examples(facts, found, split, size, path) for split in ('train', 'val', 'test'))
  notes = (f'Licence of medmnist:{flag}: {facts.licence}.',
           f'{len(validation)} validation images of medmnist:{flag} are used by select_best only.')
  return pool.Pool(train=train, test=test, validation=validation, class_names=facts.class_names, notes=notes)


def _examples(facts, found, split, size, path):
  x = arrays.pixels(found[f'{split}_images'], f'{path}: {split}_images')
  labels = found[f'{split}_labels']
  width = len(facts.class_names) if facts.multi_label else 1
  if x.shape[1:] != (size, size, facts.channels) or labels.shape != (len(x), width):
    raise ValueError(f'{path}: {split} images are {list(x.shape)} with labels {list(labels.shape)}; expected '
                     f'[n, {size}, {size}, {facts.channels}] with [n, {width}].')
  if facts.multi_label:
    return images.Examples(x, labels.astype(np.float32))
  return images.Examples(x, labels[:, 0].astype(np.int32))


def _folder(data_dir, name):
  kept = _OWN_FOLDER.expanduser()
  if data_dir is None and (kept / name).is_file():
    return kept
  return fetch.cache_dir(data_dir)
