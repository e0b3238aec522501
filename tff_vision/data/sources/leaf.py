"""Reads LEAF's JSON files: `users`, and for each user `x` (flat pixels, or names of image files) and `y`.

    data/train/all_data_0_niid_0_keep_0_train_9.json   data/test/...   or all_data/*.json

One file is parsed after the other. Pixels k / 255 are kept as bytes, so that FEMNIST takes 0.6 GB and not 2.5 GB.
Source: Caldas et al. 2018, «LEAF: A Benchmark for Federated Settings».
"""

import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tff_vision import configs
from tff_vision.data import images, pixel_ranges
from tff_vision.data.sources import arrays, assembled, heldout, label_values, listing, pool

_IMAGE_FOLDERS = ('', 'raw/img_align_celeba', 'data/raw/img_align_celeba', 'raw', 'images')


def load(config: configs.DataConfig) -> pool.Pool:
  """Reads the JSON files that `config.data_dir` names or contains.

  Raises:
    ValueError: There is no such file, or one is not as LEAF writes it; the message names file and user.
  """
  root, paths = listing.find_files(config.data_dir, '.json', 'leaf')
  paths = [path for path in paths if not path.name.startswith(('meta', 'sampling'))] or paths
  splits = [_split_of(path, root) for path in paths]
  if set(splits) - {None}:  # `all_data` beside `train` and `test` holds the same examples.
    paths, splits = zip(*((path, split) for path, split in zip(paths, splits, strict=True) if split), strict=True)
  users = list(_users(paths, splits))
  if not users:
    raise ValueError(f'{paths[0]} holds no user with examples.')
  label_rows = [value for user in users for value in user.y]
  owners = [user.name for user in users for _ in user.y]
  where = [f'{user.where} example {number}' for user in users for number in range(len(user.y))]
  labels = label_values.texts(label_rows, None, where.__getitem__)
  user_splits = [user.split for user in users for _ in user.y]
  if all(isinstance(user.x, np.ndarray) for user in users):
    return _of_pixels(users, labels, np.array(owners), np.array(user_splits, object), root, config)
  if mixed := [user.where for user in users if isinstance(user.x, np.ndarray)]:
    raise ValueError(f'{mixed[0]} has pixels, and other users have names of image files.')
  files = [path for user in users for path in _image_files(user, root)]
  return assembled.pool_of(listing.Listing(
      paths=files, labels=labels.labels, clients=owners, splits=user_splits, separator=labels.separator,
      class_names=labels.class_names), root, config)


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is or contains a JSON file."""
  try:
    root, paths = listing.find_files(data_dir, '.json', 'leaf')
  except ValueError:
    return False, 'your own LEAF files: --dataset=leaf --data_dir=FOLDER'
  return True, str(paths[0] if len(paths) == 1 else root)


class _User:
  """The examples of one user in one file: `x` is [n, height, width, channels], or names of files."""

  def __init__(self, name, where, split, x, y):
    self.name, self.where, self.split, self.y = name, where, split, y
    self.x = x if x and isinstance(x[0], str) else _pixels(x, where)


def _split_of(path, root):
  return next((split for split in map(listing.split_of, path.relative_to(root).parts[:-1]) if split), None)


def _users(paths, splits) -> Iterator[_User]:
  for path, split in zip(paths, splits, strict=True):
    try:
      with open(path, encoding='utf-8-sig') as file:
        content = json.load(file)
    except (OSError, ValueError) as error:
      raise ValueError(f'{path} cannot be read as JSON ({error}).') from error
    if not isinstance(content, Mapping) or not isinstance(content.get('user_data'), Mapping):
      raise ValueError(f'{path} is no file of LEAF: it has no user_data.')
    for name, data in content['user_data'].items():
      where = f'{path}: user {name}'
      if not isinstance(data, Mapping) or not all(isinstance(data.get(key), list) for key in 'xy'):
        raise ValueError(f'{where} has no lists x and y.')
      if len(data['x']) != len(data['y']):
        raise ValueError(f'{where} has {len(data["x"])} images and {len(data["y"])} labels.')
      if data['y']:
        yield _User(name, where, split, data['x'], data['y'])


def _pixels(x, where):
  """Returns the images of a user, [n, height, width, 1 or 3]: uint8 where they are k / 255, else float32."""
  try:
    found = np.asarray(x, np.float64)
  except (ValueError, TypeError) as error:
    raise ValueError(f'{where}: the images in x are no lists of numbers of one length.') from error
  if found.ndim == 2:
    found = found.reshape(len(found), *_shape(found.shape[1], where))
  elif found.ndim == 3:
    found = found[..., np.newaxis]
  if found.ndim != 4 or found.shape[-1] not in (1, 3):
    raise ValueError(f'{where}: images in x have the shape {list(found.shape[1:])}.')
  if not np.isfinite(found).all():
    raise ValueError(f'{where}: the images in x hold NaN or infinity.')
  levels = np.round(found * 255)
  if found.min() >= 0 and found.max() <= 1 and np.abs(found * 255 - levels).max() < 1e-3:
    return levels.astype(np.uint8)
  return found.astype(np.float32)


def _shape(length, where):
  for channels in (1, 3):
    side = math.isqrt(length // channels)
    if side * side * channels == length:
      return side, side, channels
  raise ValueError(f'{where}: {length} pixels are no square image, grey or of three colours.')


def _of_pixels(users: Sequence[_User], labels, owners, splits, root, config):
  shapes = {user.x.shape[1:]: user.where for user in users}
  if len(shapes) > 1:
    (first, one), (second, other) = list(shapes.items())[:2]
    raise ValueError(f'{one} has images of {list(first)}, and {other} of {list(second)}.')
  levels = np.concatenate([np.full(len(user.x), user.x.dtype == np.uint8) for user in users])
  exact = levels.all()
  x = np.concatenate([user.x if exact or user.x.dtype == np.float32 else user.x.astype(np.float32) / 255
                      for user in users])
  y, names, notes = assembled.labelled(labels.labels, labels.separator, labels.class_names, config)
  pixel_ranges.refuse(x, [f'user {owner}' for owner in owners], config.numeric_pixel_range, str(root))
  (x,), stored, pixel_notes = arrays.as_images({'x': x}, str(root), config.numeric_pixel_range)
  notes = [images.Counted(note) for note in (*notes, *pixel_notes)]
  if splits[0] is not None and 'train' not in splits:
    raise ValueError(f'{users[0].where} is of the split {splits[0]}, and no user is for training.')
  if set(splits) <= {None, 'train'}:
    classes = np.array([''.join(map(str, row.astype(int))) for row in y]) if y.ndim == 2 else y
    is_test = heldout.stratified(classes, config.test_fraction, owners)
    heldout.refuse_nothing(is_test, config)
    notes.append(images.Counted(heldout.note(is_test, config.test_fraction, owners)))
    is_train = ~is_test
  else:
    notes += heldout.unread(config)
    is_train = splits == 'train'
    is_test = splits == ('test' if 'test' in splits else 'val')
  everything = images.Examples(x, y)
  train, test = np.flatnonzero(is_train), np.flatnonzero(is_test)
  return pool.Pool(train=everything.take(train), test=everything.take(test), class_names=names,
                   train_owners=owners[train], test_owners=owners[test], stored=stored,
                   digest=arrays.digest_of({'x': x, 'y': y, 'client': owners}), notes=tuple(notes),
                   counted_classes=True, deduced=_deduced(exact, levels[is_test].all()))


def _deduced(exact, tested_exact):
  if exact == tested_exact:
    return ()
  return ('that not all pixels are of 256 levels of 0..1: bring all to these, or give test images of others',)


def _image_files(user, root: pathlib.Path) -> Iterator[str]:
  for name in user.x:
    places = [root / folder / str(name) for folder in _IMAGE_FOLDERS]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
      raise ValueError(f'{user.where} names {str(name)[:60]!r}, which is no image file below {root}.')
    yield os.fspath(found)
