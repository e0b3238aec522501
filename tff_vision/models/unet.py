"""U-Nets with GroupNorm, which return one vector of logits for each pixel or voxel.

Ronneberger et al., "U-Net", MICCAI 2015, arXiv:1505.04597, with padding, GroupNorm in place of none, and nearest
upsampling followed by a convolution in place of transposed convolutions (Odena et al., "Deconvolution and Checkerboard
Artifacts", Distill 2016). `unet_gn_small`: 8, 16, 32 channels (about 30,000 parameters); `unet_gn`: 16, 32, 64, 128
channels (about 540,000 parameters).

`unet3d_gn` is Cicek et al., "3D U-Net", MICCAI 2016, arXiv:1606.06650, with a strided convolution in place of pooling,
as in nnU-Net (Isensee et al. 2021): TFLite has a convolution of volumes and no pooling of them. 8, 16, 32 channels
(about 90,000 parameters).
"""

import tensorflow as tf

from tff_vision.models import normalization

_layers = tf.keras.layers
_SMALL, _LARGE = (8, 16, 32), (16, 32, 64, 128)


def build_small(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Three levels of 8 to 32 channels."""
  return _of_images(input_shape, num_classes, _SMALL, 'unet_gn_small')


def build(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Four levels of 16 to 128 channels."""
  return _of_images(input_shape, num_classes, _LARGE, 'unet_gn')


def build_of_volumes(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Three levels of 8 to 32 channels: [batch, height, width, depth] -> [batch, height, width, depth, num_classes]."""
  _check_sides(input_shape, _SMALL, 'unet3d_gn', 'volumes', 'voxels')
  volumes = _layers.Input(input_shape)
  outputs = _unet(_layers.Reshape((*input_shape, 1))(volumes), num_classes, _SMALL)
  return tf.keras.Model(volumes, outputs, name='unet3d_gn')


def _of_images(input_shape, num_classes, widths, name):
  _check_sides(input_shape[:2], widths, name, 'images', 'pixels')
  images = _layers.Input(input_shape)
  return tf.keras.Model(images, _unet(images, num_classes, widths), name=name)


def _check_sides(sides, widths, name, what, units):
  least = 2 ** (len(widths) - 1)
  if min(sides) < least:
    raise ValueError(f'model={name} needs {what} of at least {least} {units} a side, found '
                     f'{"x".join(map(str, sides))}.')


def _unet(x, num_classes, widths):
  """Returns logits for maps of two or three dimensions and any size: a level of odd size is cropped on the way up."""
  kept = []
  for width in widths:
    if kept:
      x = _convolved(x, width, strides=2) if _dimensions(x) == 3 else _convolved(
          _layers.MaxPool2D(padding='same')(x), width)
    else:
      x = _convolved(x, width)
    x = _convolved(x, width)
    kept.append(x)
  for width, beside in zip(widths[-2::-1], kept[-2::-1], strict=True):
    x = _convolved(_layer(x, 'UpSampling')()(x), width)
    over = [larger - side for larger, side in zip(x.shape[1:-1], beside.shape[1:-1], strict=True)]
    if any(over):
      x = _layer(x, 'Cropping')(tuple((0, more) for more in over))(x)
    x = _convolved(_convolved(_layers.Concatenate()([beside, x]), width), width)
  return _layer(x, 'Conv')(num_classes, 1)(x)


def _dimensions(x):
  return len(x.shape) - 2


def _layer(x, kind):
  """Returns Keras's layer of a kind for maps of as many dimensions as `x` has."""
  return getattr(_layers, f'{kind}{_dimensions(x)}D')


def _convolved(x, width, strides=1):
  convolution = _layer(x, 'Conv')
  x = convolution(width, 3, strides=strides, padding='same', use_bias=False, kernel_initializer='he_normal')(x)
  return _layers.ReLU()(_layers.GroupNormalization(normalization.groups_of(width))(x))
