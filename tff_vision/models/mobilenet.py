"""MobileNetV3-Small with GroupNorm (Howard et al., "Searching for MobileNetV3", ICCV 2019, table 2).

It has the same layers as `tf.keras.applications.MobileNetV3Small` with each BatchNorm replaced. So the weights that
`tff_vision.models.convert` copies from that model fit in the same order. Images under 64 pixels keep their size in the
stem, where the original halves it.
"""

import tensorflow as tf

from tff_vision.models import normalization

_SMALL_IMAGE = 64
_EPSILON = 1e-3
# kernel, expanded channels, channels, squeeze-and-excite, hard-swish, stride
_BLOCKS = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)


def build(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Eleven inverted residual blocks, then layers of 576 and 1,024 channels, and dropout of 0.2 before the logits."""
  images = tf.keras.layers.Input(input_shape)
  x = tf.keras.layers.Conv2D(16, 3, strides=1 if min(input_shape[:2]) < _SMALL_IMAGE else 2, padding='same',
                             use_bias=False)(images)
  x = _hard_swish(_group_norm(x))
  for number, (kernel, expanded, filters, squeeze, swish, strides) in enumerate(_BLOCKS):
    x = _inverted_residual(x, kernel, expanded, filters, squeeze=squeeze, expand=number > 0, strides=strides,
                           activation=_hard_swish if swish else tf.keras.layers.ReLU())
  x = _hard_swish(_group_norm(_pointwise(x, 576)))
  x = tf.keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
  x = _hard_swish(tf.keras.layers.Conv2D(1024, 1)(x))
  x = tf.keras.layers.Dropout(0.2)(x)
  x = tf.keras.layers.Flatten()(tf.keras.layers.Conv2D(num_classes, 1)(x))
  return tf.keras.Model(images, x, name='mobilenet_v3_small')


def _inverted_residual(inputs, kernel, expanded, filters, *, squeeze, expand, strides, activation):
  x = inputs
  if expand:
    x = activation(_group_norm(_pointwise(x, expanded)))
  x = tf.keras.layers.DepthwiseConv2D(kernel, strides=strides, padding='same', use_bias=False)(x)
  x = activation(_group_norm(x))
  if squeeze:
    x = _squeeze_and_excite(x)
  x = _group_norm(_pointwise(x, filters))
  return tf.keras.layers.Add()([inputs, x]) if strides == 1 and inputs.shape[-1] == filters else x


def _squeeze_and_excite(x):
  """Scales channels by factors computed from the whole image, through a quarter as many channels, a multiple of 8."""
  channels = x.shape[-1]
  pooled = tf.keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
  weights = tf.keras.layers.Conv2D(max(8, (channels // 4 + 4) // 8 * 8), 1, activation='relu')(pooled)
  return tf.keras.layers.Multiply()([x, _hard_sigmoid(tf.keras.layers.Conv2D(channels, 1)(weights))])


def _pointwise(x, filters):
  return tf.keras.layers.Conv2D(filters, 1, use_bias=False)(x)


def _group_norm(x):
  return tf.keras.layers.GroupNormalization(normalization.groups_of(x.shape[-1]), epsilon=_EPSILON)(x)


def _hard_sigmoid(x):
  return tf.keras.layers.ReLU(6.0)(x + 3.0) * (1 / 6)


def _hard_swish(x):
  return tf.keras.layers.Multiply()([x, _hard_sigmoid(x)])
