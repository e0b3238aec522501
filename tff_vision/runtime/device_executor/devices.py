"""The devices on which a device executor computes."""

import tensorflow as tf


def visible() -> list[str]:
  """Returns the GPUs that TensorFlow sees, such as `GPU:0`; the processor, `CPU:0`, if there are none.

  GPUs that `CUDA_VISIBLE_DEVICES` leaves out are not seen. Memory of a GPU is taken as it is needed, so that other
  programs can use the rest. Numbers are float32 throughout: TensorFlow would cut the factors of products to 10 bits of
  mantissa (TF32) on GPUs that can.
  """
  tf.config.experimental.enable_tensor_float_32_execution(False)
  gpus = tf.config.list_physical_devices('GPU')
  for gpu in gpus:
    tf.config.experimental.set_memory_growth(gpu, True)
  return [f'GPU:{number}' for number in range(len(gpus))] or ['CPU:0']
