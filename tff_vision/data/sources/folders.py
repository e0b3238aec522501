"""Reads images from folders of classes, folders of clients, or a manifest.

    root/[split/]client/class/image.png    clients of its own: partition=natural
    root/[split/]class/image.png           no clients: any other partition
    root/manifest.csv                      path,label[,client][,patient][,split], or numbers in place of label
    root/[split/][client/]images/image.png and .../masks/image.png: see `mask_layout`

where split is train, test or val, in upper or lower case (val is the test set if there is no other). The split folder
may also be below client or class.
"""

import dataclasses
import os
import pathlib

from tff_vision import configs
from tff_vision.data.sources import assembled, listing, manifest, mask_layout, numbers, pool

MEDICAL_MNIST_CLASSES = ('AbdomenCT', 'BreastMRI', 'ChestCT', 'CXR', 'Hand', 'HeadCT')


def load(config: configs.DataConfig) -> pool.Pool:
  """Lists the images below `config.data_dir`. They are decoded when clients need them; the test set is decoded at once.

  Raises:
    ValueError: There are no images, their folders do not follow one single layout, or a file is corrupt.
  """
  root = _root(config)
  table = manifest.find(root)
  if table:
    return assembled.pool_of(manifest.read(table, config.target), root, config)
  if config.target is not None:
    return assembled.pool_of(_named_by_numbers(root, config.target), root, config)
  found = mask_layout.mvtec(root, with_masks=config.normal_class is None)
  return assembled.pool_of(found or mask_layout.paired(listing.from_folders(root)), root, config)


def _named_by_numbers(root, target):
  """Returns the images in folders whose names are numbers.

  Raises:
    ValueError: The target is something else, or a folder's name is no number.
  """
  if target.strip().lower() != 'folder':
    raise ValueError(f'target={target} names a column of {manifest.NAME}, and {root} holds none; target=folder takes '
                     'the names of folders as numbers.')
  found = listing.from_folders(root)
  places = [f'{os.path.dirname(path)}, the name of the folder' for path in found.paths]
  return dataclasses.replace(found, numbers=numbers.parsed([label.strip() for label in found.labels], places))


def load_medical_mnist(config: configs.DataConfig) -> pool.Pool:
  """Returns the Medical MNIST set, 58,954 JPEG of 64x64 in six class folders, as it is distributed.

  Raises:
    ValueError: A class folder is missing, or there is an additional one.
  """
  root = _root(config)
  found = {entry.name for entry in root.iterdir() if entry.is_dir() and not listing.is_litter(entry.name)}
  missing, extra = set(MEDICAL_MNIST_CLASSES) - found, found - set(MEDICAL_MNIST_CLASSES)
  if missing or extra:
    said = [f'{what} {", ".join(sorted(names))}'
            for what, names in (('lacks', missing), ('also holds', extra)) if names]
    raise ValueError(f'{root} is not the Medical MNIST set: it {" and ".join(said)}. For other classes use '
                     'dataset=folder.')
  return assembled.pool_of(dataclasses.replace(listing.from_folders(root), class_names=MEDICAL_MNIST_CLASSES,
                                               classes_given=True), root, config)


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is a folder."""
  if data_dir is not None and pathlib.Path(data_dir).expanduser().is_dir():
    return True, data_dir
  return False, 'your own images: --dataset=folder --data_dir=FOLDER'


def locate_medical_mnist(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` contains the six class folders."""
  if data_dir is not None:
    root = pathlib.Path(data_dir).expanduser()
    if all((root / name).is_dir() for name in MEDICAL_MNIST_CLASSES):
      return True, data_dir
  return False, (f'a folder with {", ".join(MEDICAL_MNIST_CLASSES)} of 64x64 JPEG (Kaggle: andrewmvd/medical-mnist): '
                 '--data_dir=FOLDER; --dataset=synthetic_chest needs no download')


def _root(config):
  if config.data_dir is None:
    raise ValueError(f'dataset={config.dataset} needs data_dir, the folder with the images.')
  root = pathlib.Path(config.data_dir).expanduser()
  if not root.is_dir():
    raise ValueError(f'data_dir={config.data_dir} is no folder.')
  return root
