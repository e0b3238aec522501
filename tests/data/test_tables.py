"""Images inside Parquet files, tar shards and LEAF's JSON files."""

import base64
import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from tff_vision import configs
from tff_vision.data import build
from tff_vision.data.sources import parquet as parquet_source
from tff_vision.data.sources import store, webdataset

RNG = np.random.default_rng(0)


def _png(shape=(6, 5, 3)):
  image, out = RNG.integers(0, 256, shape, np.uint8), io.BytesIO()
  Image.fromarray(image).save(out, 'PNG')
  return image, out.getvalue()


def _build(kind, root, **fields):
  return build.build(configs.DataConfig(**{'dataset': kind, 'data_dir': str(root), 'partition': 'natural'} | fields),
                     seed=0)


def _said(found, *words):
  return any(all(word in note for word in words) for note in found.notes)


def _hugging_face(features):
  return {b'huggingface': json.dumps({'info': {'features': features}}).encode()}


def _write(path, columns, features=None, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  table = pa.table(columns)
  parquet.write_table(table.replace_schema_metadata(_hugging_face(features)) if features else table, path, **options)


FEATURES = {'image': {'_type': 'Image'}, 'label': {'names': ['dog', 'cat', 'ant'], '_type': 'ClassLabel'},
            'writer': {'dtype': 'string', '_type': 'Value'}}


def _rows(n, first=0):
  made = [_png() for _ in range(n)]
  labels, writers = [(first + i) % 2 for i in range(n)], [f'w{(first + i) // 4}' for i in range(n)]
  return [image for image, _ in made], {'image': [{'bytes': png, 'path': None} for _, png in made], 'label': labels,
                                        'writer': writers}


def test_parquet_of_hugging_face_with_class_names_splits_and_clients(tmp_path):
  (first, one), (second, two), (held_out, test) = _rows(8), _rows(8, 8), _rows(4)
  _write(tmp_path / 'data' / 'train-00000-of-00002-a1b2c3d4e5f60718.parquet', one, FEATURES, row_group_size=3)
  _write(tmp_path / 'data' / 'train-00001-of-00002-a1b2c3d4e5f60718.parquet', two, FEATURES)
  _write(tmp_path / 'data' / 'test-00000-of-00001-a1b2c3d4e5f60718.parquet', test, FEATURES)
  found = _build('parquet', tmp_path, client_column='writer')
  assert found.class_names == ('dog', 'cat', 'ant') and found.train.client_ids == ['w0', 'w1', 'w2', 'w3']
  assert not found.told_by_clients and _said(found, 'column image', 'in label', 'in writer')
  np.testing.assert_array_equal(found.train.examples(0).x, first[:4])
  np.testing.assert_array_equal(found.train.examples(3).x, second[4:])
  assert found.train.examples(3).y.tolist() == two['label'][4:] == [0, 1, 0, 1]
  np.testing.assert_array_equal(found.test.examples.x, held_out)
  assert [len(positions) for positions in found.test.clients] == [4, 0, 0, 0]
  # Rows in any order, and other images than those of whole row groups.
  order = np.array([7, 2, 2, 11])
  taken = found.train.pool.take(order).x
  np.testing.assert_array_equal(taken, np.array([*first, *second])[order])


def test_row_groups_that_are_too_large_to_keep_are_read_in_parts(tmp_path, monkeypatch):
  pictures, rows = _rows(40)
  _write(tmp_path / 'x.parquet', rows, FEATURES, row_group_size=25)
  monkeypatch.setattr(parquet_source, '_BATCH', 7)
  for kept in (0, 2000, 10**9):
    monkeypatch.setattr(parquet_source, '_KEPT_BYTES', kept)
    found = _build('parquet', tmp_path / 'x.parquet', partition='iid', num_clients=3)
    everything = [*(image.tobytes() for client in range(3) for image in found.train.examples(client).x),
                  *(image.tobytes() for image in found.test.examples.x)]
    assert sorted(everything) == sorted(image.tobytes() for image in pictures)
  assert sum(found.train.num_examples(i) for i in range(3)) == 32
  (tmp_path / 'x.parquet').rename(tmp_path / 'train-0000.parquet')  # No other split: a share is held out.
  assert len(_build('parquet', tmp_path, partition='iid', num_clients=3).test.examples) == 8


def test_parquet_with_plain_columns(tmp_path):
  _, rows = _rows(20)
  plain = {'picture': [row['bytes'] for row in rows['image']], 'kind': ['cat', 'dog '] * 10, 'n': list(range(20))}
  _write(tmp_path / 'x.parquet', plain)
  with pytest.raises(ValueError, match=r'x.parquet has the columns picture, kind, n: choose one with label_column'):
    _build('parquet', tmp_path, partition='iid', num_clients=2)
  found = _build('parquet', tmp_path, partition='iid', num_clients=2, label_column='kind')
  assert found.class_names == ('cat', 'dog') and found.counted_classes and _said(found, "'dog '")
  _write(tmp_path / 'x.parquet', plain | {'label': [10, 9] * 10})
  assert _build('parquet', tmp_path, partition='iid', num_clients=2).class_names == ('9', '10')
  _write(tmp_path / 'x.parquet', plain | {'label': ['a|b', 'b'] * 10})
  several = _build('parquet', tmp_path, partition='iid', num_clients=2)
  assert several.multi_label and several.class_names == ('a', 'b')
  features = {'picture': {'_type': 'Image'}, 'label': {
      'feature': {'names': ['x', 'y', 'z'], '_type': 'ClassLabel'}, '_type': 'Sequence'}}
  _write(tmp_path / 'x.parquet', plain | {'label': [[0, 2], []] * 10}, features)
  listed = _build('parquet', tmp_path, partition='iid', num_clients=2)
  assert listed.class_names == ('x', 'y', 'z') and {tuple(y) for y in listed.test.examples.y} == {(1, 0, 1), (0, 0, 0)}


@pytest.mark.parametrize('written', [
    base64.b64encode, base64.encodebytes, lambda content: base64.b64encode(content).decode(),
    lambda content: f'data:image/png;base64,{base64.b64encode(content).decode()}'])
def test_images_of_parquet_in_base64(tmp_path, written):
  pictures = [_png() for _ in range(10)]
  _write(tmp_path / 'train.parquet', {'image': [written(content) for _, content in pictures], 'label': [0, 1] * 5})
  _write(tmp_path / 'test.parquet', {'image': [written(content) for _, content in pictures], 'label': [0, 1] * 5})
  found = _build('parquet', tmp_path, partition='iid', num_clients=1)
  np.testing.assert_array_equal(found.test.examples.x, [image for image, _ in pictures])


def test_what_is_wrong_in_parquet_is_one_sentence(tmp_path):
  _, rows = _rows(10)
  path = tmp_path / 'x.parquet'

  def refused(said, columns=None, features=None, **fields):
    if columns is not None:
      _write(path, columns, features)
    with pytest.raises(ValueError, match=said) as error:
      _build('parquet', tmp_path, **{'partition': 'iid', 'num_clients': 2} | fields)
    assert '\n' not in str(error.value)
  refused('x.parquet row 3 has no label', rows | {'label': [0, 1, 0, -1, *[0] * 6]}, FEATURES)
  refused('x.parquet row 2 has the label 7, and 3 classes are named', rows | {'label': [0, 1, 7, *[0] * 7]}, FEATURES)
  refused(r"x.parquet row 0 has the label 0.5, which is neither", rows | {'label': [0.5] * 10}, {})
  broken = [dict(row) for row in rows['image']]
  broken[4]['bytes'] = broken[4]['bytes'][:50]
  refused('x.parquet row 4 is corrupt or no image', rows | {'image': broken}, FEATURES)
  broken[4]['bytes'] = None
  refused('x.parquet row 4 is corrupt or no image', rows | {'image': broken}, FEATURES)
  assert _said(_build('parquet', tmp_path, partition='iid', num_clients=2, corrupt_images='skip'), '1 corrupt of 10')
  refused(r'x.parquet has no column hospital \(client_column\)', rows, FEATURES, client_column='hospital',
          partition='natural', num_clients=None)
  refused('x.parquet row 1 has no writer', rows | {'writer': ['a', None] * 5}, FEATURES, client_column='writer',
          partition='natural', num_clients=None)
  refused('client_column=writer has no effect with partition=iid', client_column='writer')
  _write(tmp_path / 'test.parquet', rows, FEATURES)
  refused('test.parquet is named like a split and .*x.parquet is not', rows, FEATURES)
  path.unlink()
  refused('test.parquet is for tests, and no file is for training')
  (tmp_path / 'test.parquet').write_bytes(b'PAR1')
  refused('test.parquet cannot be read as Parquet')
  (tmp_path / 'test.parquet').unlink()
  refused('holds no .parquet file')


def _shard(path, samples):
  """Writes samples, (key, {suffix: content}), as a tar file."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, 'w') as archive:
    for key, parts in samples:
      for suffix, content in parts.items():
        member = tarfile.TarInfo(f'{key}.{suffix}')
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def _samples(n, first=0, **more):
  made = [_png() for _ in range(n)]
  return [image for image, _ in made], [
      (f'a/{first + i:06d}', {'png': png, 'cls': str(i % 2).encode(), 'json': json.dumps(
          {'client': f'c{(first + i) // 4}', 'label': ['b', 'a'][i % 2]} | more).encode()})
      for i, (_, png) in enumerate(made)]


def test_webdataset_shards(tmp_path):
  (first, one), (second, two), (held_out, test) = _samples(8), _samples(4, 8), _samples(4)
  _shard(tmp_path / 'set-train-000000.tar', one)
  _shard(tmp_path / 'set-train-000001.tar', two)
  _shard(tmp_path / 'set-test-000000.tar', test)
  found = _build('webdataset', tmp_path)
  assert found.train.client_ids == ['c0', 'c1', 'c2'] and found.class_names == ('0', '1')
  np.testing.assert_array_equal(found.train.examples(1).x, first[4:])
  np.testing.assert_array_equal(found.train.examples(2).x, second)
  np.testing.assert_array_equal(found.test.examples.x, held_out)
  (tmp_path / 'classnames.txt').write_text('good\nbad\nnone\n')
  named = _build('webdataset', tmp_path)
  assert named.class_names == ('good', 'bad', 'none') and not named.counted_classes
  assert named.train.examples(0).y.tolist() == [0, 1, 0, 1]


def test_webdataset_labels_in_json_and_findings(tmp_path):
  _, samples = _samples(12)
  for _, parts in samples:
    del parts['cls']
  _shard(tmp_path / 'x.tar', samples)
  assert _build('webdataset', tmp_path / 'x.tar').class_names == ('a', 'b')
  for number, (_, parts) in enumerate(samples):
    parts['json'] = json.dumps({'tags': ['m', 'n'] if number % 2 else [], 'site': number // 6}).encode()
  _shard(tmp_path / 'x.tar', samples)
  found = _build('webdataset', tmp_path, label_column='tags', client_column='site')
  assert found.multi_label and found.class_names == ('m', 'n') and found.train.client_ids == ['0', '1']


def test_what_is_wrong_in_a_shard_is_one_sentence(tmp_path):
  path = tmp_path / 'x.tar'

  def refused(said, samples=None, **fields):
    if samples is not None:
      _shard(path, samples)
    with pytest.raises(ValueError, match=said) as error:
      _build('webdataset', tmp_path, **fields)
    assert '\n' not in str(error.value)
  png = _png()[1]
  refused(r'x.tar: a/1 holds no image \(it has cls\)', [('a/1', {'cls': b'0'})])
  refused(r'x.tar: a/1 has no label: neither a .cls', [('a/1', {'png': png})])
  refused(r'x.tar: a/1 holds several images \(png, jpg\)', [('a/1', {'png': png, 'jpg': png, 'cls': b'0'})])
  refused(r'x.tar: a/1.json cannot be read', [('a/1', {'png': png, 'json': b'{'})])
  refused(r'x.tar: a/2.png names no client', [('a/1', {'png': png, 'json': b'{"client": 1, "label": 1}'}),
                                              ('a/2', {'png': png, 'json': b'{"label": 1}'})])
  _shard(path, _samples(6)[1])
  content = path.read_bytes()
  path.write_bytes(content[:len(content) // 2 + 100])
  refused('x.tar is truncated')
  path.write_bytes(content + content)
  refused('x.tar holds something behind its end')
  path.write_bytes(b'\x1f\x8b' + bytes(600))
  refused('x.tar cannot be read as a tar file without compression')
  _shard(path, [('a/1', {'png': png[:60], 'cls': b'0', 'json': b'{"client": 1}'}), *_samples(6, 2)[1]])
  refused('x.tar: a/1.png is corrupt or no image', partition='iid', num_clients=1)


def test_stores_yield_what_was_asked_for_whatever_the_order(tmp_path):
  _shard(tmp_path / '0.tar', _samples(5)[1])
  _shard(tmp_path / '1.tar', _samples(5, 5)[1])
  members = [sample['png'] for number in range(2)
             for _, sample in webdataset._samples(tmp_path / f'{number}.tar', number)]
  shards = webdataset.Shards([tmp_path / '0.tar', tmp_path / '1.tar'], members)
  once = {place: content() for place, content in shards.read(range(10))}
  assert {place: content() for place, content in shards.read([9, 3, 4])} == {place: once[place] for place in (3, 4, 9)}
  assert [seen.digest for seen in shards.glances()] == [
      seen.digest for seen in store.Store.glances(shards)] and shards.size(3) == len(once[3])


def _leaf(path, users):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps({'users': list(users), 'num_samples': [len(data['y']) for data in users.values()],
                              'user_data': users}))


def test_leaf(tmp_path):
  pixels = {user: RNG.integers(0, 256, (4, 16)) for user in ('f1', 'f2', 't1')}
  users = {user: {'x': (x / 255).tolist(), 'y': [10, 2, 10, 2]} for user, x in pixels.items()}
  _leaf(tmp_path / 'data' / 'train' / 'all_data_0_train_9.json', {'f1': users['f1']})
  _leaf(tmp_path / 'data' / 'train' / 'all_data_1_train_9.json', {'f2': users['f2']})
  _leaf(tmp_path / 'data' / 'test' / 'all_data_0_test_9.json', {'f1': users['f1'], 't1': users['t1']})
  _leaf(tmp_path / 'data' / 'all_data' / 'all_data_0.json', users)
  found = _build('leaf', tmp_path)
  assert found.class_names == ('2', '10') and found.train.client_ids == ['f1', 'f2'] and found.spec.dtype == np.uint8
  np.testing.assert_array_equal(found.train.examples(1).x[..., 0].reshape(4, 16), pixels['f2'])
  assert found.train.examples(1).y.tolist() == [1, 0, 1, 0] and len(found.unseen.examples) == 4
  for path in (tmp_path / 'data').glob('t*/*.json'):
    path.unlink()
  assert len(_build('leaf', tmp_path / 'data').test.examples) == 2  # A fifth of either class of all three users.
  floats = {user: {'x': x.tolist(), 'y': ['a', 'b'] * 2} for user, x in (('u', RNG.random((4, 27))),
                                                                       ('v', RNG.random((4, 27))))}
  _leaf(tmp_path / 'f.json', floats)
  colour = _build('leaf', tmp_path / 'f.json')
  assert colour.spec.shape == (3, 3, 3) and colour.spec.dtype == np.float32 and colour.class_names == ('a', 'b')


def test_leaf_that_names_image_files(tmp_path):
  folder = tmp_path / 'raw' / 'img_align_celeba'
  folder.mkdir(parents=True)
  pictures = {}
  for i in range(12):
    pictures[f'{i}.png'], content = _png()
    (folder / f'{i}.png').write_bytes(content)
  _leaf(tmp_path / 'all_data' / 'x.json', {f'u{u}': {'x': [f'{4 * u + i}.png' for i in range(4)], 'y': [0, 1, 0, 1]}
                                          for u in range(3)})
  found = _build('leaf', tmp_path)
  assert len(found.train) == 3 and found.spec.shape == (6, 5, 3)
  assert all(x.tobytes() in {picture.tobytes() for picture in pictures.values()} for x in found.test.examples.x)
  (folder / '5.png').unlink()
  with pytest.raises(ValueError, match=r"x.json: user u1 names '5.png', which is no image file below"):
    _build('leaf', tmp_path)


@pytest.mark.parametrize(('content', 'said'), [
    ('{', 'cannot be read as JSON'), ('[]', 'is no file of LEAF: it has no user_data'),
    ('{"user_data": {"a": {"x": [[0, 1, 2, 3]], "y": []}}}', 'user a has 1 images and 0 labels'),
    ('{"user_data": {"a": {"x": [[0, 1, 2, 3, 4]], "y": [1]}}}', '5 pixels are no square image'),
    ('{"user_data": {"a": {"x": [[0, 1], [2]], "y": [1, 2]}}}', 'no lists of numbers of one length'),
    ('{"user_data": {"a": {"y": [1]}}}', 'user a has no lists x and y'),
    ('{"user_data": {}}', 'holds no user')])
def test_what_is_wrong_in_leaf_is_one_sentence(tmp_path, content, said):
  (tmp_path / 'x.json').write_text(content)
  with pytest.raises(ValueError, match=f'x.json.* {said}'):
    _build('leaf', tmp_path)


def test_leaf_users_of_different_ranges_of_floats_are_refused(tmp_path):
  """Pixels of k / 255 are kept as bytes, and those of another user in -1..1 as floats."""
  pixels = RNG.integers(0, 256, (2, 6, 64)) / 255
  users = {name: {'x': x.tolist(), 'y': [0, 1] * 3} for name, x in (('u', pixels[0]), ('v', pixels[1] * 2 - 1))}
  _leaf(tmp_path / 'f.json', users)
  with pytest.raises(ValueError, match=r'user u holds floats in 0.*, and user v floats in -'):
    _build('leaf', tmp_path / 'f.json')
