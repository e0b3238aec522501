"""The federated sets of TensorFlow Federated: EMNIST by writer (LEAF, arXiv:1812.01097) and CIFAR-100 (Pachinko).

The files are TFF's own, but they are fetched by this project. TFF's own download writes directly to the final name
without a checksum, and a truncated file stays in use for ever.
"""

import pathlib
import string

from tff_vision import configs
from tff_vision.data.sources import cifar_names, fetch, pool, sql

_BUCKET = 'https://storage.googleapis.com/tff-datasets-public'
_INSTEAD = '--dataset=synthetic_emnist --partition=natural'

EMNIST_ARCHIVE = fetch.RemoteFile(
    url=f'{_BUCKET}/emnist_all.sqlite.lzma', name='emnist_all.sqlite.lzma', size=170_507_172, instead=_INSTEAD,
    digest='sha256:c3aaf91b4cf4e69d53d81627ad119eccdc878ff906f68e66063ff10f67faad48')
EMNIST = fetch.RemoteFile(
    url=EMNIST_ARCHIVE.url, name='emnist_all.sqlite', size=4_708_990_976, instead=_INSTEAD,
    digest='sha256:239b48fb3b3d69e70406d18a0605c821d4db3c803443c64788736bcb9f79ac56')
CIFAR100_ARCHIVE = fetch.RemoteFile(
    url=f'{_BUCKET}/cifar100.sqlite.lzma', name='cifar100.sqlite.lzma', size=153_019_920,
    instead='--dataset=synthetic_shapes',
    digest='sha256:23d3916c9caa33395737ee560cc7cb77bbd05fc7b73647ee7be3a7e764172939')
# No digest of the decompressed file has been published; its tables are checked against each other instead.
CIFAR100 = fetch.RemoteFile(url=CIFAR100_ARCHIVE.url, name='cifar100.sqlite', digest=None,
                            instead=CIFAR100_ARCHIVE.instead)

_CHARACTERS = tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase)
_EMNIST_ROW = {'image': 'pixels', 'shape': (28, 28, 1), 'floats': True, 'label': 'label'}
_CIFAR_ROW = sql.RowFormat(image='image', shape=(32, 32, 3), floats=False, label='label', num_classes=100)


def load_emnist(config: configs.DataConfig) -> pool.Pool:
  """Returns images of 62 classes from 3,400 writers, with pixels in 0..1 on a background of 1."""
  return _load_emnist(config, 'all', _CHARACTERS)


def load_emnist_digits(config: configs.DataConfig) -> pool.Pool:
  """Returns the digits of the 3,383 writers who wrote at least one."""
  return _load_emnist(config, 'digits_only', tuple(string.digits))


def load_cifar100(config: configs.DataConfig) -> pool.Pool:
  """Returns 500 training clients of 100 images and 100 other clients for evaluation."""
  path = fetch.fetch_decompressed(CIFAR100_ARCHIVE, _folder(config.data_dir, CIFAR100.name), decompressed=CIFAR100)
  train, train_owners, train_notes = _examples(path, 'train', _CIFAR_ROW)
  test, test_owners, test_notes = _examples(path, 'test', _CIFAR_ROW)
  return pool.Pool(train=train, test=test, class_names=cifar_names.CIFAR100, train_owners=train_owners,
                   test_owners=test_owners, strangers=True, labels_at_hand=False,
                   notes=tuple(dict.fromkeys(train_notes + test_notes)))


def locate_emnist(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether EMNIST is here, and where or how to get it."""
  return _locate(data_dir, EMNIST_ARCHIVE, EMNIST)


def locate_cifar100(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether TFF's CIFAR-100 is here, and where or how to get it."""
  return _locate(data_dir, CIFAR100_ARCHIVE, CIFAR100)


def _load_emnist(config, part, class_names):
  path = fetch.fetch_decompressed(EMNIST_ARCHIVE, _folder(config.data_dir, EMNIST.name), decompressed=EMNIST)
  row_format = sql.RowFormat(**_EMNIST_ROW, num_classes=len(class_names))
  train, train_owners, train_notes = _examples(path, f'{part}_train', row_format)
  test, test_owners, test_notes = _examples(path, f'{part}_test', row_format)
  return pool.Pool(train=train, test=test, class_names=class_names, train_owners=train_owners,
                   test_owners=test_owners, labels_at_hand=False,
                   notes=tuple(dict.fromkeys(train_notes + test_notes)))


def _examples(path, split, row_format):
  rows, owners, notes = sql.rows_of_split(path, split)
  return sql.SqlExamples(path, rows, row_format), owners, notes


def _folder(data_dir, name):
  """Returns the folder for `name`: TFF's own cache is used if the user has one."""
  kept_by_tff = pathlib.Path.home() / '.tff'
  if data_dir is None and (kept_by_tff / name).is_file():
    return kept_by_tff
  return fetch.cache_dir(data_dir)


def _locate(data_dir, archive, database):
  folder = _folder(data_dir, database.name)
  for remote in (database, archive):
    if (folder / remote.name).is_file():
      return True, str(folder / remote.name)
  return False, fetch.instructions(archive, folder / archive.name)
