"""Small networks of the federated learning literature.

`mlp` and `cnn`: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data",
AISTATS 2017, section 3 (the 2NN and the CNN of 1,663,370 parameters at 28x28x1 and 10 classes).
`cnn_dropout`: Reddi et al., "Adaptive Federated Optimization", ICLR 2021, appendix C.2 (1,206,590 parameters at
28x28x1 and 62 classes).
`lenet`: Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022, arXiv:2102.02079,
section V (44,426 parameters at 28x28x1 and 10 classes, 62,006 at 32x32x3).
`linear`: the convex baseline.
`cnn_tanh`: Papernot et al., "Tempered Sigmoid Activations for Deep Learning with Differential Privacy", AAAI 2021,
arXiv:2007.14191, table 1 (26,010 parameters at 28x28x1 and 10 classes).
`cnn_private`: this project's own, for private SGD on small grey images (28,906 parameters at 28x28x1 and 10 classes).
`cnn_gn`: this project's own, for image folders of any size (60,400 weights before the last layer at one channel).
`cnn_bn`: the same with BatchNorm, for algorithms that keep normalisation on each client.
"""

import tensorflow as tf

from tff_vision.models import normalization


def build_linear(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Multinomial logistic regression on pixels."""
  return tf.keras.Sequential([
      tf.keras.layers.Input(input_shape),
      tf.keras.layers.Flatten(),
      tf.keras.layers.Dense(num_classes),
  ], name='linear')


def build_lenet(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Two 5x5 convolutions (6, 16 channels) without padding, each with 2x2 pooling; 120 and 84 hidden units."""
  _at_least(16, input_shape, 'lenet')
  return tf.keras.Sequential([
      tf.keras.layers.Input(input_shape),
      tf.keras.layers.Conv2D(6, 5, activation='relu'),
      tf.keras.layers.MaxPool2D(),
      tf.keras.layers.Conv2D(16, 5, activation='relu'),
      tf.keras.layers.MaxPool2D(),
      tf.keras.layers.Flatten(),
      tf.keras.layers.Dense(120, activation='relu'),
      tf.keras.layers.Dense(84, activation='relu'),
      tf.keras.layers.Dense(num_classes),
  ], name='lenet')


def build_mlp(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Two hidden layers of 200 units."""
  return tf.keras.Sequential([
      tf.keras.layers.Input(input_shape),
      tf.keras.layers.Flatten(),
      tf.keras.layers.Dense(200, activation='relu'),
      tf.keras.layers.Dense(200, activation='relu'),
      tf.keras.layers.Dense(num_classes),
  ], name='mlp')


def build_cnn(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Two 5x5 convolutions (32, 64 channels), each with 2x2 pooling, and 512 hidden units."""
  _at_least(4, input_shape, 'cnn')
  return tf.keras.Sequential([
      tf.keras.layers.Input(input_shape),
      tf.keras.layers.Conv2D(32, 5, padding='same', activation='relu'),
      tf.keras.layers.MaxPool2D(),
      tf.keras.layers.Conv2D(64, 5, padding='same', activation='relu'),
      tf.keras.layers.MaxPool2D(),
      tf.keras.layers.Flatten(),
      tf.keras.layers.Dense(512, activation='relu'),
      tf.keras.layers.Dense(num_classes),
  ], name='cnn')


def build_cnn_dropout(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Two 3x3 convolutions (32, 64 channels) without padding, pooling, 128 hidden units, dropout."""
  _at_least(6, input_shape, 'cnn_dropout')
  return tf.keras.Sequential([
      tf.keras.layers.Input(input_shape),
      tf.keras.layers.Conv2D(32, 3, activation='relu'),
      tf.keras.layers.Conv2D(64, 3, activation='relu'),
      tf.keras.layers.MaxPool2D(),
      tf.keras.layers.Dropout(0.25),
      tf.keras.layers.Flatten(),
      tf.keras.layers.Dense(128, activation='relu'),
      tf.keras.layers.Dropout(0.5),
      tf.keras.layers.Dense(num_classes),
  ], name='cnn_dropout')


def build_cnn_gn(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Convolutions of 16, 32, 64 and 64 channels with GroupNorm; each halves sizes larger than 4. Takes any size."""
  return _normalised(input_shape, num_classes, 'cnn_gn',
                     lambda filters: tf.keras.layers.GroupNormalization(normalization.groups_of(filters)))


def build_cnn_bn(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """`cnn_gn` with BatchNorm in place of GroupNorm. Its moving statistics follow the last ten batches or so.

  A client takes few steps in a round, and its statistics must keep up with the layers before.
  """
  return _normalised(input_shape, num_classes, 'cnn_bn',
                     lambda filters: tf.keras.layers.BatchNormalization(momentum=0.9))


def _normalised(input_shape, num_classes, name, norm):
  images = tf.keras.layers.Input(input_shape)
  x = images
  for filters in (16, 32, 64, 64):
    strides = 2 if min(x.shape[1:3]) > 4 else 1
    x = tf.keras.layers.Conv2D(filters, 3, strides, padding='same', use_bias=False, kernel_initializer='he_normal')(x)
    x = norm(filters)(x)
    x = tf.keras.layers.ReLU()(x)
  # Means capture texture and tone; maxima capture small and rare details.
  x = tf.keras.layers.Concatenate()([tf.keras.layers.GlobalAveragePooling2D()(x),
                                     tf.keras.layers.GlobalMaxPooling2D()(x)])
  return tf.keras.Model(images, tf.keras.layers.Dense(num_classes)(x), name=name)


def build_cnn_tanh(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Two convolutions with stride 2 and tanh, whose bounded activations keep gradients near the clipping norm."""
  _at_least(14, input_shape, 'cnn_tanh')
  return tf.keras.Sequential([
      tf.keras.layers.Input(input_shape),
      tf.keras.layers.Conv2D(16, 8, 2, padding='same', activation='tanh'),
      tf.keras.layers.MaxPool2D(2, 1),
      tf.keras.layers.Conv2D(32, 4, 2, activation='tanh'),
      tf.keras.layers.MaxPool2D(2, 1),
      tf.keras.layers.Flatten(),
      tf.keras.layers.Dense(32, activation='tanh'),
      tf.keras.layers.Dense(num_classes),
  ], name='cnn_tanh')


def build_cnn_private(input_shape: tuple[int, int, int], num_classes: int) -> tf.keras.Model:
  """Two convolutions with GroupNorm and tanh, and one dense layer on their feature maps: few weights, even gradients.

  Normalised activations keep the gradients of all examples near one norm, so that a small clipping norm loses little.
  Positions are kept up to the last layer, because private training learns more from them than from hidden units.
  """
  _at_least(8, input_shape, 'cnn_private')
  layers = tf.keras.layers
  return tf.keras.Sequential([
      layers.Input(input_shape),
      layers.Rescaling(2.8, offset=-0.8),  # For pixels in 0..1, most of them dark; constants, not the data's moments.
      layers.Conv2D(24, 7, 2, padding='same'),
      layers.GroupNormalization(4, center=False, scale=False),
      layers.Activation('tanh'),
      layers.MaxPool2D(),
      layers.Conv2D(48, 3, padding='same'),
      layers.GroupNormalization(4, center=False, scale=False),
      layers.Activation('tanh'),
      layers.AvgPool2D(2, 1),
      layers.Flatten(),
      layers.Dense(num_classes, kernel_initializer='zeros'),
  ], name='cnn_private')


def _at_least(pixels, input_shape, model):
  if min(input_shape[:2]) < pixels:
    raise ValueError(f'model={model} needs images of at least {pixels}x{pixels}, found '
                     f'{input_shape[0]}x{input_shape[1]}.')
