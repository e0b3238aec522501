"""Convolution pieces: patches, and filter gradients of a batch or of each example.

A per-example filter gradient is a matrix product of patches and dz. Three ways are used. Patches are materialised where
they are small: with few channels, or with strides. Otherwise, for a small kernel, one product is taken for each kernel
position, over the shifted image. A large kernel would need too many shifts; its examples go through the batch kernel
one by one. On CPUs each way was the fastest for its case; `vectorized_map` is slower everywhere.
"""

import tensorflow as tf

_FEW_CHANNELS = 4
_FEW_PLACES = 9


def patches(layer: tf.keras.layers.Conv2D, inputs: tf.Tensor) -> tf.Tensor:
  """Returns [batch, height, width, kernel height * kernel width * channels], in the order of the kernel's entries."""
  return tf.image.extract_patches(inputs, _around(layer.kernel_size), _around(layer.strides),
                                  _around(layer.dilation_rate), layer.padding.upper())


def filter_gradient(layer: tf.keras.layers.Conv2D, inputs: tf.Tensor, dz: tf.Tensor) -> tf.Tensor:
  """Returns the gradient of the kernel, summed over the batch."""
  return tf.raw_ops.Conv2DBackpropFilter(
      input=inputs, filter_sizes=layer.kernel.shape.as_list(), out_backprop=dz, strides=_around(layer.strides),
      padding=layer.padding.upper(), dilations=_around(layer.dilation_rate))


def example_filter_gradients(layer: tf.keras.layers.Conv2D, inputs: tf.Tensor, dz: tf.Tensor, copies: int = 1
                             ) -> tf.Tensor:
  """Returns [batch, *kernel shape]; each gradient is summed over an example's `copies` rows of inputs and dz."""
  few_channels = inputs.shape[-1] <= _FEW_CHANNELS
  if few_channels or max(layer.strides) > 1:
    rows = _few_channel_patches(layer, inputs) if few_channels else patches(layer, inputs)
    return tf.reshape(_products(rows, dz, copies), [-1, *layer.kernel.shape])
  if layer.kernel.shape[:2].num_elements() <= _FEW_PLACES:
    return tf.reshape(tf.stack([_products(moved, dz, copies) for moved in _moved(layer, inputs, dz)], 1),
                      [-1, *layer.kernel.shape])
  # A slice of one example shares its memory; `map_fn` would copy the elements that it unstacks.
  return tf.map_fn(lambda i: filter_gradient(layer, inputs[i:i + copies], dz[i:i + copies]),
                   tf.range(0, tf.shape(dz)[0], copies),
                   fn_output_signature=tf.TensorSpec(layer.kernel.shape, dz.dtype))


def _products(rows, dz, copies):
  """Returns [batch, features of rows, filters]: products of two [rows, height, width, ...], summed over positions."""
  positions = copies * dz.shape[1] * dz.shape[2]
  return tf.matmul(tf.reshape(rows, [-1, positions, rows.shape[-1]]), tf.reshape(dz, [-1, positions, dz.shape[-1]]),
                   transpose_a=True)


def _moved(layer, inputs, dz):
  """Returns, for each kernel position, the inputs that it multiplies at each output position; without strides."""
  reach = [(size - 1) * rate for size, rate in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
  if layer.padding == 'same':
    inputs = tf.pad(inputs, [[0, 0], *([total // 2, total - total // 2] for total in reach), [0, 0]])
  down, across = (range(0, total + 1, rate) for total, rate in zip(reach, layer.dilation_rate, strict=True))
  return [inputs[:, i:i + dz.shape[1], j:j + dz.shape[2]] for i in down for j in across]


def _few_channel_patches(layer, inputs):
  """Returns `patches`, computed by a convolution with one-hot filters, which is faster for few channels."""
  taps = layer.kernel.shape[:3]
  filters = tf.reshape(tf.eye(taps.num_elements(), dtype=inputs.dtype), [*taps, taps.num_elements()])
  return tf.nn.conv2d(inputs, filters, layer.strides, layer.padding.upper(), dilations=layer.dilation_rate)


def example_depthwise_gradients(layer: tf.keras.layers.DepthwiseConv2D, inputs: tf.Tensor, dz: tf.Tensor) -> tf.Tensor:
  """Returns [batch, *kernel shape]."""
  kernel = layer.depthwise_kernel

  def gradient(example):
    return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
        input=example[0][None], filter_sizes=kernel.shape.as_list(), out_backprop=example[1][None],
        strides=_around(layer.strides), padding=layer.padding.upper())

  return tf.map_fn(gradient, (inputs, dz), fn_output_signature=tf.TensorSpec(kernel.shape, dz.dtype))


def _around(pair):
  """Returns the two image axes with 1 for batch and channels, as convolution ops expect."""
  return [1, *pair, 1]
