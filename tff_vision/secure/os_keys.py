"""Keys from the kernel's random number generator, inside a graph, on the machine that runs the graph.

TensorFlow's own generators are not suitable for keys: they have seeds of at most 64 bits, and whoever wrote the graph
knows the seeds in it. Linux exposes its cryptographic generator as a text file, which a `tf.data` reader can read.
"""

import tensorflow as tf

_KERNEL_UUID = '/proc/sys/kernel/random/uuid'  # A new version-4 UUID at each read, Linux only.
_RANDOM_FIELDS = ((0, 8), (9, 4), (24, 12))  # Start and length of the hex digits that are all random.
_READS = 3  # Each read gives 24 random digits; a key needs 64.


def kernel_key() -> tf.Tensor:
  """Returns a fresh 256-bit key, [8] uint32, drawn where and when the graph runs."""
  return kernel_keys(1)[0]


def kernel_keys(count: tf.Tensor | int) -> tf.Tensor:
  """Returns as many fresh 256-bit keys, [count, 8] uint32, drawn where and when the graph runs.

  A stateful dataset op reads the file. `tf.io.read_file` is stateless, and graph optimisation merges equal stateless
  ops into one, so that three reads would give the same UUID.
  """
  reads = tf.cast(count, tf.int64) * _READS
  lines = tf.data.TextLineDataset(_KERNEL_UUID).repeat(reads).batch(reads, drop_remainder=True)
  uuids = tf.reshape(tf.data.Dataset.get_single_element(lines), [-1, _READS])
  digits = tf.strings.reduce_join([tf.strings.substr(uuids, start, length) for start, length in _RANDOM_FIELDS],
                                  axis=[0, 2])
  codes = tf.cast(tf.io.decode_raw(tf.strings.substr(digits, 0, 64), tf.uint8), tf.int64)
  nibbles = tf.reshape(tf.where(codes >= ord('a'), codes - ord('a') + 10, codes - ord('0')), [-1, 8, 8])
  return tf.cast(tf.reduce_sum(nibbles * tf.constant([16**i for i in range(8)], tf.int64), axis=2), tf.uint32)
