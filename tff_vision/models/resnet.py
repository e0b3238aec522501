"""Residual networks with GroupNorm, the normalisation that bears clients that differ (Hsieh et al., ICML 2020).

`resnet18_gn`: He et al., "Identity Mappings in Deep Residual Networks", ECCV 2016, with 32 groups: the CIFAR-100 model
of Reddi et al., "Adaptive Federated Optimization", ICLR 2021, appendix C.1. Here stages halve the image as in the
paper, and images under 64 pixels get a 3x3 stem without pooling.
`resnet20_gn`: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2 (n = 3, shortcuts
without parameters), 269,722 parameters at 32x32x3 and 10 classes.
"""

import tensorflow as tf

from tff_vision.models import normalization

_SMALL_IMAGE = 64


def build_resnet18(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Four stages of two pre-activated blocks, 64 to 512 channels."""
  images = tf.keras.layers.Input(input_shape)
  if min(input_shape[:2]) < _SMALL_IMAGE:
    x = _convolution(images, 64, 3)
    x = _group_norm_relu(x, 32)
  else:
    x = _convolution(images, 64, 7, strides=2)
    x = _group_norm_relu(x, 32)
    x = tf.keras.layers.MaxPool2D(3, strides=2, padding='same')(x)
  for stage, filters in enumerate((64, 128, 256, 512)):
    for block in range(2):
      x = _preactivated_block(x, filters, strides=2 if stage and not block else 1, activated=not stage and not block)
  x = _group_norm_relu(x, 32)
  x = tf.keras.layers.GlobalAveragePooling2D()(x)
  return tf.keras.Model(images, tf.keras.layers.Dense(num_classes)(x), name='resnet18_gn')


def build_resnet20(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Three stages of three blocks, 16 to 64 channels."""
  images = tf.keras.layers.Input(input_shape)
  x = _group_norm_relu(_convolution(images, 16, 3))
  for stage, filters in enumerate((16, 32, 64)):
    for block in range(3):
      x = _basic_block(x, filters, strides=2 if stage and not block else 1)
  x = tf.keras.layers.GlobalAveragePooling2D()(x)
  return tf.keras.Model(images, tf.keras.layers.Dense(num_classes)(x), name='resnet20_gn')


def _preactivated_block(inputs, filters, *, strides, activated):
  """Normalise, activate, convolve, twice. `activated`: the inputs are already normalised and activated."""
  x = inputs if activated else _group_norm_relu(inputs, 32)
  x = _convolution(x, filters, 3, strides=strides)
  x = _convolution(_group_norm_relu(x, 32), filters, 3)
  if strides != 1 or inputs.shape[-1] != filters:
    inputs = tf.keras.layers.GroupNormalization(32)(_convolution(inputs, filters, 1, strides=strides))
  return tf.keras.layers.Add()([inputs, x])


def _basic_block(inputs, filters, *, strides):
  """Convolve, normalise, activate, twice; the last activation comes after the sum."""
  x = _group_norm_relu(_convolution(inputs, filters, 3, strides=strides))
  x = _convolution(x, filters, 3)
  x = tf.keras.layers.GroupNormalization(normalization.groups_of(filters))(x)
  if strides != 1:
    # The shortcut takes every other pixel and adds zeros for the new channels: the paper's option A.
    inputs = tf.keras.layers.MaxPool2D(1, strides=strides)(inputs)
    inputs = tf.pad(inputs, [[0, 0], [0, 0], [0, 0], [0, filters - inputs.shape[-1]]])
  return tf.keras.layers.ReLU()(tf.keras.layers.Add()([inputs, x]))


def _convolution(x, filters, kernel_size, *, strides=1):
  return tf.keras.layers.Conv2D(filters, kernel_size, strides=strides, padding='same', use_bias=False,
                                kernel_initializer='he_normal')(x)


def _group_norm_relu(x, groups=None):
  x = tf.keras.layers.GroupNormalization(groups or normalization.groups_of(x.shape[-1]))(x)
  return tf.keras.layers.ReLU()(x)
