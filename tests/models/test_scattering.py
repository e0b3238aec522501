"""The scattering model: its invariants, a second implementation in numpy, only the last layer trains, files."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import signal

from tff_vision.models import MODELS, scattering


@pytest.fixture(scope='module')
def features():
  return scattering.build_features((28, 28, 1))


def test_features_ignore_brightness_and_contrast_and_are_normalised_within_each_example(features):
  x = 10 * np.random.default_rng(0).random((3, 28, 28, 1), np.float32)
  found = features(x).numpy()
  assert found.shape == (3, 7, 7, 49)
  for part in (found[..., :1], found[..., 1:7], found[..., 7:13], found[..., 13:]):
    np.testing.assert_allclose(part.mean((1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(part.std((1, 2, 3)), 1, atol=0.01)
  np.testing.assert_allclose(features(3 * x).numpy(), found, atol=0.02)
  np.testing.assert_allclose(features(x[1:2]).numpy(), found[1:2], atol=1e-4)


def test_fine_wavelets_are_those_of_a_direct_convolution(features):
  x = np.random.default_rng(1).random((1, 28, 28, 1), np.float32)
  moduli = tf.keras.Model(features.input, features.get_layer('fine_mean').input)(x).numpy()[0]
  wavelets = scattering._wavelets(7, 0.8, 0.75 * np.pi)
  np.testing.assert_allclose(wavelets.sum((0, 1)), 0, atol=1e-12)
  for angle in range(6):
    # Keras correlates: the filter is not mirrored.
    expected = np.abs(signal.correlate2d(x[0, :, :, 0], np.conj(wavelets[:, :, angle]), 'same'))
    np.testing.assert_allclose(moduli[:, :, angle], expected, atol=1e-4)


def test_only_the_linear_layer_trains_and_the_file_loads_without_custom_objects(tmp_path):
  model = MODELS['scattering']((16, 16, 3), 5)
  assert [tuple(w.shape) for w in model.trainable_weights] == [(4 * 4 * 49 * 3, 5), (5,)]
  model.layers[-1].kernel.assign(tf.random.stateless_normal(model.layers[-1].kernel.shape, [1, 2]))
  x = np.random.default_rng(2).random((4, 16, 16, 3), np.float32)
  model.save(tmp_path / 'model.keras')
  np.testing.assert_allclose(tf.keras.models.load_model(tmp_path / 'model.keras', compile=False)(x), model(x),
                             atol=1e-5)
