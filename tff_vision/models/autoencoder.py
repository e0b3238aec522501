"""A convolutional autoencoder for images that look much alike, such as parts of one product."""

import tensorflow as tf

_CODE = 48


def build(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Halves the image until a side has 7 pixels or fewer, encodes it as 48 numbers, and decodes the image from them.

  Returns:
    A model that takes images and returns images of the same shape; `num_classes` has no meaning here.
  """
  del num_classes
  sides = [input_shape[:2]]
  while min(sides[-1]) > 7:
    sides.append(tuple(-(-side // 2) for side in sides[-1]))
  filters = [min(16 * 2**depth, 64) for depth in range(len(sides) - 1)]
  images = x = tf.keras.layers.Input(input_shape)
  for count in filters:
    x = tf.keras.layers.Conv2D(count, 3, strides=2, padding='same', activation='relu')(x)
  x = tf.keras.layers.Dense(_CODE)(tf.keras.layers.Flatten()(x))
  x = tf.keras.layers.Dense(sides[-1][0] * sides[-1][1] * 32, activation='relu')(x)
  x = tf.keras.layers.Reshape((*sides[-1], 32))(x)
  for count, (height, width) in zip(reversed(filters), reversed(sides[:-1]), strict=True):
    x = tf.keras.layers.UpSampling2D()(x)
    x = tf.keras.layers.Cropping2D(((0, x.shape[1] - height), (0, x.shape[2] - width)))(x)
    x = tf.keras.layers.Conv2D(count, 3, padding='same', activation='relu')(x)
  return tf.keras.Model(images, tf.keras.layers.Conv2D(input_shape[-1], 3, padding='same')(x), name='autoencoder')
