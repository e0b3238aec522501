"""A U-Net of volumes, which returns one vector of logits for each voxel.

Cicek et al., "3D U-Net", MICCAI 2016, arXiv:1606.06650, with GroupNorm, and a strided convolution in place of pooling,
as in nnU-Net (Isensee et al. 2021): TFLite has a convolution of volumes and no pooling of them. Three levels of 8 to 32
channels, about 90,000 parameters.
"""

import tensorflow as tf

from tff_vision.models import normalization

_layers = tf.keras.layers
_WIDTHS = (8, 16, 32)


def build(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Returns a model from volumes, [batch, height, width, depth], to [batch, height, width, depth, num_classes].

  Volumes of any size: a level of an odd size is cropped on the way up.
  """
  least = 2 ** (len(_WIDTHS) - 1)
  if min(input_shape) < least:
    raise ValueError(f'model=unet3d_gn needs volumes of at least {least} voxels a side, found '
                     f'{"x".join(map(str, input_shape))}.')
  volumes = _layers.Input(input_shape)
  x, kept = _layers.Reshape((*input_shape, 1))(volumes), []
  x = _twice(x, _WIDTHS[0])
  for width in _WIDTHS[1:]:
    kept.append(x)
    x = _convolved(_convolved(x, width, strides=2), width)
  for width, beside in zip(_WIDTHS[-2::-1], kept[::-1], strict=True):
    x = _convolved(_layers.UpSampling3D()(x), width)
    over = [larger - side for larger, side in zip(x.shape[1:4], beside.shape[1:4], strict=True)]
    if any(over):
      x = _layers.Cropping3D(tuple((0, more) for more in over))(x)
    x = _twice(_layers.Concatenate()([beside, x]), width)
  return tf.keras.Model(volumes, _layers.Conv3D(num_classes, 1)(x), name='unet3d_gn')


def _twice(x, width):
  return _convolved(_convolved(x, width), width)


def _convolved(x, width, strides=1):
  x = _layers.Conv3D(width, 3, strides=strides, padding='same', use_bias=False, kernel_initializer='he_normal')(x)
  return _layers.ReLU()(_layers.GroupNormalization(normalization.groups_of(width))(x))
