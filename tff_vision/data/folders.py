"""A user's own images: folders of classes, folders of clients, or a manifest.

    root/[split/]client/class/image.png    clients of its own: partition=natural
    root/[split/]class/image.png           no clients: any other partition
    root/manifest.csv                      path,label[,client][,split]

where split is train, test or val (val serves as the test set if there is no other).
"""

import csv
import dataclasses
import os
import pathlib
from collections import Counter

import numpy as np

from tff_vision import configs
from tff_vision.data import decode, files, heldout, images, pool

_SPLITS = {'train': 'train', 'training': 'train', 'test': 'test', 'testing': 'test', 'val': 'val', 'valid': 'val',
           'validation': 'val'}
MEDICAL_MNIST_CLASSES = ('AbdomenCT', 'BreastMRI', 'ChestCT', 'CXR', 'Hand', 'HeadCT')


@dataclasses.dataclass(frozen=True)
class _Listing:
  """Image files and what their places say of them; `clients` and `splits` hold None where nothing is said."""
  paths: list[str]
  labels: list[str]
  clients: list[str | None]
  splits: list[str | None]
  notes: list[str]


def load(config: configs.DataConfig) -> pool.Pool:
  """Lists the images below `config.data_dir`; they are decoded as clients need them, the test set at once.

  Raises:
    ValueError: There are no images, their places follow no single layout, or a file is corrupt.
  """
  root = _root(config)
  manifest = root / 'manifest.csv'
  listing = _from_manifest(manifest) if manifest.is_file() else _from_folders(root)
  return _pool(listing, config, tuple(sorted(set(listing.labels))))


def load_medical_mnist(config: configs.DataConfig) -> pool.Pool:
  """Returns the Medical MNIST set, 58,954 JPEG of 64x64 in six class folders, as it is distributed.

  Raises:
    ValueError: A class folder is missing or another one is there.
  """
  root = _root(config)
  found = {entry.name for entry in root.iterdir() if entry.is_dir()}
  missing, extra = set(MEDICAL_MNIST_CLASSES) - found, found - set(MEDICAL_MNIST_CLASSES)
  if missing or extra:
    said = [f'{what} {", ".join(sorted(names))}'
            for what, names in (('lacks', missing), ('also holds', extra)) if names]
    raise ValueError(f'{root} is not the Medical MNIST set: it {" and ".join(said)}. For other classes use '
                     'dataset=folder.')
  return _pool(_from_folders(root), config, MEDICAL_MNIST_CLASSES)


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is a folder."""
  if data_dir is not None and pathlib.Path(data_dir).expanduser().is_dir():
    return True, data_dir
  return False, 'your own images: --dataset=folder --data_dir=FOLDER'


def locate_medical_mnist(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` holds the six class folders."""
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


def _from_folders(root):
  paths, others = [], Counter()
  seen = set()
  for folder, subfolders, names in os.walk(root, followlinks=True):
    real = os.path.realpath(folder)
    if real in seen:  # A link that leads back would be walked for ever.
      subfolders.clear()
      continue
    seen.add(real)
    subfolders.sort()
    for name in sorted(names):
      if name.lower().endswith(decode.SUFFIXES):
        paths.append(os.path.join(folder, name))
      else:
        others[os.path.splitext(name)[1] or name] += 1
  if not paths:
    raise ValueError(f'{root} holds no {", ".join(decode.SUFFIXES)} file.')
  places = [os.path.relpath(path, root).split(os.sep)[:-1] for path in paths]
  top = {place[0] if place else '' for place in places}
  has_splits = top <= set(_SPLITS) and 'train' in {_SPLITS[name] for name in top}
  splits = [_SPLITS[place[0]] if has_splits else None for place in places]
  rest = [place[1:] if has_splits else place for place in places]
  depths = Counter(map(len, rest))
  depth = depths.most_common(1)[0][0]
  if len(depths) > 1 or depth not in (1, 2):
    odd = next(path for path, place in zip(paths, rest, strict=True) if depth not in (1, 2) or len(place) != depth)
    raise ValueError(f'{odd} does not lie as the others do: images must lie in [split/]class/ or all in '
                     '[split/]client/class/ below data_dir.')
  notes = [f'{sum(others.values())} files that are no images left out ({", ".join(sorted(others))}).'] if others else []
  return _Listing(paths, [place[-1] for place in rest], [place[0] if depth == 2 else None for place in rest], splits,
                  notes)


def _from_manifest(path):
  with open(path, newline='', encoding='utf-8-sig') as lines:
    reader = csv.DictReader(lines)
    columns = reader.fieldnames or []
    if missing := {'path', 'label'} - set(columns):
      raise ValueError(f'{path} lacks the column {", ".join(sorted(missing))}; its first line must name path,label and '
                       'may name client and split.')
    rows = list(reader)
  unread = set(columns) - {'path', 'label', 'client', 'split'}
  listing = _Listing([], [], [], [], [f'Columns of {path} that are not read: {", ".join(sorted(unread))}.']
                     if unread else [])
  seen = {}
  for number, row in enumerate(rows, start=2):
    where = f'{path} line {number}'
    for column in columns:
      if column not in unread and not row[column]:
        raise ValueError(f'{where} has no {column}.')
    file = os.path.join(path.parent, row['path'])
    if file in seen:
      raise ValueError(f'{where} lists {row["path"]} again, after line {seen[file]}.')
    if not os.path.isfile(file):
      raise ValueError(f'{where} names {row["path"]}, which does not exist.')
    if 'split' in columns and row['split'] not in _SPLITS:
      raise ValueError(f'{where} has split={row["split"]!r}; known are {", ".join(_SPLITS)}.')
    seen[file] = number
    listing.paths.append(file)
    listing.labels.append(row['label'])
    listing.clients.append(row.get('client'))
    listing.splits.append(_SPLITS[row['split']] if 'split' in columns else None)
  if not rows:
    raise ValueError(f'{path} lists no image.')
  return listing


def _pool(listing, config, class_names):
  good, corrupt_notes = files.usable(listing.paths, config.corrupt_images)
  paths, labels, clients, splits = (np.array(column, object)[good] for column in (
      listing.paths, listing.labels, listing.clients, listing.splits))
  if not len(paths):
    raise ValueError(f'data_dir={config.data_dir} holds no usable image.')
  shape, shape_notes = files.stored_shape(paths[0], config)
  notes = [*listing.notes, *corrupt_notes, *shape_notes]
  y = np.searchsorted(np.sort(class_names), labels.astype(str))
  y = np.argsort(class_names)[y].astype(np.int32)
  owned = clients[0] is not None
  if splits[0] is None:
    is_test = heldout.stratified(y, config.test_fraction, clients.astype(str) if owned else None)
    notes.append(images.Counted(f'There is no test set: {is_test.sum()} of {len(y)} images were held out '
                                f'(test_fraction={config.test_fraction}).'))
    is_train = ~is_test
  else:
    is_train = splits == 'train'
    test_split = 'test' if 'test' in splits else 'val'
    is_test = splits == test_split
    if unused := int((~is_train & ~is_test).sum()):
      notes.append(f'{unused} images of the split val are not used, since there is a test split.')
  parts = [files.FileExamples(paths[mine], y[mine], shape) for mine in (is_train, is_test)]
  owners = [clients[mine].astype(str) if owned else None for mine in (is_train, is_test)]
  return pool.Pool(train=parts[0], test=parts[1], class_names=class_names, train_owners=owners[0],
                   test_owners=owners[1], notes=tuple(notes))
