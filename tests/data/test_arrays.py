"""The npz source: what it understands, and what it refuses, one sentence each."""

import numpy as np
import pytest

from tff_vision import configs
from tff_vision.data import arrays, build

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (40, 5, 4, 3), np.uint8)
Y = np.arange(40) % 4
CLIENT = np.array([f"o'neil {i}" for i in np.arange(40) // 10])


def _load(tmp_path, config=None, **content):
  np.savez(tmp_path / 'data.npz', **content)
  return arrays.load(configs.DataConfig(dataset='npz', data_dir=str(tmp_path), **config or {}))


def test_clients_and_held_out_examples(tmp_path):
  _load(tmp_path, x=X, y=Y, client=CLIENT)
  found = build.build(configs.DataConfig(dataset='npz', data_dir=str(tmp_path / 'data.npz'), partition='natural',
                                         num_clients=None), seed=3)
  assert found.train.client_ids == [f"o'neil {i}" for i in range(4)]
  assert [found.train.num_examples(client) for client in range(4)] == [8] * 4
  assert [len(positions) for positions in found.test.clients] == [2] * 4
  np.testing.assert_array_equal(np.bincount(found.test.examples.y), [2] * 4)
  assert any('8 of 40 images were held out' in note for note in found.notes)
  everything = np.concatenate([found.train.examples(c).x for c in range(4)] + [found.test.examples.x])
  assert sorted(image.tobytes() for image in everything) == sorted(image.tobytes() for image in X)


def test_given_test_set_names_and_keras_spelling(tmp_path):
  found = _load(tmp_path, x_train=X[..., 0] / 255, y_train=Y[:, None], x_test=X[:7, ..., 0] / 255, y_test=Y[:7],
                class_names=np.array(['a', 'b', 'c', 'd']), extra=np.zeros(1))
  assert found.train.x.shape == (40, 5, 4, 1) and found.train.x.dtype == np.float32
  assert found.class_names == ('a', 'b', 'c', 'd') and len(found.test) == 7
  assert any('not read: extra' in note for note in found.notes)


def test_class_names_as_labels(tmp_path):
  found = _load(tmp_path, x=X, y=np.array(['dog', 'cat'] * 20), x_test=X[:2], y_test=np.array(['cat', 'emu']))
  assert found.class_names == ('cat', 'dog', 'emu')
  np.testing.assert_array_equal(found.train.y, [1, 0] * 20)
  np.testing.assert_array_equal(found.test.y, [0, 2])


def test_findings(tmp_path):
  y = RNG.integers(0, 2, (40, 3))
  found = _load(tmp_path, x=X, y=y)
  assert found.train.y.dtype == np.float32 and len(found.class_names) == 3


@pytest.mark.parametrize('content, said', [
    ({'x': X}, 'lacks the array y; it holds x'),
    ({'x': X[:39], 'y': Y}, 'lengths differ: x 39, y 40'),
    ({'x': X, 'y': Y, 'client': CLIENT[:5]}, 'client 5'),
    ({'x': X, 'y': Y, 'x_test': X}, 'only one of x_test and y_test'),
    ({'x': X.transpose(0, 3, 1, 2), 'y': Y}, 'channels must come last'),
    ({'x': X.astype(np.float32), 'y': Y}, 'floats up to 255: store 0..255 as uint8'),
    ({'x': X.astype(int) + 1, 'y': Y}, 'whole numbers in 1..256'),
    ({'x': np.full(X.shape, np.nan), 'y': Y}, 'NaN'),
    ({'x': X.astype('c8'), 'y': Y}, 'complex64'),
    ({'x': X, 'y': Y - 1}, 'down to -1'),
    ({'x': X, 'y': Y + 0.5}, 'class numbers'),
    ({'x': X, 'y': np.eye(4)[Y]}, 'one-hot'),
    ({'x': X, 'y': Y, 'class_names': np.array(['a', 'b'])}, 'labels reach 3, but there are 2 class_names'),
    ({'x': X, 'y': np.array(['a', 'b'] * 20), 'class_names': np.array(['a'])}, "class 'b', which class_names lacks"),
    ({'x': np.array([None] * 40), 'y': Y}, 'plain arrays'),
    ({'x': X[:0], 'y': Y[:0]}, 'no example'),
])
def test_refused(tmp_path, content, said):
  with pytest.raises(ValueError, match=said):
    _load(tmp_path, **content)


def test_files(tmp_path):
  config = configs.DataConfig(dataset='npz', data_dir=str(tmp_path))
  with pytest.raises(ValueError, match='needs data_dir, an .npz file'):
    arrays.load(config)
  (tmp_path / 'data.npz').write_bytes(b'PK\x03\x04 torn')
  with pytest.raises(ValueError, match='data.npz cannot be read'):
    arrays.load(config)
  np.savez(tmp_path / 'data.npz', x=X, y=Y)
  raw = (tmp_path / 'data.npz').read_bytes()
  (tmp_path / 'data.npz').write_bytes(raw[:2000] + bytes([raw[2000] ^ 1]) + raw[2001:])
  with pytest.raises(ValueError, match='data.npz cannot be read.*CRC'):
    arrays.load(config)
  (tmp_path / 'data.npz').write_bytes(raw)
  assert arrays.locate(str(tmp_path)) == (True, str(tmp_path / 'data.npz'))
  assert not arrays.locate(None)[0]
