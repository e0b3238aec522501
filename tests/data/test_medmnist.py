"""MedMNIST over files of its layout: single-label, binary and multi-label, sizes, licences, damage."""

import hashlib

import numpy as np
import pytest

from tff_vision import configs
from tff_vision.catalogue import medmnist as medmnist_table
from tff_vision.data import build
from tff_vision.data.sources import fetch, medmnist, registry

RNG = np.random.default_rng(0)


def _place(folder, flag, size=28, monkeypatch=None, **changes):
  """Writes a tiny file of the set and returns its arrays; with `monkeypatch`, registers its MD5."""
  facts = medmnist_table.SETS[flag]
  shape = (size, size) if facts.channels == 1 else (size, size, 3)
  arrays = {}
  for split, n in (('train', 20), ('val', 3), ('test', 8)):
    arrays[f'{split}_images'] = RNG.integers(0, 256, (n, *shape), np.uint8)
    width, top = (len(facts.class_names), 2) if facts.multi_label else (1, len(facts.class_names))
    arrays[f'{split}_labels'] = RNG.integers(0, top, (n, width), np.uint8)
  arrays |= changes
  path = folder / medmnist.remote_file(flag, size).name
  np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
  if monkeypatch is not None:
    digest = 'md5:' + hashlib.md5(path.read_bytes()).hexdigest()
    real = medmnist.remote_file

    def registered(flag, size):
      remote = real(flag, size)
      return fetch.RemoteFile(url=remote.url, name=remote.name, digest=digest, instead=remote.instead)
    monkeypatch.setattr(medmnist, 'remote_file', registered)
  return arrays


def _build(flag, folder, **fields):
  return build.build(configs.DataConfig(**{'dataset': f'medmnist:{flag}', 'data_dir': str(folder), 'partition': 'iid',
                                           'num_clients': 2} | fields), seed=0)


def test_the_table():
  assert len(medmnist_table.SETS) == 12
  digests = [digest for facts in medmnist_table.SETS.values() for digest in facts.md5]
  assert len(set(digests)) == 48 and all(len(digest) == 32 and int(digest, 16) for digest in digests)
  assert [flag for flag, facts in medmnist_table.SETS.items() if not facts.commercial] == ['dermamnist']
  assert [flag for flag, facts in medmnist_table.SETS.items() if facts.multi_label] == ['chestmnist']
  assert len(medmnist_table.SETS['chestmnist'].class_names) == 14


@pytest.mark.parametrize('flag, size', [('pathmnist', 28), ('pneumoniamnist', 64), ('organamnist', 28)])
def test_single_label(tmp_path, monkeypatch, flag, size):
  arrays = _place(tmp_path, flag, size, monkeypatch)
  found = _build(flag, tmp_path, num_clients=1, image_size=size)
  facts = medmnist_table.SETS[flag]
  assert found.test.examples.x.shape == (8, size, size, facts.channels)
  np.testing.assert_array_equal(found.test.examples.x.reshape(arrays['test_images'].shape), arrays['test_images'])
  np.testing.assert_array_equal(found.test.examples.y, arrays['test_labels'][:, 0])
  assert found.train.num_examples(0) == 20 and found.class_names == facts.class_names
  assert any('CC BY 4.0' in note for note in found.notes) and any('3 validation images' in n for n in found.notes)


def test_multi_label_and_partition_by_class(tmp_path, monkeypatch):
  arrays = _place(tmp_path, 'chestmnist', 28, monkeypatch)
  found = _build('chestmnist', tmp_path, partition='dirichlet')
  assert found.multi_label and found.test.examples.y.dtype == np.float32
  np.testing.assert_array_equal(found.test.examples.y, arrays['test_labels'])
  assert sum(found.train.num_examples(client) for client in range(len(found.train))) == 20


def test_not_for_commercial_use_is_said(tmp_path, monkeypatch):
  _place(tmp_path, 'dermamnist', 28, monkeypatch)
  assert any('not for commercial use' in note for note in _build('dermamnist', tmp_path).notes)
  assert 'not for commercial use' in registry.SOURCES['medmnist:dermamnist'].about


def test_the_registered_file_or_none(tmp_path):
  _place(tmp_path, 'breastmnist')
  with pytest.raises(ValueError, match='breastmnist.npz has md5:.* instead of md5:750601b1f35ba3300ea97c75c52ff8f6'):
    _build('breastmnist', tmp_path)
  assert registry.SOURCES['medmnist:breastmnist'].locate(str(tmp_path)) == (True, str(tmp_path / 'breastmnist.npz'))
  present, how = registry.SOURCES['medmnist:octmnist'].locate(str(tmp_path))
  assert not present and 'zenodo.org' in how and 'octmnist.npz' in how and '--dataset=synthetic_chest' in how


@pytest.mark.parametrize('changes, said', [
    ({'val_labels': None}, 'lacks val_labels'),
    ({'test_labels': np.zeros((8, 2), np.uint8)}, r'labels \[8, 2\]'),
    ({'train_images': np.zeros((20, 28, 28, 3), np.uint8)}, r'train images are \[20, 28, 28, 3\]'),
    ({'train_labels': np.full((20, 1), 9, np.uint8)}, 'label 9'),
])
def test_bad_files(tmp_path, monkeypatch, changes, said):
  _place(tmp_path, 'breastmnist', 28, monkeypatch, **changes)
  with pytest.raises(ValueError, match=said):
    _build('breastmnist', tmp_path)


def test_bad_names_and_sizes(tmp_path):
  with pytest.raises(ValueError, match="found 'medmnist:chest'"):
    _build('chest', tmp_path)
  with pytest.raises(ValueError, match='image_size=32 is no size of medmnist:chestmnist; choose 28, 64, 128, 224'):
    _build('chestmnist', tmp_path, image_size=32)
