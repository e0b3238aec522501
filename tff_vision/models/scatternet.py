"""The scattering transform of Tramèr and Boneh under one trained linear layer.

Florian Tramèr and Dan Boneh, "Differentially Private Learning Needs Better Features (or Much More Data)", ICLR 2021,
arXiv:2011.11660: two scales, eight angles, 81 coefficients a channel on every fourth pixel (Bruna & Mallat 2013,
arXiv:1203.1513), normalised within each example in 27 groups a channel, then a linear classifier. The wavelets are
those of Kymatio (Andreux et al. 2020, arXiv:1812.11214). In comparison with `scattering` there are eight angles and not
six, the windows of the averages are half as wide, wavelets are not cut off within two of their standard deviations, the
border is mirrored, and groups of three coefficients are normalised and not a whole order. What this changes is in
docs/reference/results.md. `scatternet_scaled` replaces the normalisation within an image by constants.
`scatternet_mirrored` is of our own: for photographs, whose class is that of the mirrored photograph.

All filters are weights of plain Keras layers that are never trained.
"""

import numpy as np
import tensorflow as tf

from tff_vision.models import scattering

_ANGLES, _SCALES = 8, 2
_STEP = 2 ** _SCALES  # Coefficients are kept once per this many pixels.
_SMALLEST = 12
_REACH = 3  # Filters are cut off this many standard deviations from their middle.
_COEFFICIENTS = 1 + _ANGLES * _SCALES + _ANGLES * _ANGLES  # One mean, 16 of the first order, 64 of the second.
_OF_KIND = (1, _ANGLES, _ANGLES, _ANGLES * _ANGLES)  # Means, fine, coarse and second-order coefficients.
# Mean and deviation of each kind, of grey images in 0..1: rounded from the test images of Fashion-MNIST. For other data
# sets they cost no privacy, whereas the paper measures moments on the private images, with noise.
_CONSTANTS = (0.29, 0.021, 0.028, 0.0035), (0.29, 0.023, 0.029, 0.004)
# Brightness and two differences of colours: what a linear layer learns of one is not in the others.
_OF_COLOURS = (1 / 3, 1 / 3, 1 / 3), (1 / 2, 0, -1 / 2), (-1 / 4, 1 / 2, -1 / 4)
# Mean and deviation of each kind of these three, rounded from the test images of CIFAR-10; differences count half.
_MEANS_OF_COLOURS = (0.48, 0.0145, 0.02, 0.0017), (0, 0.0019, 0.0035, 0.00017), (0, 0.001, 0.0017, 0.00009)
_DEVIATIONS_OF_COLOURS = (
    (0.19, 0.0095, 0.0135, 0.0014), (0.147, 0.0035, 0.0067, 0.00038), (0.056, 0.0018, 0.0034, 0.00019))
_GROUPS = 27  # Of three coefficients each: chosen in the paper for MNIST and Fashion-MNIST.


def build(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Normalised scattering coefficients and one linear layer on them; only the linear layer is trained.

  Raises:
    ValueError: The image is smaller than the longest filter reaches.
  """
  return scattering.linear_on(build_features(input_shape), num_classes, name='scatternet')


def build_features(input_shape: tuple[int, int, int]) -> tf.keras.Model:
  """Returns the part that is never trained: images -> [batch, height / 4, width / 4, 81 * channels], normalised.

  Raises:
    ValueError: The image is smaller than the longest filter reaches.
  """
  coefficients = build_coefficients(input_shape)
  normalized = tf.keras.layers.GroupNormalization(
      _GROUPS * input_shape[2], center=False, scale=False, epsilon=1e-5)(coefficients.output)
  return tf.keras.Model(coefficients.input, normalized, name='scatternet_features')


def build_scaled(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """The same coefficients, moved and scaled by constants, and one linear layer on them.

  Raises:
    ValueError: The image is smaller than the longest filter reaches.
  """
  return scattering.linear_on(build_scaled_features(input_shape), num_classes, name='scatternet_scaled')


def build_scaled_features(input_shape: tuple[int, int, int]) -> tf.keras.Model:
  """Returns the part that is never trained, scaled by constants: how strong a coefficient is remains visible.

  Raises:
    ValueError: The image is smaller than the longest filter reaches.
  """
  coefficients = build_coefficients(input_shape)
  scaled = _scaled(coefficients.output, *([values] * input_shape[2] for values in _CONSTANTS))
  return tf.keras.Model(coefficients.input, scaled, name='scatternet_scaled_features')


def build_mirrored(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Means of the coefficients of an image and its mirror image, scaled by constants, and one linear layer on them.

  Raises:
    ValueError: The image is smaller than the longest filter reaches.
  """
  return scattering.linear_on(build_mirrored_features(input_shape), num_classes, name='scatternet_mirrored')


def build_mirrored_features(input_shape: tuple[int, int, int]) -> tf.keras.Model:
  """Returns the part that is never trained: images -> [batch, height / 4, ceil(width / 8), 81 * channels].

  The mean over an image and its mirror image is nearly its own mirror image, so that half of it is kept: a private
  linear layer has half the weights, and so less noise. Where a mirrored image would be of another class (writing),
  `scatternet_scaled` is better. Three channels become brightness and two differences of colours.

  Raises:
    ValueError: The image is smaller than the longest filter reaches.
  """
  images = tf.keras.layers.Input(input_shape)
  channels = input_shape[2]
  colours, means, deviations = images, _MEANS_OF_COLOURS[:1] * channels, _DEVIATIONS_OF_COLOURS[:1] * channels
  if channels == len(_OF_COLOURS):
    means, deviations = _MEANS_OF_COLOURS, _DEVIATIONS_OF_COLOURS
    colours = tf.keras.layers.Conv2D(channels, 1, use_bias=False, trainable=False, name='colours', kernel_initializer=(
        tf.keras.initializers.Constant(np.transpose(_OF_COLOURS)[None, None].tolist())))(images)
  both = _coefficients(tf.concat([colours, tf.reverse(colours, [2])], 3))
  mean = tf.keras.layers.Average()(tf.split(both, 2, 3))
  half = tf.keras.layers.Cropping2D(((0, 0), (0, mean.shape[2] // 2)))(mean)
  return tf.keras.Model(images, _scaled(half, means, deviations), name='scatternet_mirrored_features')


def _scaled(coefficients, means, deviations):
  """Returns coefficients moved and scaled by a mean and a deviation for each channel and kind."""
  mean, deviation = (np.repeat(values, _OF_KIND, axis=1).ravel() for values in (means, deviations))
  return tf.keras.layers.Rescaling((1 / deviation).tolist(), (-mean / deviation).tolist())(coefficients)


def build_coefficients(input_shape: tuple[int, int, int]) -> tf.keras.Model:
  """Returns the scattering transform: images -> [batch, height / 4, width / 4, 81 * channels].

  Of each channel, first the mean, then the moduli of the fine and of the coarse wavelets, then those of the coarse
  wavelets on the moduli of the fine ones.

  Raises:
    ValueError: The image is smaller than the longest filter reaches.
  """
  images = tf.keras.layers.Input(input_shape)
  return tf.keras.Model(images, _coefficients(images), name='scattering_coefficients')


def _coefficients(images):
  input_shape = images.shape[1:]
  if min(input_shape[:2]) < _SMALLEST:
    raise ValueError(f'models scatternet, scatternet_scaled and scatternet_mirrored need images of at least '
                     f'{_SMALLEST}x{_SMALLEST}, found {input_shape[0]}x{input_shape[1]}.')
  # [batch, channel, height, width, 1]: what is convolved alone stands before height and width.
  maps = tf.keras.layers.Permute((3, 1, 2))(images)
  maps = tf.keras.layers.Reshape((input_shape[2], *input_shape[:2], 1))(maps)
  fine, coarse = (_apart(_moduli(maps, scale, name), input_shape[2]) for scale, name in enumerate(('fine', 'coarse')))
  second = _apart(_moduli(fine, 1, 'second'), input_shape[2])
  found = [_means(maps, 0, 'mean'), _means(fine, 0, 'fine'), _means(coarse, 1, 'coarse'), _means(second, 1, 'second')]
  together = tf.keras.layers.Concatenate(axis=1)(found)  # [batch, 81 * channel, height / 4, width / 4, 1]
  height, width = together.shape[2:4]
  together = tf.keras.layers.Reshape((_COEFFICIENTS, input_shape[2], height, width))(together)
  together = tf.keras.layers.Permute((3, 4, 2, 1))(together)
  return tf.keras.layers.Reshape((height, width, input_shape[2] * _COEFFICIENTS))(together)


def _apart(moduli, channels):
  """Returns a map for each angle: [batch, n * channel, h, w, angles] -> [batch, n * angles * channel, h, w, 1]."""
  number, height, width, angles = moduli.shape[1:]
  split = tf.keras.layers.Reshape((number // channels, channels, height, width, angles))(moduli)
  split = tf.keras.layers.Permute((1, 5, 2, 3, 4))(split)
  return tf.keras.layers.Reshape((number * angles, height, width, 1))(split)


def _moduli(maps, scale, name):
  """Returns moduli of the responses to the wavelets of `scale`, on every 2 ** scale-th pixel; a channel an angle."""
  wavelets = _wavelets(scale)
  real, imaginary = (_filtered(maps, part, 2 ** scale, f'{name}_{what}')
                     for part, what in ((wavelets.real, 'real'), (wavelets.imag, 'imaginary')))
  return tf.sqrt(real * real + imaginary * imaginary + 1e-12)


def _means(maps, scale, name):
  """Returns weighted means on every fourth original pixel; `maps` have every 2 ** scale-th of these."""
  width = 0.8 * 2 ** (_SCALES - 1 - scale)
  reach = np.arange(-int(np.ceil(_REACH * width)), int(np.ceil(_REACH * width)) + 1)
  line = np.exp(-0.5 * (reach / width) ** 2)
  window = np.outer(line, line)
  return _filtered(maps, (window / window.sum())[..., None], _STEP // 2 ** scale, f'{name}_mean')


def _filtered(maps, filters, stride, name):
  """Correlates maps [..., height, width, 1] with filters [size, size, number], mirroring the maps at their border."""
  reach = len(filters) // 2
  padded = tf.pad(maps, [[0, 0]] * 2 + [[reach, reach]] * 2 + [[0, 0]], 'REFLECT')
  return tf.keras.layers.Conv2D(
      filters.shape[2], filters.shape[:2], stride, use_bias=False, trainable=False,
      kernel_initializer=tf.keras.initializers.Constant(filters[:, :, None].tolist()), name=name)(padded)


def _wavelets(scale):
  """Returns the Morlet wavelets of a scale, complex [size, size, angles], each of zero mean."""
  width, slant = scattering.shape_of(scale, _ANGLES)
  side = int(np.ceil(_REACH * width / slant))  # The longer axis of its envelope.
  reach = np.arange(-side, side + 1)
  y, x = np.meshgrid(reach, reach, indexing='ij')
  return scattering.morlet(scale, y, x, (_ANGLES // 2 - 1 - np.arange(_ANGLES)) * np.pi / _ANGLES)
