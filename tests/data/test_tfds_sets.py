"""Tiny archives in the original binary formats through the unpatched TFDS builders: pixels come back exactly.

Only two facts are told otherwise: the archives' checksums, and for MNIST the number of examples.
"""

import dataclasses
import gzip
import io
import pickle
import shutil
import struct
import tarfile
import zipfile
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import checksums

from tests.data import test_build
from tff_vision import configs
from tff_vision.data.sources import cifar, cifar_names, mnist_like, tfds_sets

RNG = np.random.default_rng(0)


def _tar(path, members):
  with tarfile.open(path, 'w:gz') as archive:
    for name, content in members.items():
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))


def _cifar_records(n, labels):
  """Returns n random images, their labels, and the records that hold them: labels, then 3x32x32 bytes each."""
  x = RNG.integers(0, 256, (n, 32, 32, 3), np.uint8)
  y = [RNG.integers(0, top, n, np.uint8) for top in labels]
  return x, y, b''.join(bytes([*label]) + image.transpose(2, 0, 1).tobytes()
                        for image, *label in zip(x, *y, strict=True))


def _sorted(x, y):
  order = np.lexsort(x.reshape(len(x), -1).T)
  return x[order], y[order]


def _assert_same(examples, x, y):
  """TFDS shuffles as it prepares."""
  for found, expected in zip(_sorted(examples.x, examples.y), _sorted(x, y), strict=True):
    np.testing.assert_array_equal(found, expected)


def _told(builder_name, archives):
  """Tells the builder the checksums of tiny archives: {url: path}."""
  return mock.patch.dict(tfds.builder_cls(builder_name).url_infos,
                         {url: checksums.compute_url_info(path) for url, path in archives.items()})


def _config(folder, **fields):
  return configs.DataConfig(**{'dataset': 'x', 'partition': 'iid', 'data_dir': str(folder)} | fields)


def _registered(tfds_set, paths):
  """Returns the set with the facts of tiny archives, at the real URLs: nothing may be downloaded."""
  return dataclasses.replace(tfds_set, archives=tuple(
      dataclasses.replace(test_build.registered(path), url=remote.url)
      for remote, path in zip(tfds_set.archives, paths, strict=True)))


def test_cifar10(tmp_path):
  batches = [_cifar_records(n, [10]) for n in (3, 2, 2, 2, 2, 4)]
  path = tmp_path / 'cifar-10-binary.tar.gz'
  names = [f'data_batch_{number}' for number in range(1, 6)] + ['test_batch']
  _tar(path, {'cifar-10-batches-bin/batches.meta.txt': '\n'.join(cifar_names.CIFAR10).encode(),
              **{f'cifar-10-batches-bin/{name}.bin': raw for name, (_, _, raw) in zip(names, batches, strict=True)}})
  tiny = _registered(cifar.CIFAR10.tfds, [path])
  with _told('cifar10', {tiny.archives[0].url: path}):
    train, test = tfds_sets.load(tiny, str(tmp_path))
  _assert_same(train, np.concatenate([x for x, _, _ in batches[:5]]), np.concatenate([y for _, (y,), _ in batches[:5]]))
  _assert_same(test, batches[5][0], batches[5][1][0])
  path.unlink()
  again, _ = tfds_sets.load(tiny, str(tmp_path))  # Prepared once, it needs neither archive nor builder run.
  np.testing.assert_array_equal(again.x, train.x)
  assert tfds_sets.locate(tiny, str(tmp_path)) == (True, str(tmp_path / 'tfds' / 'cifar10'))


def test_cifar100_has_superclasses(tmp_path, monkeypatch):
  (x, (_, y), raw), (x_test, (_, y_test), raw_test) = (_cifar_records(n, [20, 100]) for n in (5, 3))
  path = tmp_path / 'cifar-100-binary.tar.gz'
  _tar(path, {'cifar-100-binary/train.bin': raw, 'cifar-100-binary/test.bin': raw_test,
              'cifar-100-binary/coarse_label_names.txt': '\n'.join(cifar_names.CIFAR100_COARSE).encode(),
              'cifar-100-binary/fine_label_names.txt': '\n'.join(cifar_names.CIFAR100).encode()})
  tiny = _registered(cifar.CIFAR100.tfds, [path])
  monkeypatch.setattr(cifar, 'CIFAR100', dataclasses.replace(cifar.CIFAR100, tfds=tiny))
  with _told('cifar100', {tiny.archives[0].url: path}):
    found = cifar.load_cifar100(_config(tmp_path))
  _assert_same(found.train, x, y)
  _assert_same(found.test, x_test, y_test)
  np.testing.assert_array_equal(found.coarse_labels, cifar_names.CIFAR100_COARSE_OF_FINE[found.train.y])


def _idx(array):
  return gzip.compress(struct.pack('>HBB', 0, 8, array.ndim) + struct.pack(f'>{array.ndim}I', *array.shape)
                       + array.tobytes())


def _mnist_files():
  x, x_test = (RNG.integers(0, 256, (n, 28, 28), np.uint8) for n in (7, 4))
  y, y_test = (RNG.integers(0, 10, n, np.uint8) for n in (7, 4))
  return x, y, x_test, y_test


def test_mnist_through_tfds_equals_our_own_reader(tmp_path):
  arrays = _mnist_files()
  paths = [tmp_path / remote.name for remote in mnist_like.MNIST.tfds.archives]
  for path, array in zip(paths, arrays, strict=True):
    path.write_bytes(_idx(array))
  tiny = _registered(mnist_like.MNIST.tfds, paths)
  module = 'tensorflow_datasets.image_classification.mnist'
  with (_told('mnist', {remote.url: path for remote, path in zip(tiny.archives, paths, strict=True)}),
        mock.patch(f'{module}._TRAIN_EXAMPLES', 7), mock.patch(f'{module}._TEST_EXAMPLES', 4)):
    train, test = tfds_sets.load(tiny, str(tmp_path))
  own = mnist_like.load_mnist(_config(tmp_path))
  _assert_same(train, own.train.x, own.train.y)
  _assert_same(test, own.test.x, own.test.y)
  np.testing.assert_array_equal(own.train.x[..., 0], arrays[0])


def test_emnist_balanced_stands_upright(tmp_path):
  x, y, x_test, y_test = _mnist_files()
  path = tmp_path / 'gzip.zip'
  with zipfile.ZipFile(path, 'w') as archive:
    for name, array in (('train-images-idx3', x), ('train-labels-idx1', y), ('test-images-idx3', x_test),
                        ('test-labels-idx1', y_test)):
      archive.writestr(f'gzip/emnist-balanced-{name}-ubyte.gz', _idx(array))
  tiny = _registered(mnist_like.EMNIST_BALANCED.tfds, [path])
  family = dataclasses.replace(mnist_like.EMNIST_BALANCED, tfds=tiny)
  balanced = next(c for c in tfds.builder_cls('emnist').BUILDER_CONFIGS if c.name == 'balanced')
  with (_told('emnist', {tiny.archives[0].url: path}), mock.patch.object(balanced, 'train_examples', 7),
        mock.patch.object(balanced, 'test_examples', 4)):
    found = mnist_like.load(_config(tmp_path), family=family)
  _assert_same(found.train, x.transpose(0, 2, 1)[..., np.newaxis], y)
  assert len(found.class_names) == 47


def test_altered_archive_is_refused_before_tfds_sees_it(tmp_path):
  path = tmp_path / 'cifar-10-binary.tar.gz'
  path.write_bytes(b'other')
  with pytest.raises(ValueError, match='5 bytes instead of 170,052,171'):
    cifar.load_cifar10(_config(tmp_path))


def test_keras_caches(tmp_path):
  x, y, x_test, y_test = _mnist_files()
  cache = tmp_path / '.keras' / 'datasets'
  cache.mkdir(parents=True)
  np.savez(cache / 'mnist.npz', x_train=x, y_train=y, x_test=x_test, y_test=y_test)
  found = mnist_like.load_mnist(_config(None, data_dir=None))
  np.testing.assert_array_equal(found.train.x[..., 0], x)
  np.testing.assert_array_equal(found.test.y, y_test)
  assert mnist_like.locate_mnist(None) == (True, str(cache / 'mnist.npz'))

  folder = cache / 'cifar-10-batches-py'
  folder.mkdir()
  batches = {name: _cifar_records(2, [10]) for names in cifar.CIFAR10.files for name in names}
  for name, (images, (labels,), _) in batches.items():
    (folder / name).write_bytes(pickle.dumps({
        b'data': images.transpose(0, 3, 1, 2).reshape(2, -1), b'labels': labels.tolist()}, protocol=2))
  found = cifar.load_cifar10(_config(None, data_dir=None))
  np.testing.assert_array_equal(found.train.x, np.concatenate([batches[n][0] for n in cifar.CIFAR10.files[0]]))
  np.testing.assert_array_equal(found.test.y, batches['test_batch'][1][0])

  (folder / 'test_batch').write_bytes(pickle.dumps(shutil.rmtree))  # A pickle that would run code.
  with pytest.raises(ValueError, match='test_batch.*it names shutil.rmtree'):
    cifar.load_cifar10(_config(None, data_dir=None))
  (cache / 'mnist.npz').write_bytes((cache / 'mnist.npz').read_bytes()[:-100])
  with pytest.raises(ValueError, match='mnist.npz'):
    mnist_like.load_mnist(_config(None, data_dir=None))
