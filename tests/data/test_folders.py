"""Folders of images in every layout, manifests, corrupt files, and the Medical MNIST set."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tff_vision import configs
from tff_vision.data import build, preprocess
from tff_vision.data.sources import decode, folders, store

RNG = np.random.default_rng(0)


def _image(path, shape=(6, 5, 3)):
  """Writes a random image, PNG, JPEG or BMP by suffix, and returns it."""
  path.parent.mkdir(parents=True, exist_ok=True)
  image = RNG.integers(0, 256, shape, np.uint8)
  encode = tf.io.encode_jpeg if path.suffix in ('.jpg', '.jpeg') else tf.io.encode_png
  path.write_bytes(encode(image).numpy())
  return image


def _tree(root, prefixes, n=5, suffix='.png'):
  return {f'{prefix}/{i}{suffix}': _image(root / prefix / f'{i}{suffix}') for prefix in prefixes for i in range(n)}


def _build(root, **fields):
  return build.build(configs.DataConfig(**{'dataset': 'folder', 'data_dir': str(root), 'partition': 'iid',
                                           'num_clients': 2} | fields), seed=0)


def _images(found):
  clients = [found.train.examples(client).x for client in range(len(found.train))]
  return sorted(image.tobytes() for image in np.concatenate([*clients, found.test.examples.x]))


def test_classes_only_are_split_and_partitioned(tmp_path):
  written = _tree(tmp_path, ['cat', 'dog'])
  found = _build(tmp_path)
  assert found.class_names == ('cat', 'dog') and len(found.test.examples) == 2
  assert _images(found) == sorted(image.tobytes() for image in written.values())
  np.testing.assert_array_equal(np.bincount(found.test.examples.y), [1, 1])
  with pytest.raises(ValueError, match='partition=natural'):
    _build(tmp_path, partition='natural')


def test_clients_with_classes(tmp_path):
  written = _tree(tmp_path, ["clinic 'A'/cat", "clinic 'A'/dog", 'clinic B/dog'])
  found = _build(tmp_path, partition='natural', num_clients=None, test_fraction=0.4)
  assert found.train.client_ids == ["clinic 'A'", 'clinic B'] and found.class_names == ('cat', 'dog')
  assert [found.train.num_examples(client) for client in range(2)] == [6, 3]
  assert [len(positions) for positions in found.test.clients] == [4, 2]
  assert set(found.train.examples(1).y) == {1}
  assert _images(found) == sorted(image.tobytes() for image in written.values())


def test_splits_and_a_client_that_never_trains(tmp_path):
  written = _tree(tmp_path, ['train/a/x', 'train/a/y', 'test/a/y', 'test/b/y'], n=2)
  found = _build(tmp_path, partition='natural', num_clients=None)
  assert found.train.client_ids == ['a']
  np.testing.assert_array_equal(found.test.examples.x[found.test.clients[0]],
                                [written['test/a/y/0.png'], written['test/a/y/1.png']])
  np.testing.assert_array_equal(found.unseen.examples.x, [written['test/b/y/0.png'], written['test/b/y/1.png']])


def test_validation_serves_as_test_set_only_if_there_is_none(tmp_path):
  _tree(tmp_path, ['train/x', 'val/x'], n=3)
  assert len(_build(tmp_path).test.examples) == 3
  _tree(tmp_path, ['test/x'], n=2)
  found = _build(tmp_path)
  assert len(found.test.examples) == 2 and any('3 images of the split val' in note for note in found.notes)


def test_any_size_grey_or_colour(tmp_path):
  _image(tmp_path / 'x' / 'a.png', (9, 7, 1))
  colour = _image(tmp_path / 'x' / 'b.png', (9, 7, 3))
  _image(tmp_path / 'x' / 'c.jpg', (30, 20, 3))
  _image(tmp_path / 'x' / 'd.png', (9, 7, 4))
  _image(tmp_path / 'x' / 'e.png', (9, 7, 2))
  found = _build(tmp_path, num_clients=1)
  assert found.train.examples(0).x.shape[1:] == (9, 7, 1)
  assert any('9x7x1, the shape of the first' in note for note in found.notes)
  chosen = _build(tmp_path, num_clients=1, image_size=8, image_channels=3)
  assert chosen.train.examples(0).x.shape[1:] == (8, 8, 3)
  grey = decode.read(tmp_path / 'x' / 'b.png', (9, 7, 1))[..., 0]
  np.testing.assert_allclose(grey, colour @ [.2989, .587, .114], atol=1)
  _image(tmp_path / 'x' / 'a.png', (600, 10, 1))
  with pytest.raises(ValueError, match='a.png has 600x10 pixels.*image_size'):
    _build(tmp_path)


@pytest.mark.parametrize('damage', [lambda raw: raw[:-20], lambda raw: b'', lambda raw: b'text'],
                         ids=['truncated', 'empty', 'foreign'])
def test_corrupt_file_is_refused_or_left_out_and_counted(tmp_path, damage):
  _tree(tmp_path, ['x', 'y'])
  bad = tmp_path / 'x' / '3.png'
  bad.write_bytes(damage(bad.read_bytes()))
  with pytest.raises(ValueError, match=r'x/3.png is corrupt .*1 of 10.*corrupt_images=skip'):
    _build(tmp_path)
  for _ in range(2):  # The second time from the remembered answer.
    found = _build(tmp_path, corrupt_images='skip')
    assert any('1 corrupt of 10' in note and '3.png' in note for note in found.notes)
    assert len(_images(found)) == 9


def test_what_a_camera_writes_behind_the_image_is_no_damage(tmp_path):
  _tree(tmp_path, ['x'])
  path = tmp_path / 'x' / '0.jpg'
  _image(path)
  path.write_bytes(path.read_bytes() + b'motion' * 2000)
  assert len(_images(_build(tmp_path))) == 6


def test_damage_in_the_middle_is_named_when_the_file_is_read(tmp_path):
  _tree(tmp_path, ['x'])
  bad = tmp_path / 'x' / '0.png'
  raw = bytearray(bad.read_bytes())
  raw[len(raw) // 2] ^= 0xff
  bad.write_bytes(raw)
  with pytest.raises(ValueError, match='0.png is no PNG'):
    found = _build(tmp_path, num_clients=1, image_size=4)
    found.train.examples(0)
  assert len(_images(_build(tmp_path, num_clients=1, corrupt_images='skip'))) == 4


def test_nothing_is_decoded_before_it_is_needed(tmp_path, monkeypatch):
  _tree(tmp_path, ['x', 'y'], n=20)
  read = []
  real = decode.contents
  monkeypatch.setattr(decode, 'contents', lambda content, *name: read.append(name) or real(content, *name))
  found = _build(tmp_path, num_clients=4)
  assert len(read) == 2 + len(found.test.examples)  # The first image and test image for their shape, and the test set.
  found.train.examples(2)
  assert len(read) == 2 + len(found.test.examples) + found.train.num_examples(2)


def test_layouts_that_are_none(tmp_path):
  with pytest.raises(ValueError, match='holds no .png'):
    _build(tmp_path)
  _tree(tmp_path, ['x', 'y'])
  (tmp_path / 'x' / 'notes.txt').write_text('')
  (tmp_path / 'Thumbs.db').write_text('')
  assert any('2 files that are no images left out (.db, .txt)' in note for note in _build(tmp_path).notes)
  _image(tmp_path / 'x' / 'deep' / '0.png')
  with pytest.raises(ValueError, match='x/deep/0.png does not lie as the others do'):
    _build(tmp_path)
  with pytest.raises(ValueError, match='needs data_dir'):
    folders.load(configs.DataConfig(dataset='folder'))
  with pytest.raises(ValueError, match='is no folder'):
    _build(tmp_path / 'nowhere')


def test_linked_folders_are_followed_once(tmp_path):
  _tree(tmp_path / 'elsewhere', ['x', 'y'])
  (tmp_path / 'root').mkdir()
  (tmp_path / 'root' / 'x').symlink_to(tmp_path / 'elsewhere' / 'x')
  (tmp_path / 'root' / 'y').symlink_to(tmp_path / 'elsewhere' / 'y')
  (tmp_path / 'elsewhere' / 'x' / 'loop').symlink_to(tmp_path / 'root')
  assert len(_images(_build(tmp_path / 'root'))) == 10


def _manifest(tmp_path, lines):
  (tmp_path / 'manifest.csv').write_text('\n'.join(lines), encoding='utf-8-sig')


def test_manifest(tmp_path):
  written = {name: _image(tmp_path / name) for name in ('a.png', 'b.png', 'sub/c.png', 'd.png')}
  _manifest(tmp_path, ['path,label,client,split,age', "a.png,ill,O'Brien,train,3", 'b.png,well,Ann,train,4',
                       "sub/c.png,well,O'Brien,test,5", 'd.png,ill,Zoe,val,6'])
  found = _build(tmp_path, partition='natural', num_clients=None)
  assert found.train.client_ids == ['Ann', "O'Brien"] and found.class_names == ('ill', 'well')
  np.testing.assert_array_equal(found.train.examples(1).x, [written['a.png']])
  np.testing.assert_array_equal(found.test.examples.x, [written['sub/c.png']])
  np.testing.assert_array_equal(found.test.clients[1], [0])
  assert any('not read: age' in note for note in found.notes) and any('1 images of the split val' in note
                                                                      for note in found.notes)


@pytest.mark.parametrize('lines, said', [
    (['file,label', 'a.png,x'], 'lacks the column path'),
    (['path,label', 'a.png,x', 'a.png,y'], 'line 3 lists a.png again, after line 2'),
    (['path,label', 'a.png,'], 'line 2 has no label'),
    (['path,label', 'a.png'], 'line 2 has no label'),
    (['path,label,client', 'a.png,x,'], 'line 2 has no client'),
    (['path,label', 'gone.png,x'], 'line 2 names gone.png, which does not exist'),
    (['path,label,split', 'a.png,x,eval'], "line 2 has split='eval'"),
    (['path,label,split', 'a.png,x,test'], 'train set holds no example'),
    (['path,label'], 'lists no image'),
    ([], 'lacks the column label, path'),
])
def test_bad_manifests(tmp_path, lines, said):
  _image(tmp_path / 'a.png')
  _manifest(tmp_path, lines)
  with pytest.raises(ValueError, match=said):
    _build(tmp_path)


def test_medical_mnist(tmp_path):
  for name in folders.MEDICAL_MNIST_CLASSES:
    for number in range(5):
      _image(tmp_path / name / f'00000{number}.jpeg', (64, 64, 1))
  found = _build(tmp_path, dataset='medical_mnist')
  assert found.class_names == folders.MEDICAL_MNIST_CLASSES and found.test.examples.x.shape == (6, 64, 64, 1)
  # Names in the order of the distribution, which is not that of the alphabet.
  client = found.train.examples(0)
  assert set(client.y) <= set(range(6)) and folders.locate_medical_mnist(str(tmp_path))[0]
  x = decode.read(tmp_path / 'CXR' / '000000.jpeg')
  position = [i for i, image in enumerate(np.concatenate([found.train.examples(c).x for c in range(2)]
                                                         + [found.test.examples.x])) if np.array_equal(image, x)]
  labels = np.concatenate([found.train.examples(c).y for c in range(2)] + [found.test.examples.y])
  assert [found.class_names[label] for label in labels[position]] == ['CXR']
  (tmp_path / 'Hand').rename(tmp_path / 'Foot')
  with pytest.raises(ValueError, match='lacks Hand and also holds Foot'):
    _build(tmp_path, dataset='medical_mnist')
  assert not folders.locate_medical_mnist(str(tmp_path))[0]


def test_decoding_many_kinds(tmp_path):
  grey = _image(tmp_path / 'g.png', (4, 3, 1))
  np.testing.assert_array_equal(decode.read(tmp_path / 'g.png'), grey)
  with pytest.raises(ValueError, match='cannot be read'):
    decode.read(tmp_path / 'none.png')
  deep = (np.arange(12).reshape(4, 3, 1) * 5000).astype(np.uint16)
  (tmp_path / 'deep.png').write_bytes(tf.io.encode_png(deep).numpy())
  np.testing.assert_array_equal(decode.read(tmp_path / 'deep.png'), deep >> 8)
  assert decode.looks_whole(tmp_path / 'deep.png') and not decode.looks_whole(pathlib.Path(tmp_path / 'none.png'))
  empty = store.StoredExamples(store.Files([]), np.zeros(0, np.int32), (4, 3, 1))
  assert empty.take(np.zeros(0, int)).x.shape == (0, 4, 3, 1)


def test_a_file_gives_the_exported_model_what_evaluation_sees(tmp_path):
  _tree(tmp_path / 'root', ['x', 'y'])
  found = _build(tmp_path / 'root', num_clients=1, image_size=9, image_channels=1, crop=7, preprocess='per_image')
  shape = preprocess.input_shape(found.preprocessing, found.train.pool.shape)
  inner = tf.keras.Sequential([tf.keras.layers.Input(shape), tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)])
  preprocess.with_preprocessing(inner, found.preprocessing, found.test.examples).save(tmp_path / 'model.keras')
  model = tf.keras.models.load_model(tmp_path / 'model.keras', compile=False)
  expected = inner(preprocess.evaluation_fn(found.preprocessing, tf.constant(found.test.examples.x))).numpy()
  paths = [path for path in (tmp_path / 'root').rglob('*.png')]
  stored = {decode.read(path, (9, 9, 1)).tobytes(): path for path in paths}
  for image, logits in zip(found.test.examples.x, expected, strict=True):
    pixels = decode.read(stored[image.tobytes()], (9, 9, 1)).astype(np.float32)
    np.testing.assert_allclose(model(pixels[np.newaxis]).numpy()[0], logits, atol=1e-5)
