"""A small detector: a backbone with GroupNorm and a map of centre points at a quarter of the image's resolution.

The head is that of Zhou, Wang and Krähenbühl, "Objects as Points", 2019, arXiv:1904.07850: the heat of each class, and
size and offset. The backbone is this project's own; it joins maps of three resolutions from coarse to fine.
"""

import math

import tensorflow as tf

from tff_vision.models import normalization

_FILTERS = (16, 32, 64, 96)
_COARSEST = 2 ** len(_FILTERS)
_BEYOND_CLASSES = 4
# At first, each cell holds a centre of each class with this chance, so that many empty cells do not decide the start
# (Lin et al., "Focal Loss", ICCV 2017, section 3.3).
_CHANCE = 0.1


def build(input_shape: tuple[int, int, int], num_outputs: int) -> tf.keras.Model:
  """Returns a model from images to maps of a quarter of their height and width, [rows, columns, `num_outputs`].

  Images whose sides are no multiples of 16 are resized to the next multiple: boxes, as shares of the image, stay.

  Args:
    num_outputs: Number of classes, and 4 for size and offset.
  """
  images = tf.keras.layers.Input(input_shape)
  height, width = (math.ceil(side / _COARSEST) * _COARSEST for side in input_shape[:2])
  x = images if (height, width) == input_shape[:2] else tf.keras.layers.Resizing(height, width)(images)
  stages = []
  for filters in _FILTERS:
    x = _convolution(x, filters, strides=2)
    x = _convolution(x, filters)
    stages.append(x)
  for finer in stages[-2:0:-1]:
    x = tf.keras.layers.UpSampling2D()(x)
    x = _convolution(tf.keras.layers.Concatenate()([x, finer]), 64)
  heat, box = (_convolution(x, filters) for filters in (48, 32))
  heat = tf.keras.layers.Conv2D(num_outputs - _BEYOND_CLASSES, 1, name='heat', bias_initializer=tf.keras.initializers.
                                Constant(math.log(_CHANCE / (1 - _CHANCE))))(heat)
  box = tf.keras.layers.Conv2D(_BEYOND_CLASSES, 1, name='size_and_offset')(box)
  return tf.keras.Model(images, tf.keras.layers.Concatenate(name='maps')([heat, box]), name='centernet_gn')


def _convolution(x, filters, *, strides=1):
  x = tf.keras.layers.Conv2D(filters, 3, strides=strides, padding='same', use_bias=False,
                             kernel_initializer='he_normal')(x)
  x = tf.keras.layers.GroupNormalization(normalization.groups_of(filters))(x)
  return tf.keras.layers.ReLU()(x)
