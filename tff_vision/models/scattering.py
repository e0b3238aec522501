"""Fixed scattering features under one trained linear layer (Tramer and Boneh, ICLR 2021).

Second-order scattering over two scales (Bruna & Mallat 2013, arXiv:1203.1513; Oyallon & Mallat 2015), normalised
within each example, with a linear classifier on top: Tramer & Boneh, "Differentially Private Learning Needs Better
Features (or Much More Data)", ICLR 2021, arXiv:2011.11660. The filters are weights of plain Keras layers that are never
trained, so export, loading and every TFF process treat the model like any other.
"""

import numpy as np
import tensorflow as tf

_ANGLES = 6
_SCALE = 4  # Features are averaged over windows of this many pixels, and kept once per this many pixels.
_SIZES = (7, 9)  # Sizes of the fine and the coarse wavelets, in pixels.
_BLUR = 9


def build_scattering(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Scattering features and one linear layer on them; only the linear layer is trained.

  Raises:
    ValueError: The image is smaller than one window.
  """
  return linear_on(build_features(input_shape), num_classes, name='scattering')


def linear_on(features: tf.keras.Model, num_classes: int, *, name: str) -> tf.keras.Model:
  """Returns one linear layer, at first zero, on the flattened outputs of a model."""
  return tf.keras.Model(features.input, tf.keras.layers.Dense(num_classes, kernel_initializer='zeros')(
      tf.keras.layers.Flatten()(features.output)), name=name)


def build_features(input_shape: tuple[int, int, int]) -> tf.keras.Model:
  """Returns the part that is never trained: images -> [batch, height / 4, width / 4, 49 * channels].

  Raises:
    ValueError: The image is smaller than one window.
  """
  if min(input_shape[:2]) < _SCALE:
    raise ValueError(f'model=scattering needs images of at least {_SCALE}x{_SCALE}, found '
                     f'{input_shape[0]}x{input_shape[1]}.')
  images = tf.keras.layers.Input(input_shape)
  fine = _modulus(images, 0, 1, 'fine')
  coarse = _modulus(images, 1, 2, 'coarse')
  second = _modulus(fine, 1, 2, 'second')
  averages = [_blurred(*given) for given in (
      (images, 1, 'mean'), (fine, 1, 'fine'), (coarse, 2, 'coarse'), (second, 2, 'second'))]
  # Normalised within one example, so that no statistics of other examples, private or not, are needed.
  normalized = [tf.keras.layers.GroupNormalization(groups=1, center=False, scale=False, epsilon=1e-6)(part)
                for part in averages]
  return tf.keras.Model(images, tf.keras.layers.Concatenate()(normalized), name='scattering_features')


def _modulus(images, scale, stride, name):
  """Returns the moduli of complex wavelet responses, [batch, height / stride, width / stride, channels * angles]."""
  reach = np.arange(_SIZES[scale]) - _SIZES[scale] // 2
  y, x = np.meshgrid(reach, reach, indexing='ij')
  wavelets = morlet(scale, x, y, np.pi * np.arange(_ANGLES) / _ANGLES)
  real, imaginary = (_fixed(images, filters, stride, f'{name}_{part}')
                     for filters, part in ((wavelets.real, 'real'), (wavelets.imag, 'imaginary')))
  return tf.sqrt(real * real + imaginary * imaginary + 1e-12)


def _blurred(images, stride, name):
  """Returns averages over windows of `_SCALE` original pixels; `images` has every `stride`-th of those pixels."""
  reach = np.arange(_BLUR) - _BLUR // 2
  line = np.exp(-0.5 * (reach / (0.8 * _SCALE)) ** 2)[::stride]
  window = np.outer(line, line)
  return _fixed(images, (window / window.sum())[:, :, None], _SCALE // stride, f'{name}_mean')


def _fixed(images, filters, stride, name):
  """Convolves each channel of `images` with each of `filters`, [size, size, number], which are never trained."""
  kernel = np.repeat(filters[:, :, None, :], images.shape[-1], axis=2)
  return tf.keras.layers.DepthwiseConv2D(
      filters.shape[:2], stride, 'same', depth_multiplier=filters.shape[2], use_bias=False, trainable=False,
      depthwise_initializer=tf.keras.initializers.Constant(kernel.tolist()), name=name)(images)


def shape_of(scale: int, angles: int) -> tuple[float, float]:
  """Returns the width of a scale's envelope, in pixels, and its slant: the other axis is width / slant."""
  return 0.8 * 2 ** scale, 4 / angles


def morlet(scale: int, first: np.ndarray, second: np.ndarray, angles: np.ndarray) -> np.ndarray:
  """Returns the Morlet wavelets of a scale, complex [size, size, angles], each of zero mean.

  Args:
    scale: 0 for the fine wavelets; each scale doubles their width.
    first: Coordinate along which the wave of angle 0 runs, in pixels, [size, size].
    second: The other coordinate.
    angles: In radians, at equal distances over half a turn.
  """
  (width, slant), frequency = shape_of(scale, len(angles)), 0.75 * np.pi / 2 ** scale
  found = []
  for angle in angles:
    along, across = np.cos(angle) * first + np.sin(angle) * second, np.cos(angle) * second - np.sin(angle) * first
    envelope = np.exp(-0.5 * (along ** 2 + (slant * across) ** 2) / width ** 2)
    wave = np.exp(1j * frequency * along)
    found.append(envelope * (wave - (envelope * wave).sum() / envelope.sum()) * slant / (2 * np.pi * width ** 2))
  return np.stack(found, -1)
