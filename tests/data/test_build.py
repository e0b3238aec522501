"""From names to clients: the sources that need no download, TFF's EMNIST over a fixture, and clients' book-keeping."""

import hashlib
import lzma

import numpy as np
import pytest

from tests.data import conftest
from tff_vision import configs
from tff_vision.data import build, images, preprocess
from tff_vision.data.sources import fetch, pool, tff_sets


def registered(path):
  """Returns the facts of a fixture in place of those of the public file."""
  raw = path.read_bytes()
  return fetch.RemoteFile(url=path.as_uri(), name=path.name, size=len(raw),
                          digest='sha256:' + hashlib.sha256(raw).hexdigest())


@pytest.fixture
def emnist(tmp_path, monkeypatch):
  """Puts a tiny EMNIST where the public archive is."""
  folder = tmp_path / 'upstream'
  folder.mkdir()
  database = conftest.write_tff_sqlite(folder / 'emnist_all.sqlite', conftest.writers())
  archive = folder / 'emnist_all.sqlite.lzma'
  archive.write_bytes(lzma.compress(database.read_bytes(), preset=0))
  monkeypatch.setattr(tff_sets, 'EMNIST', registered(database))
  monkeypatch.setattr(tff_sets, 'EMNIST_ARCHIVE', registered(archive))
  database.unlink()
  return archive


def _config(**fields):
  return configs.DataConfig(**{'partition': 'iid', 'num_clients': 7} | fields)


def test_digits_and_fixed_test_set():
  first = build.build(_config(), seed=0)
  second = build.build(_config(partition='dirichlet'), seed=5)
  assert first.class_names == tuple('0123456789') and not first.multi_label
  np.testing.assert_array_equal(first.test.examples.x, second.test.examples.x)
  assert sum(first.train.num_examples(client) for client in range(7)) + len(first.test.examples) == 1797
  assert first.train.client_ids[0] == 'client_0' and first.test.examples.x.max() == 255
  one = first.train.examples(3)
  assert one.x.shape == (first.train.num_examples(3), 8, 8, 1)
  again = build.build(_config(), seed=0)
  np.testing.assert_array_equal(one.x, again.train.examples(3).x)
  assert not np.array_equal(one.x, build.build(_config(), seed=1).train.examples(3).x)


def test_a_normal_class_of_test_images_only_is_named(tmp_path):
  x = np.random.default_rng(0).integers(0, 256, (12, 8, 8)).astype(np.uint8)
  np.savez(tmp_path / 'parts.npz', x=x, y=np.zeros(12, int), x_test=x[::-1, ::-1], y_test=np.arange(12) % 2,
           class_names=['good', 'bad'])
  settings = {'dataset': 'npz', 'data_dir': str(tmp_path / 'parts.npz'), 'num_clients': 2}
  assert len(build.build(_config(**settings, normal_class='good'), seed=0).train) == 2
  with pytest.raises(ValueError, match='normal_class=bad: no training image of dataset=npz is of this class'):
    build.build(_config(**settings, normal_class='bad'), seed=0)


def test_emnist_is_fetched_and_keeps_its_writers(emnist):
  found = build.build(_config(dataset='emnist', partition='natural', num_clients=None), seed=0)
  assert found.train.client_ids == ['f0001_41', "f0002_O'Brien", 'f0003_11']
  assert [found.train.num_examples(client) for client in range(3)] == [5, 6, 7]
  assert [len(positions) for positions in found.test.clients] == [2, 3, 4]
  assert len(found.test.examples) == 9 and found.unseen is None and len(found.class_names) == 62
  emnist.unlink()  # The second time from the cache.
  kept = build.build(_config(dataset='emnist_digits', partition='natural', num_clients=2), seed=0)
  assert kept.train.client_ids == ['f0001_41', "f0002_O'Brien"] and len(kept.class_names) == 10
  assert len(kept.test.examples) == 1 + 2 and any('2 of 3 clients' in note for note in kept.notes)


def test_emnist_goes_through_label_partitions_too(emnist):
  found = build.build(_config(dataset='emnist', partition='iid', num_clients=4), seed=0)
  everyone = np.concatenate([found.train.examples(client).y for client in range(4)])
  natural = build.build(_config(dataset='emnist', partition='natural', num_clients=None), seed=0)
  assert sorted(everyone) == sorted(np.concatenate([natural.train.examples(client).y for client in range(3)]))


@pytest.mark.parametrize('fields, said', [
    ({'dataset': 'digitz'}, "dataset must be one of .*attribute of your own; found 'digitz'. Did you mean 'digits'"),
    ({'dataset': '/scans/2024'}, 'dataset=/scans/2024 is a path.*--dataset=folder --data_dir=/scans/2024'),
    ({'dataset': 'medmnist:paht'}, "Did you mean 'medmnist:path"),
    ({'partition': 'natural'}, 'partition=natural.*dataset=digits'),
    ({'num_clients': 5000}, 'num_clients=5000.*143[0-9]'),
    ({'dataset': 'idx'}, 'needs data_dir'),
    ({'dataset': 'idx', 'data_dir': '/nowhere'}, '/nowhere holds no train-images'),
])
def test_bad_input(fields, said):
  with pytest.raises(ValueError, match=said):
    build.build(_config(**fields), seed=0)


def test_settings_that_images_of_ones_own_do_not_read_are_refused(tmp_path, monkeypatch):
  (tmp_path / 'given_images.py').write_text(
      'import numpy as np\n\nimport tff_vision as tv\n\nX, Y = np.zeros((6, 4, 4), np.uint8), np.arange(6) % 2\n'
      'images = tv.data.from_arrays({"a": (X, Y), "b": (X, Y)}, test=(X, Y))\n\n\n'
      'def made(config):\n  return images if config.num_clients == 7 else None\n')
  monkeypatch.syspath_prepend(tmp_path)
  build_it = lambda **fields: build.build(configs.DataConfig(**fields), seed=0)
  assert len(build_it(dataset='given_images:images', augment_rotation=3.0).train) == 2
  assert len(build_it(dataset='given_images:made', num_clients=7, pixel_range='0,16').train) == 2
  for field, value in {'num_clients': 7, 'partition': 'iid', 'image_size': 8, 'preprocess': 'invert'}.items():
    with pytest.raises(ValueError, match=f'^{field}={value!r} has no effect with images that are given as an object'):
      build_it(dataset='given_images:images', **{field: value})


def test_preprocessing_is_the_sources_own_unless_chosen(emnist):
  natural = {'dataset': 'emnist', 'partition': 'natural', 'num_clients': None}
  assert build.build(_config(**natural), seed=0).preprocessing == images.Preprocessing()
  chosen = build.build(_config(**natural, preprocess='invert', crop=20, flip=True, image_channels=3), seed=0)
  assert chosen.preprocessing == images.Preprocessing(pixels='invert', crop=20, flip=True, channels=3)
  assert build.build(_config(preprocess='per_image'), seed=0).preprocessing.scale == 1
  with pytest.raises(ValueError, match='crop=9 is larger than the images, 8x8'):
    build.build(_config(crop=9), seed=0)


def test_standardize_without_published_moments_says_where_they_come_from():
  found = build.build(_config(preprocess='standardize'), seed=0)
  x = np.concatenate([found.train.examples(client).x for client in range(7)]) / 255
  np.testing.assert_allclose(found.preprocessing.mean, [x.mean()], atol=1e-3)
  np.testing.assert_allclose(found.preprocessing.std, [x.std()], atol=1e-3)
  assert 'outside of any privacy mechanism' in found.notes[-1]


@pytest.mark.parametrize(('low', 'high'), [(0.5, 0.50002), (3e-7, 5e-7), (-2e-6, 4e-6)])
def test_standardize_keeps_the_digits_of_dark_images_and_of_low_contrast(tmp_path, low, high):
  x = np.random.default_rng(0).uniform(low, high, (40, 6, 6)).astype(np.float32)
  np.savez(tmp_path / 'data.npz', x=x, y=np.arange(40) % 2, x_test=x[:4], y_test=[0, 1] * 2)
  found = build.build(_config(dataset='npz', data_dir=str(tmp_path), preprocess='standardize'), seed=0)
  made = np.asarray(preprocess.evaluation_fn(found.preprocessing, x))
  np.testing.assert_allclose([made.mean(), made.std()], [0, 1], atol=0.01)


def test_standardize_measures_many_pixels_exactly_and_refuses_a_channel_of_one_value():
  """Added up in float32, pixels of 0.9 have a mean of 0.98 and a deviation of 0.08."""
  parts = [np.full((100, 64, 64, 3), 0.9 + shift) for shift in (-0.1, 0.0, 0.1, 0.0)]
  (mean, *_), (std, *_) = build._moments(parts)
  assert abs(mean - 0.9) < 1e-9 and abs(std - np.sqrt(0.005)) < 1e-9
  parts[0][..., 1], parts[1][..., 1], parts[2][..., 1], parts[3][..., 1] = 0.3, 0.3 + 1e-8, 0.3, 0.3
  assert build._moments(parts)[1] == ()
  many = images.Examples(np.broadcast_to(np.float32(0.9), (1500, 64, 64, 3)), np.zeros(1500, np.int32))
  with pytest.raises(ValueError, match='the deviation of pixels, which is 0 in dataset=npz'):
    build._preprocessing(pool.Pool(train=many, test=many, class_names=('a', 'b')),
                         _config(dataset='npz', data_dir='x', preprocess='standardize'))


def _npz(tmp_path, **content):
  np.savez(tmp_path / 'data.npz', **content)
  return _config(dataset='npz', data_dir=str(tmp_path), partition='natural', num_clients=None)


def test_what_may_surprise_is_counted(tmp_path):
  """A class missing from training, a client with one example, clients that only test."""
  x = np.arange(6 * 4, dtype=np.uint8).reshape(6, 2, 2)
  found = build.build(_npz(tmp_path, x=x, y=[0, 0, 2, 0, 2, 2], client=['b', 'b', 'b', 'a', 'b', 'b'], x_test=x[:3],
                           y_test=[0, 1, 2], client_test=['c', 'a', 'c']), seed=0)
  assert found.train.client_ids == ['a', 'b'] and [found.train.num_examples(i) for i in range(2)] == [1, 5]
  assert any('1 of 3 classes have no training example: 1.' in note for note in found.notes)
  assert any('1 of 2 clients hold a single training example' in note for note in found.notes)
  assert len(found.test.examples) == 1 and [len(positions) for positions in found.test.clients] == [1, 0]
  np.testing.assert_array_equal(found.unseen.examples.y, [0, 2])
  assert [positions.tolist() for positions in found.unseen.clients] == [[0, 1]]
