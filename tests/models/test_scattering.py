"""The scattering models: invariants, a second implementation in scipy, only the last layer trains, files."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import signal

from tff_vision.models import MODELS, scattering, scatternet


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
  y, x_places = np.meshgrid(np.arange(-3, 4), np.arange(-3, 4), indexing='ij')
  wavelets = scattering.morlet(0, x_places, y, np.pi * np.arange(6) / 6)
  np.testing.assert_allclose(wavelets.sum((0, 1)), 0, atol=1e-12)
  for angle in range(6):
    # Keras correlates: the filter is not mirrored.
    expected = np.abs(signal.correlate2d(x[0, :, :, 0], np.conj(wavelets[:, :, angle]), 'same'))
    np.testing.assert_allclose(moduli[:, :, angle], expected, atol=1e-4)


@pytest.mark.parametrize(('name', 'coefficients'), [
    ('scattering', 49), ('scatternet', 81), ('scatternet_scaled', 81), ('scatternet_mirrored', 81 / 2)])
def test_only_the_linear_layer_trains_and_the_file_loads_without_custom_objects(name, coefficients, tmp_path):
  model = MODELS[name]((16, 16, 3), 5)
  assert [tuple(w.shape) for w in model.trainable_weights] == [(4 * 4 * coefficients * 3, 5), (5,)]
  model.layers[-1].kernel.assign(tf.random.stateless_normal(model.layers[-1].kernel.shape, [1, 2]))
  x = np.random.default_rng(2).random((4, 16, 16, 3), np.float32)
  model.save(tmp_path / 'model.keras')
  np.testing.assert_allclose(tf.keras.models.load_model(tmp_path / 'model.keras', compile=False)(x), model(x),
                             atol=1e-5)


def test_coefficients_are_the_scattering_transform_of_a_direct_convolution():
  """All 81 coefficients of each channel, and their order, by scipy; far from the border, which may differ."""
  x = np.random.default_rng(3).random((2, 48, 48, 2), np.float32)
  found = scatternet.build_coefficients((48, 48, 2))(x).numpy()
  assert found.shape == (2, 12, 12, 162)
  inside = slice(4, 8)
  for image, channel in ((0, 0), (1, 1)):
    expected = np.stack(_scattered(x[image, :, :, channel].astype(float)), -1)
    ours = found[image, :, :, 81 * channel:81 * (channel + 1)]
    np.testing.assert_allclose(ours[inside, inside], expected[::4, ::4][inside, inside], atol=1e-4)


def _scattered(x):
  """Returns the mean, 16 first-order and 64 second-order coefficients on every pixel, each [height, width]."""
  wavelets = [[_morlet(scale, np.pi * (3 - number) / 8) for number in range(8)] for scale in (0, 1)]
  fine, coarse = ([np.abs(signal.convolve2d(x, wavelet, 'same', 'symm')) for wavelet in one] for one in wavelets)
  second = [np.abs(signal.convolve2d(moduli, wavelet, 'same', 'symm')) for moduli in fine for wavelet in wavelets[1]]
  # The paper's transform halves the coarse moduli's resolution before it averages them.
  return [*(_mean(part, 1) for part in (x, *fine)), *(_mean(part, 2) for part in (*coarse, *second))]


def _morlet(scale, angle):
  """A plane wave under an elliptic Gaussian window of 30 standard deviations' area, less what gives it a mean."""
  y, x = np.mgrid[-12:13, -12:13].astype(float)
  sigma, slant = 0.8 * 2 ** scale, 0.5
  rotated = np.cos(angle) * y + np.sin(angle) * x, np.cos(angle) * x - np.sin(angle) * y
  window = np.exp(-(rotated[0] ** 2 + (slant * rotated[1]) ** 2) / (2 * sigma ** 2))
  window[np.maximum(np.abs(x), np.abs(y)) > (5, 10)[scale]] = 0
  wave = window * np.exp(1j * 3 * np.pi / 4 / 2 ** scale * rotated[0])
  return (wave - window * wave.sum() / window.sum()) * slant / (2 * np.pi * sigma ** 2)


def _mean(part, step):
  kept = part[::step, ::step]
  window = signal.windows.gaussian(11 if step == 1 else 7, 1.6 / step)
  averaged = signal.convolve2d(kept, np.outer(window, window) / window.sum() ** 2, 'same', 'symm')
  return np.repeat(np.repeat(averaged, step, 0), step, 1)


def test_scatternet_normalises_three_coefficients_together_and_trains_one_layer():
  x = np.random.default_rng(4).random((2, 28, 28, 1), np.float32)
  found = scatternet.build_features((28, 28, 1))(x).numpy().reshape(2, 49, 27, 3)
  np.testing.assert_allclose(found.mean((1, 3)), 0, atol=1e-4)
  raw = scatternet.build_coefficients((28, 28, 1))(x).numpy().reshape(2, 49, 27, 3)
  np.testing.assert_allclose(found, (raw - raw.mean((1, 3), keepdims=True)) / np.sqrt(
      raw.var((1, 3), keepdims=True) + 1e-5), atol=1e-3)
  colours = np.random.default_rng(5).random((2, 28, 28, 3), np.float32)
  scaled, raw = (build((28, 28, 3))(colours).numpy().reshape(2, 49, 3, 81) for build in (
      scatternet.build_scaled_features, scatternet.build_coefficients))
  for kind, mean, deviation in ((0, 0.29, 0.29), (3, 0.021, 0.023), (12, 0.028, 0.029), (60, 0.0035, 0.004)):
    np.testing.assert_allclose(scaled[..., kind], (raw[..., kind] - mean) / deviation, rtol=1e-3, atol=1e-3)
  model = MODELS['scatternet']((28, 28, 1), 10)
  assert [tuple(w.shape) for w in model.trainable_weights] == [(3969, 10), (10,)]


def test_mirrored_features_are_those_of_the_mirrored_photograph_and_are_scaled_by_constants():
  x = np.random.default_rng(6).random((2, 32, 28, 3), np.float32)
  found = scatternet.build_mirrored_features((32, 28, 3))(x).numpy()
  assert found.shape == (2, 8, 4, 243)
  np.testing.assert_allclose(scatternet.build_mirrored_features((32, 28, 3))(x[:, :, ::-1]), found, atol=1e-3)
  red, green, blue = x.transpose(3, 0, 1, 2)
  colours = np.stack([(red + green + blue) / 3, (red - blue) / 2, (2 * green - red - blue) / 4], -1)
  coefficients = scatternet.build_coefficients((32, 28, 3))
  raw = (coefficients(colours).numpy() + coefficients(colours[:, :, ::-1]).numpy())[:, :, :4] / 2
  for place, mean, deviation in ((0, 0.48, 0.19), (8, 0.0145, 0.0095), (16, 0.02, 0.0135), (80, 0.0017, 0.0014),
                                 (81, 0, 0.147), (89, 0.0019, 0.0035), (242, 0.00009, 0.00019)):
    np.testing.assert_allclose(found[..., place], (raw[..., place] - mean) / deviation, rtol=1e-3, atol=1e-3)
  grey = scatternet.build_mirrored_features((32, 28, 1))(colours[..., :1]).numpy()
  np.testing.assert_allclose(grey, found[..., :81], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('name', ['scatternet', 'scatternet_scaled', 'scatternet_mirrored'])
def test_an_image_that_is_too_small_is_refused_in_the_name_that_was_asked_for(name):
  with pytest.raises(ValueError, match=rf'models .*\b{name}\b.* need images of at least 12x12, found 8x11'):
    MODELS[name]((8, 11, 1), 3)
