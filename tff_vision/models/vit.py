"""A vision transformer of DeiT-Ti's size (Touvron et al., ICML 2021: 12 blocks of width 192, 3 heads).

The mean of all patches is classified, without a class token (Beyer et al. 2022, arXiv:2205.01580). So the model has 384
parameters fewer than DeiT-Ti: 5,717,032 at 224x224x3 and 1,000 classes. Small images have small patches.
"""

import tensorflow as tf

_WIDTH, _DEPTH, _HEADS = 192, 12, 3
_LEAST_PATCHES = 6  # Smallest number of patches along the shorter side.
_EPSILON = 1e-6


def build(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Uses patches of 16, 8, 4, 2 or 1 pixels: the largest size that fits six or more times along the shorter side."""
  images = tf.keras.layers.Input(input_shape)
  patch = next((size for size in (16, 8, 4, 2) if min(input_shape[:2]) >= size * _LEAST_PATCHES), 1)
  x = tf.keras.layers.Conv2D(_WIDTH, patch, strides=patch, padding='same')(images)
  x = tf.keras.layers.Reshape((-1, _WIDTH))(x)
  # Positions are computed from the input, because Keras tracks an Embedding's weights only if the graph calls it.
  positions = tf.cumsum(tf.ones_like(x[:, :, 0]), axis=1, exclusive=True)
  x = x + tf.keras.layers.Embedding(x.shape[1], _WIDTH, embeddings_initializer=_initializer())(positions)
  for _ in range(_DEPTH):
    x = _block(x)
  x = tf.keras.layers.GlobalAveragePooling1D()(tf.keras.layers.LayerNormalization(epsilon=_EPSILON)(x))
  return tf.keras.Model(images, tf.keras.layers.Dense(num_classes, kernel_initializer=_initializer())(x),
                        name='vit_tiny')


def _block(x):
  """Pre-normalised attention and then a perceptron, each added to its input."""
  y = tf.keras.layers.LayerNormalization(epsilon=_EPSILON)(x)
  attention = tf.keras.layers.MultiHeadAttention(_HEADS, _WIDTH // _HEADS, kernel_initializer=_initializer())
  x = tf.keras.layers.Add()([x, attention(y, y)])
  y = tf.keras.layers.LayerNormalization(epsilon=_EPSILON)(x)
  y = tf.keras.layers.Dense(4 * _WIDTH, activation='gelu', kernel_initializer=_initializer())(y)
  return tf.keras.layers.Add()([x, tf.keras.layers.Dense(_WIDTH, kernel_initializer=_initializer())(y)])


def _initializer():
  return tf.keras.initializers.TruncatedNormal(stddev=0.02)
