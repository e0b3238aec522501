"""U-Nets with GroupNorm, which return one vector of logits for each pixel.

Ronneberger et al., "U-Net", MICCAI 2015, arXiv:1505.04597, with padding, GroupNorm in place of none, and nearest
upsampling followed by a convolution in place of transposed convolutions (Odena et al., "Deconvolution and Checkerboard
Artifacts", Distill 2016). `unet_gn_small`: 8, 16, 32 channels (about 30,000 parameters); `unet_gn`: 16, 32, 64, 128
channels (about 540,000 parameters).
"""

import tensorflow as tf

from tff_vision.models import normalization

_layers = tf.keras.layers
_SMALL, _LARGE = (8, 16, 32), (16, 32, 64, 128)


def build_small(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Three levels of 8 to 32 channels."""
  return _unet(input_shape, num_classes, _SMALL, 'unet_gn_small')


def build(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Four levels of 16 to 128 channels."""
  return _unet(input_shape, num_classes, _LARGE, 'unet_gn')


def _unet(input_shape, num_classes, widths, name):
  """Images of any size: a level of an odd size is cropped on the way up."""
  if min(input_shape[:2]) < 2 ** (len(widths) - 1):
    raise ValueError(f'model={name} needs images of at least {2 ** (len(widths) - 1)} pixels a side, found '
                     f'{input_shape[0]}x{input_shape[1]}.')
  images = _layers.Input(input_shape)
  x, kept = _twice(images, widths[0]), []
  for width in widths[1:]:
    kept.append(x)
    x = _twice(_layers.MaxPool2D(padding='same')(x), width)
  for width, beside in zip(widths[-2::-1], kept[::-1], strict=True):
    x = _convolved(_layers.UpSampling2D()(x), width)
    over = [larger - side for larger, side in zip(x.shape[1:3], beside.shape[1:3], strict=True)]
    if any(over):
      x = _layers.Cropping2D(((0, over[0]), (0, over[1])))(x)
    x = _twice(_layers.Concatenate()([beside, x]), width)
  return tf.keras.Model(images, _layers.Conv2D(num_classes, 1)(x), name=name)


def _twice(x, width):
  return _convolved(_convolved(x, width), width)


def _convolved(x, width):
  x = _layers.Conv2D(width, 3, padding='same', use_bias=False, kernel_initializer='he_normal')(x)
  return _layers.ReLU()(_layers.GroupNormalization(normalization.groups_of(width))(x))
