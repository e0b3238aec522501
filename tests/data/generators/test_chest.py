"""Three hospitals: prevalence, scanners and markers as declared, findings where they should be, both labels."""

import numpy as np
import pytest

from tff_vision import configs
from tff_vision.data import build
from tff_vision.data.generators import chest, chest_anatomy


@pytest.fixture(scope='module')
def films(tmp_path_factory):
  """All films at 28 pixels with findings as labels."""
  return chest.pool(seed=0, multi_label=True, data_dir=str(tmp_path_factory.mktemp('films')))


def twins(finding, films=40, severity=1.0, size=28):
  """Returns the same patients without and with one finding."""
  has = np.zeros((films, 4), bool)
  has[:, chest_anatomy.FINDINGS.index(finding)] = True
  severe = np.full(films, severity)
  return [chest_anatomy.draw(np.random.default_rng(7), findings, severe, size) for findings in (has & False, has)]


@pytest.mark.parametrize('finding', chest_anatomy.FINDINGS)
def test_a_finding_brightens_lungs_and_nothing_else(finding):
  healthy, ill = twins(finding)
  change = ill - healthy
  assert change.max() > 0.15 and change.min() > -0.25
  assert change.mean() > 0.001
  # Corners and the edge of the film stay as they were.
  assert np.abs(change[:, [0, -1]]).max() < 0.02 and np.abs(change[:, :, [0, -1]]).max() < 0.02


def test_an_effusion_leaves_the_heart_alone():
  healthy, ill = twins('effusion', size=64)
  heart = (slice(None), slice(40, 44), slice(34, 38))
  assert np.abs((ill - healthy)[heart]).max() < 0.1
  assert (ill - healthy)[:, 40:52].max() > 0.25


def test_worse_is_more_visible():
  for finding in chest_anatomy.FINDINGS:
    change = [np.abs(np.subtract(*twins(finding, severity=severity))).sum() for severity in (0.1, 0.9)]
    assert change[1] > 1.2 * change[0], finding


def test_prevalence_and_sizes_are_the_hospitals(films):
  for name, hospital in chest.HOSPITALS.items():
    mine = films.train_owners == name
    assert mine.sum() == hospital.train and (films.test_owners == name).sum() == hospital.test
    assert films.train.y[mine].any(axis=1).mean() == pytest.approx(hospital.prevalence, abs=0.05)
  two = (films.train.y.sum(axis=1) == 2).mean()
  assert films.train.y.max() == 1 and 0.02 < two < 0.15 and films.train.y.sum(axis=1).max() == 2


def test_scanners_can_be_told_apart_and_markers_stand_in_their_corner(films):
  blurred, letter = {}, {}
  for name in chest.HOSPITALS:
    x = films.train.x[films.train_owners == name][..., 0] / 255
    blurred[name] = x.mean()
    letter[name] = np.median(x[:, 2:4, 2:4] - x[:, 2:4, -4:-2])
  assert blurred['coast'] < blurred['north'] < blurred['metro']
  assert letter['north'] > 0.1 and abs(letter['coast']) < 0.05
  assert chest._marker('', 28).sum() == 0
  # A letter covers the same share of the film at every size.
  for size in (28, 64, 128):
    assert chest._marker('L', size).sum() / size**2 == pytest.approx(8 / 64**2, rel=1e-6)


def test_lungs_are_where_films_are_dark():
  """The masks belong to the films of the same hospitals: air is darker than what surrounds it."""
  fields = {'partition': 'natural', 'dataset': 'synthetic_chest'}
  masked = build.build(configs.DataConfig(**fields | {'dataset': 'synthetic_chest:lungs'}), seed=0)
  plain = build.build(configs.DataConfig(**fields), seed=0)
  np.testing.assert_array_equal(masked.test.examples.x, plain.test.examples.x)
  assert masked.class_names == ('background', 'lung') and masked.train.client_ids == plain.train.client_ids
  x, lungs = masked.test.examples.x[..., 0].astype(float), masked.test.examples.y == 1
  share = lungs.mean(axis=(1, 2))
  assert 0.12 < share.min() and share.max() < 0.6
  middle = np.zeros(x.shape[1:], bool)
  middle[10:18, 2:26] = True  # In the middle of the film, what is not lung is heart, spine or chest wall.
  healthy = plain.test.examples.y == 0
  air, tissue = (np.array([image[part & middle].mean() for image, part in zip(x[healthy], where[healthy], strict=True)])
                 for where in (lungs, ~lungs))
  assert (air < tissue - 10).mean() > 0.97


def test_single_and_multi_label_are_the_same_films():
  fields = {'dataset': 'synthetic_chest', 'partition': 'natural'}
  one = build.build(configs.DataConfig(**fields), seed=0)
  many = build.build(configs.DataConfig(**fields | {'dataset': 'synthetic_chest:findings'}), seed=0)
  assert one.train.client_ids == ['coast', 'metro', 'north'] == many.train.client_ids
  assert one.class_names == ('normal', 'abnormal') and many.class_names == chest_anatomy.FINDINGS
  np.testing.assert_array_equal(one.test.examples.x, many.test.examples.x)
  np.testing.assert_array_equal(one.test.examples.y, many.test.examples.y.any(axis=1))
  assert not one.multi_label and many.multi_label and one.preprocessing.pixels == 'per_image'
  held = build.build(configs.DataConfig(**fields, held_out_clients=1), seed=0)
  assert len(held.train) == 2 and len(held.unseen.clients) == 1 and len(held.unseen.examples) >= 900


def test_sizes():
  with pytest.raises(ValueError, match='image_size=32.*28 or 64'):
    build.build(configs.DataConfig(dataset='synthetic_chest', partition='natural', image_size=32), seed=0)
  healthy, _ = twins('nodule', films=2, size=64)
  assert healthy.shape == (2, 64, 64) and healthy.dtype == np.float32
