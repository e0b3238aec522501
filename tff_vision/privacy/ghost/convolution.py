"""Convolution pieces: patches, and filter gradients of a batch or of each example.

Per-example filter gradients run example after example through the batch kernel: on CPUs that beats both one large
contraction over patches, which must be written out, and `vectorized_map`. Images of few channels are the exception:
their patches are small, and their kernels too short to be started one by one.
"""

import tensorflow as tf

_FEW_CHANNELS = 4


def patches(layer: tf.keras.layers.Conv2D, inputs: tf.Tensor) -> tf.Tensor:
  """Returns [batch, height, width, kernel height * kernel width * channels], in the kernel's own order."""
  return tf.image.extract_patches(inputs, _around(layer.kernel_size), _around(layer.strides),
                                  _around(layer.dilation_rate), layer.padding.upper())


def filter_gradient(layer: tf.keras.layers.Conv2D, inputs: tf.Tensor, dz: tf.Tensor) -> tf.Tensor:
  """Returns the gradient of the kernel, summed over the batch."""
  return tf.raw_ops.Conv2DBackpropFilter(
      input=inputs, filter_sizes=layer.kernel.shape.as_list(), out_backprop=dz, strides=_around(layer.strides),
      padding=layer.padding.upper(), dilations=_around(layer.dilation_rate))


def example_filter_gradients(layer: tf.keras.layers.Conv2D, inputs: tf.Tensor, dz: tf.Tensor) -> tf.Tensor:
  """Returns [batch, *kernel shape]."""
  if inputs.shape[-1] <= _FEW_CHANNELS:
    positions = dz.shape[1] * dz.shape[2]
    rows = tf.reshape(_few_channel_patches(layer, inputs), [-1, positions, layer.kernel.shape[:3].num_elements()])
    found = tf.matmul(rows, tf.reshape(dz, [-1, positions, dz.shape[-1]]), transpose_a=True)
    return tf.reshape(found, [-1, *layer.kernel.shape])
  # A slice of one example shares its memory; elements that `map_fn` takes apart are copies.
  return tf.map_fn(lambda i: filter_gradient(layer, inputs[i:i + 1], dz[i:i + 1]), tf.range(tf.shape(dz)[0]),
                   fn_output_signature=tf.TensorSpec(layer.kernel.shape, dz.dtype))


def _few_channel_patches(layer, inputs):
  """Returns `patches` by a convolution with one-hot filters, which is faster there."""
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
  """Returns the two image axes between batch and channels, as convolution ops want them."""
  return [1, *pair, 1]
