"""Features that are computed once: standardised within each image, so that no image tells of another."""

import numpy as np
import pytest

from tff_vision.data import images
from tff_vision.studies.hospitals import features


def federated(x, y):
  pool = images.Examples(x, y)
  owners = [np.arange(0, 3), np.arange(3, len(y))]
  return images.FederatedImages(
      name='films', class_names=('normal', 'abnormal'), train=images.ArrayClients(pool, owners, ('a', 'b')),
      test=images.HeldOut(examples=pool, clients=owners), preprocessing=images.Preprocessing(pixels='per_image'))


def test_features_have_mean_0_and_deviation_1_in_each_channel_and_tell_of_one_image_alone():
  rng = np.random.default_rng(0)
  x, y = rng.integers(0, 256, (7, 12, 12, 1)).astype(np.uint8), rng.integers(0, 2, 7).astype(np.int32)
  found, builder = features.trained_part(federated(x, y), 'scattering')
  kept = found.train.examples(1)
  np.testing.assert_array_equal(kept.y, y[3:])
  assert kept.x.shape == (4, 3, 3, 49)
  assert np.abs(kept.x.mean((1, 2))).max() < 1e-5
  assert 0.5 < kept.x.std((1, 2)).min() and kept.x.std((1, 2)).max() < 1
  assert builder(kept.x.shape[1:], 2).count_params() == 2 * (9 * 49 + 1)
  x[4] = 255 - x[4]
  again = features.trained_part(federated(x, y), 'scattering')[0].train.examples(1).x
  changed = np.abs(again - kept.x).max((1, 2, 3))
  assert changed[1] > 0.1 and np.delete(changed, 1).max() == 0


def test_scatternet_normalises_its_own_coefficients():
  rng = np.random.default_rng(0)
  x, y = rng.integers(0, 256, (7, 12, 12, 1)).astype(np.uint8), rng.integers(0, 2, 7).astype(np.int32)
  found, builder = features.trained_part(federated(x, y), 'scatternet')
  kept = found.train.examples(1).x
  groups = kept.reshape(4, 9, 27, 3)
  assert kept.shape == (4, 3, 3, 81) and np.abs(groups.mean((1, 3))).max() < 1e-4
  assert 0.9 < groups.std((1, 3)).max() < 1.001
  assert builder(kept.shape[1:], 2).count_params() == 2 * (9 * 81 + 1)


def test_other_models_train_on_the_images_themselves():
  x, y = np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 0, 1], np.int32)
  given = federated(x, y)
  assert features.trained_part(given, 'linear')[0] is given


def test_standardisation_by_hand():
  part = np.array([[1.0, 5.0], [3.0, 5.0]], np.float32).reshape(1, 2, 1, 2)
  found = features.standardized(part).numpy()
  assert found[0, :, 0, 0] == pytest.approx([-1 / 1.01, 1 / 1.01]) and found[0, :, 0, 1] == pytest.approx([0, 0])
