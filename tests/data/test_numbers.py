"""Numbers as labels: from arrays, manifests, folders and generators; each bad one is a sentence."""

import numpy as np
import pytest

from tff_vision import configs, labels
from tff_vision.data import attacked, build, given
from tff_vision.data.generators import shapes
from tff_vision.data.sources import decode, numbers
from tff_vision.report import partition


@pytest.fixture(name='files', scope='module')
def _files(tmp_path_factory):
  """A folder of images whose grey value is their number, in folders of that name, with a manifest of another number."""
  import tensorflow as tf
  root = tmp_path_factory.mktemp('numbers')
  rows = ['path;Age;client;note']
  for value in range(40):
    folder = root / 'images' / f'{value / 2:g}'
    folder.mkdir(parents=True)
    (folder / 'a.png').write_bytes(tf.io.encode_png(np.full((6, 6, 1), 6 * value, np.uint8)).numpy())
    rows.append(f'images/{value / 2:g}/a.png;{3 * value + 0.25};site{value % 3};x')
  (root / 'with_manifest').mkdir()
  (root / 'with_manifest' / 'manifest.csv').write_text('\n'.join(row.replace('images/', '../images/') for row in rows))
  return root


def _built(folder, **fields):
  return build.build(configs.DataConfig(dataset='folder', data_dir=str(folder), num_clients=3, **fields), seed=0)


def test_the_column_of_a_manifest_and_the_name_of_a_folder(files):
  made = _built(files / 'with_manifest', target='age', partition='natural')
  assert made.spec.labels is labels.Kind.NUMBER and made.class_names == ('age',) and not made.multi_label
  assert list(made.train.client_ids) == ['site0', 'site1', 'site2']
  for examples in (made.train.examples(1), made.test.examples):
    np.testing.assert_allclose(examples.y, examples.x[:, 0, 0, 0] / 2.0 + 0.25)
  # The test set spans the range, because it is drawn from all parts of it.
  assert len(made.test.examples) == pytest.approx(8, abs=2) and np.ptp(made.test.examples.y) > 60
  assert any('not read: note' in note for note in made.notes)
  by_folder = _built(files / 'images', target='folder')
  np.testing.assert_allclose(by_folder.test.examples.y, by_folder.test.examples.x[:, 0, 0, 0] / 12)
  assert sum(by_folder.train.num_examples(i) for i in range(3)) + len(by_folder.test.examples) == 40
  y = by_folder.training_labels()
  assert sorted({*y.tolist(), *by_folder.test.examples.y.tolist()}) == [value / 2 for value in range(40)]
  assert partition.commonest_share(by_folder) is None
  assert partition.class_mix(by_folder).multi_label is False
  shown = partition.sample_images(by_folder)[0]['images']
  assert all(float(image['label']) * 2 == int(float(image['label']) * 2) for image in shown)


@pytest.mark.parametrize(('where', 'fields', 'said'), [
    ('with_manifest', {'target': 'weight'}, 'lacks the column weight; it has path, age, client, note'),
    ('with_manifest', {'target': 'note'}, "line 2, column note: 'x' is no number"),
    ('images', {'target': 'age'}, 'target=age names a column of manifest.csv'),
    ('images', {'target': 'folder', 'dataset': 'digits'}, 'target=folder has no effect with dataset=digits')])
def test_bad_targets_are_one_sentence(files, where, fields, said):
  with pytest.raises(ValueError, match=said):
    build.build(configs.DataConfig(**{'dataset': 'folder', 'data_dir': str(files / where), 'num_clients': 3} | fields),
                seed=0)


def test_text_that_is_no_number():
  assert numbers.parsed(['1e3', '-2.5'], ['a', 'b']).tolist() == [1000, -2.5]
  for text, said in (('3,5', 'decimal point'), ('nan', 'no number'), ('', 'no number'), ('inf', 'no number'),
                     ('1_5', 'no number')):
    with pytest.raises(ValueError, match=f'row 1.*{said}'):
      numbers.parsed([text], ['row 1'])


@pytest.mark.parametrize(('count', 'share', 'expected'), [(12, 0.25, 3), (20, 0.2, 4), (7, 0.15, 1), (100, 0.2, 20)])
def test_some_of_few_numbers_are_held_out_over_their_range(count, share, expected):
  held = numbers.held_out(np.arange(count, dtype=np.float32), share)
  places = np.flatnonzero(held)
  assert len(places) == expected
  if expected > 2:
    assert places[0] < count / 3 and places[-1] >= 2 * count / 3


def test_an_array_of_a_file_or_of_a_program(tmp_path):
  rng = np.random.default_rng(0)
  x, size = rng.integers(0, 256, (50, 5, 5)).astype(np.uint8), rng.normal(3, 1, 50)
  np.savez(tmp_path / 'a.npz', x=x, y=np.arange(50) % 3, size=size, client=np.arange(50) % 4)
  config = {'dataset': 'npz', 'data_dir': str(tmp_path / 'a.npz'), 'partition': 'natural'}
  made = build.build(configs.DataConfig(target='size', **config), seed=0)
  found = np.concatenate([made.training_labels(), made.test.examples.y])
  np.testing.assert_allclose(np.sort(found), np.sort(size), rtol=1e-6)
  assert made.class_names == ('size',) and made.test.examples.y.dtype == np.float32
  assert build.build(configs.DataConfig(**config), seed=0).class_names == ('0', '1', '2')
  whole = build.build(configs.DataConfig(target='y', **config), seed=0)
  assert whole.spec.labels is labels.Kind.NUMBER and set(whole.training_labels()) == {0, 1, 2}
  with pytest.raises(ValueError, match='lacks the array age'):
    build.build(configs.DataConfig(target='age', **config), seed=0)
  np.savez(tmp_path / 'b.npz', x=x, size=np.where(np.arange(50) == 7, np.nan, size))
  with pytest.raises(ValueError, match='size must be .* finite numbers'):
    build.build(configs.DataConfig(target='size', **config | {'data_dir': str(tmp_path / 'b.npz')}), seed=0)
  own = given.from_arrays({'a': (x[:30], size[:30]), 'b': (x[30:], size[30:])}, test=None, target='size')
  assert own.spec.labels is labels.Kind.NUMBER and own.class_names == ('size',)
  with pytest.raises(ValueError, match='attack=label_flip gives images other classes'):
    attacked.attacked(configs.AttackConfig(attack='label_flip', attack_fraction=0.5), own, seed=0)


def test_drawn_shapes_are_as_large_as_their_number_says():
  """Of discs, whose area tells the diameter."""
  rng = np.random.default_rng(3)
  kinds = np.zeros(300, np.int32)
  pictures = shapes.draw(rng, kinds).astype(float)
  _, sizes = shapes._turns_and_sizes(np.random.default_rng(3), 300)
  ground = np.median(np.concatenate([pictures[:, 0], pictures[:, -1]], axis=1), axis=1)
  away = np.linalg.norm(pictures - ground[:, None, None], axis=3)
  area = (away > away.max(axis=(1, 2), keepdims=True) / 2).sum(axis=(1, 2))
  assert np.corrcoef(np.sqrt(area), sizes.ravel())[0, 1] > 0.8


def test_decoding_is_unchanged_by_labels(files):
  assert decode.native(str(files / 'images' / '3' / 'a.png')).max() == 36
