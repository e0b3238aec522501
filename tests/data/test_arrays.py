"""The npz source: what it understands, and what it refuses, one sentence each."""

import numpy as np
import pytest

from tff_vision import configs
from tff_vision.data import build
from tff_vision.data.sources import arrays

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


def test_clients_as_floats_are_those_as_whole_numbers(tmp_path):
  found = _load(tmp_path, x=X, y=Y, client=np.arange(40) % 2 + 0.0, x_test=X, y_test=Y, client_test=np.arange(40) % 2)
  assert set(found.train_owners) == set(found.test_owners) == {'0', '1'}


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


def _range_of(tmp_path, **content):
  found = _load(tmp_path, {'pixel_range': content.pop('pixel_range')} if 'pixel_range' in content else None, **content)
  return found, ' '.join(found.notes)


@pytest.mark.parametrize('kind', [bool, np.int64, np.uint8])
def test_zero_and_one_are_black_and_white(tmp_path, kind):
  x = RNG.integers(0, 2, (40, 5, 4))
  found, said = _range_of(tmp_path, x=x.astype(kind), y=Y, x_test=x[:9].astype(kind), y_test=Y[:9])
  np.testing.assert_array_equal(found.train.x[..., 0], 255 * x)
  np.testing.assert_array_equal(found.test.x[..., 0], 255 * x[:9])
  assert ('0 and 1 only' in said) == (kind is not bool) and found.stored.white == 255  # A type tells it by itself.
  if kind is not bool:
    meant, said = _range_of(tmp_path, x=x.astype(kind), y=Y, pixel_range='0,255')
    assert meant.train.x.max() == 1 and 'only' not in said


def test_whole_numbers_of_few_levels_ask_for_their_white(tmp_path):
  x = RNG.integers(0, 17, (40, 5, 4))
  with pytest.raises(ValueError, match=r'0..16.*nearly black: say pixel_range=0,16'):
    _load(tmp_path, x=x, y=Y)
  found, said = _range_of(tmp_path, x=x, y=Y, x_test=x, y_test=Y, pixel_range='0,16')
  np.testing.assert_allclose(found.train.x[..., 0], x / 16, atol=1e-6)
  assert 'become 0..1' in said
  deep = RNG.integers(0, 4096, (40, 5, 4)).astype(np.uint16)
  with pytest.raises(ValueError, match='whole numbers in .* pixel_range'):
    _load(tmp_path, x=deep, y=Y)
  found, _ = _range_of(tmp_path, x=deep, y=Y, x_test=deep, y_test=Y, pixel_range='0,4095')
  np.testing.assert_allclose(found.train.x[..., 0], deep / 4095, atol=1e-6)
  assert found.stored.window == (0, 4095) and found.stored.white == 1


@pytest.mark.parametrize(('low', 'high', 'ends'), [
    (0, 1, (0, 1)), (-1e-7, 1.0000001, (0, 1)), (0, 0.2, (0, 1)), (-1, 1, (-1, 1)), (-0.5, 0.5, (-0.5, 0.5)),
    (-0.3, 0.4, (None, None)),
    (-2.1, 2.6, (None, None)), (0, 16, (None, None)), (-0.99, 0.98, (-1, 1))])
def test_what_floats_are_black_and_white_is_told_or_unknown(tmp_path, low, high, ends):
  x = RNG.uniform(low, high, (40, 5, 4)).astype(np.float32)
  x[0, 0, 0], x[1, 0, 0] = low, high
  found, said = _range_of(tmp_path, x=x, y=Y, x_test=x, y_test=Y)
  assert (found.stored.black, found.stored.white) == ends and ('black' in said) == (ends != (0, 1))
  np.testing.assert_array_equal(found.train.x[..., 0], x)
  told, _ = _range_of(tmp_path, x=x, y=Y, x_test=x, y_test=Y, pixel_range=f'{low},{high}')
  assert (told.stored.black, told.stored.white) == (low, high)
  np.testing.assert_array_equal(told.train.x[..., 0], x)


def test_arrays_of_two_ranges_and_steps_that_expect_another_are_refused(tmp_path):
  with pytest.raises(ValueError, match='x is uint8 and x_test is float32'):
    _load(tmp_path, x=X, y=Y, x_test=(X[:3] / 255).astype(np.float32), y_test=Y[:3])
  with pytest.raises(ValueError, match='x is uint8 and x_test is bool'):  # True would be nearly black.
    _load(tmp_path, x=X, y=Y, x_test=X[:3] > 127, y_test=Y[:3])
  x = RNG.uniform(-1, 1, (40, 5, 4))
  with pytest.raises(ValueError, match='floats of different ranges, .* pixel_range=BLACK,WHITE'):
    _load(tmp_path, x=X[..., 0] / 255, y=Y, x_test=x, y_test=Y)
  assert _load(tmp_path, {'pixel_range': '0,1'}, x=X[..., 0] / 255, y=Y, x_test=x, y_test=Y).stored.white == 1
  np.savez(tmp_path / 'signed.npz', x=x, y=Y)
  for fields in ({'preprocess': 'invert'}, {'partition': 'feature_shift'}):
    with pytest.raises(ValueError, match='computes with pixels of 0..1'):
      build.build(configs.DataConfig(dataset='npz', data_dir=str(tmp_path / 'signed.npz'), num_clients=2, **fields),
                  seed=0)


def test_names_are_trimmed_and_case_is_asked_about(tmp_path):
  y = np.array(['left', 'left ', 'right', 'right'] * 10)
  assert _load(tmp_path, x=X, y=y).class_names == ('left', 'right')
  with pytest.raises(ValueError, match="'Left' and 'left' differ in case only"):
    _load(tmp_path, x=X, y=np.array(['left', 'Left', 'right', 'right'] * 10))
  assert _load(tmp_path, {'label_case': 'merge'}, x=X, y=np.array(['left', 'Left', 'right', 'right'] * 10)
               ).class_names == ('left', 'right')


def test_clients_of_different_ranges_of_floats_are_refused(tmp_path):
  unit = np.sqrt(RNG.uniform(0, 1, (40, 5, 4))).astype(np.float32)
  unit[:, 0, 0], unit[:, 0, 1] = 0, 1
  for ends, told in (((-1, 1), '-1..1'), ((-2.2, 2.6), '-2.2..2.6')):
    mixed = unit.copy()
    mixed[CLIENT == "o'neil 2"] = ends[0] + (ends[1] - ends[0]) * mixed[CLIENT == "o'neil 2"]
    said = f"client o'neil 0 holds floats in 0..1, and client o'neil 2 floats in {told}: bring them to"
    with pytest.raises(ValueError, match=said):
      _load(tmp_path, x=mixed, y=Y, client=CLIENT)
    _load(tmp_path, config={'pixel_range': '-1,1'}, x=mixed, y=Y, client=CLIENT)
  darker = unit.copy()
  darker[:20] *= 0.4
  assert _load(tmp_path, x=darker, y=Y, client=CLIENT).stored.white == 1
  standardized = RNG.normal(size=(40, 5, 4))
  assert _load(tmp_path, x=standardized, y=Y, client=CLIENT).stored.white is None


def test_a_share_to_hold_out_of_data_with_a_test_set_is_said_to_be_unread(tmp_path):
  x, y = np.arange(160, dtype=np.uint8).reshape(10, 4, 4), np.arange(10) % 2
  np.savez(tmp_path / 'a.npz', x=x, y=y, x_test=x, y_test=y)
  load = lambda **more: arrays.load(configs.DataConfig(dataset='npz', data_dir=str(tmp_path), **more)).notes
  assert f'test_fraction=0.4 is not read: data_dir={tmp_path} has a test set.' in load(test_fraction=0.4)
  assert not any('test_fraction' in note for note in load())


def test_masks_of_0_and_255_have_a_background_and_a_class_as_in_mask_files(tmp_path):
  masks = np.arange(40)[:, None, None] // 4 % 2 * np.ones((1, 5, 4), int)
  white = _load(tmp_path, x=X, y=255 * masks)
  assert white.class_names == ('background', '1') and 'Masks of 0 and 255: 0 is the background' in white.notes[0]
  assert _load(tmp_path, x=X, y=255 * masks, class_names=['sky', 'road']).class_names == ('sky', 'road')
  assert _load(tmp_path, x=X, y=masks).class_names == ('0', '1')
