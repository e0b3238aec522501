"""Machined parts and hands of many writers: repeatable, and what they are said to be."""

import numpy as np
import pytest

from tff_vision.configs import data_config
from tff_vision.data import build
from tff_vision.data.generators import parts, signers


@pytest.fixture(scope='module')
def pool(tmp_path_factory):
  return parts.pool(seed=0, data_dir=str(tmp_path_factory.mktemp('parts')))


def test_only_good_parts_train_and_every_factory_tests_every_defect(pool):
  assert set(pool.train.y) == {0}
  for name, factory in parts.FACTORIES.items():
    assert (pool.train_owners == name).sum() == factory.train
    assert np.bincount(pool.test.y[pool.test_owners == name]).tolist() == [50, 10, 10, 10, 10, 10]
  assert pool.train.x.shape == (1870, 32, 32, 1) and pool.train.x.dtype == np.uint8


def test_parts_are_a_function_of_the_seed():
  factory = parts.FACTORIES['aachen']
  draw = lambda seed: parts.photograph(np.random.default_rng(seed), np.arange(6), factory)
  np.testing.assert_array_equal(draw(1), draw(1))
  assert not np.array_equal(draw(1), draw(2))


@pytest.mark.parametrize('defect', parts.CLASSES[1:])
def test_a_defect_changes_some_pixels_of_the_part_and_only_some(defect):
  """The same chance draws the same part with and without it."""
  labels = np.zeros(30, np.int32)
  factory = parts.FACTORIES['aachen']
  good = parts.photograph(np.random.default_rng(3), labels, factory).astype(float)
  bad = parts.photograph(np.random.default_rng(3), labels + parts.CLASSES.index(defect), factory).astype(float)
  changed = (np.abs(bad - good) > 12).mean(axis=(1, 2, 3))
  assert np.median(changed) > 0.002 and changed.max() < 0.2


def test_offices_have_writers_of_their_own_and_unseen_ones_have_others(tmp_path):
  found = build.build(data_config.DataConfig(dataset='synthetic_emnist:writers', partition='natural', num_clients=3,
                                             data_dir=str(tmp_path)), seed=0)
  writers = [set(found.train.examples(client).y) for client in range(3)]
  assert [len(of) for of in writers] == [6, 6, 6] and len(set.union(*writers)) == 18
  assert len(found.unseen.clients) == 1 and not set(found.unseen.examples.y) & set.union(*writers)
  assert found.train.examples(0).x.shape == (90, 56, 56, 1) and set(found.test.examples.y) == set.union(*writers)


def test_four_characters_are_laid_out_two_by_two():
  four = np.arange(8)[:, None, None, None] * np.ones((1, 28, 28, 1))
  made = signers._squares(four)
  assert made.shape == (2, 56, 56, 1)
  assert [made[1, y, x, 0] for y in (0, 30) for x in (0, 30)] == [4, 5, 6, 7]


@pytest.mark.parametrize('defect', parts.CLASSES[1:])
def test_masks_show_what_a_defect_changes(defect):
  """The same chance draws the same part with and without it: what differs is the truth that the mask must show."""
  number = parts.CLASSES.index(defect)
  clear = parts.Factory(train=1, bores=(6,), gain=1.0, gamma=1.0, noise=0.0, blur=0.05, light=0.0)
  good, empty = parts.photograph_with_masks(np.random.default_rng(3), np.zeros(40, np.int32), clear)
  bad, masks = parts.photograph_with_masks(np.random.default_rng(3), np.full(40, number), clear)
  assert not empty.any() and set(np.unique(masks)) <= {0, number}
  changed = np.abs(bad.astype(float) - good)[..., 0] > 20
  assert (masks > 0).any(axis=(1, 2)).mean() > 0.9
  assert (changed & (masks == 0)).sum() <= 0.45 * changed.sum(), 'most of what changed is in the mask'
  assert changed[masks > 0].mean() > 0.6, 'most of the mask has changed'


def test_parts_with_masks():
  found = parts.load_masks(data_config.DataConfig(dataset='synthetic_parts:masks'))
  assert found.class_names == ('background', *parts.CLASSES[1:]) and len(found.train) == 1870
  tags = found.check_labels('synthetic_parts:masks'), np.array([len(np.unique(mask)) for mask in found.train.y])
  assert tags[0] == [] and set(tags[1]) == {1, 2} and 0.4 < (tags[1] == 2).mean() < 0.55
