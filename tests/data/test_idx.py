"""IDX files: the format by hand, Debian's Fashion-MNIST, and damage."""

import gzip
import pathlib
import struct

import numpy as np
import pytest

from tff_vision import configs
from tff_vision.data.sources import idx, mnist_like

DEBIAN = pathlib.Path('/usr/share/datasets/fashion-mnist')


def _file(path, array, head=b'\0\0\x08'):
  raw = head + bytes([array.ndim]) + struct.pack(f'>{array.ndim}I', *array.shape) + array.tobytes()
  path.write_bytes(gzip.compress(raw) if path.suffix == '.gz' else raw)


def _folder(path, suffix=''):
  x = np.arange(5 * 3 * 2, dtype=np.uint8).reshape(5, 3, 2)
  y = np.array([4, 0, 1, 1, 9], np.uint8)
  for split in ('train', 't10k'):
    _file(path / f'{split}-images-idx3-ubyte{suffix}', x)
    _file(path / f'{split}-labels-idx1-ubyte{suffix}', y)
  return x, y


@pytest.mark.parametrize('suffix', ['', '.gz'])
def test_reads_a_folder(tmp_path, suffix):
  x, y = _folder(tmp_path, suffix)
  found = mnist_like.load_idx(configs.DataConfig(dataset='idx', data_dir=str(tmp_path)))
  np.testing.assert_array_equal(found.train.x[..., 0], x)
  np.testing.assert_array_equal(found.test.y, y)
  assert found.class_names == tuple('0123456789')
  assert mnist_like.locate_idx(str(tmp_path)) == (True, str(tmp_path))


@pytest.mark.parametrize('damage, said', [
    (lambda raw: raw[:-1], 'announces 30 bytes of data .* holds 29'),
    (lambda raw: raw + b'x', 'holds 31'),
    (lambda raw: raw[:6], 'truncated within its header'),
    (lambda raw: b'', 'no IDX file.*nothing'),
    (lambda raw: b'\0\0\x0d' + raw[3:], 'no IDX file of unsigned bytes'),
    (lambda raw: gzip.compress(raw)[:-9], 'no IDX file'),
])
def test_damage_is_named(tmp_path, damage, said):
  _folder(tmp_path)
  path = tmp_path / 'train-images-idx3-ubyte'
  path.write_bytes(damage(path.read_bytes()))
  with pytest.raises(ValueError, match=said) as raised:
    idx.read_split(tmp_path, 'train')
  assert str(path) in str(raised.value)


def test_truncated_gzip_missing_file_and_lengths_that_differ(tmp_path):
  _folder(tmp_path, '.gz')
  path = tmp_path / 'train-labels-idx1-ubyte.gz'
  whole = path.read_bytes()
  path.write_bytes(whole[:-9])
  with pytest.raises(ValueError, match='labels-idx1-ubyte.gz cannot be read'):
    idx.read_split(tmp_path, 'train')
  path.unlink()
  with pytest.raises(ValueError, match='holds no train-labels'):
    idx.read_split(tmp_path, 'train')
  _file(path, np.zeros(4, np.uint8))
  with pytest.raises(ValueError, match=r'\[5, 3, 2\] does not fit .*\[4\]'):
    idx.read_split(tmp_path, 'train')


@pytest.mark.skipif(not DEBIAN.is_dir(), reason='needs the package dataset-fashion-mnist')
def test_fashion_mnist_of_debian():
  found = mnist_like.load_fashion_mnist(configs.DataConfig(dataset='fashion_mnist'))
  assert (len(found.train), len(found.test), found.train.shape) == (60000, 10000, (28, 28, 1))
  np.testing.assert_array_equal(np.bincount(found.train.y), [6000] * 10)
  shares, levels = np.bincount(found.train.x.ravel(), minlength=256) / found.train.x.size, np.arange(256) / 255
  mean = shares @ levels
  np.testing.assert_allclose(found.preprocessing.mean + found.preprocessing.std,
                             [mean, np.sqrt(shares @ (levels - mean) ** 2)], atol=1e-3)
