"""The ChaCha20 stream cipher's key stream (RFC 8439) in TensorFlow ops, for machines that run only graphs.

Every secret number that a client draws comes from here. All blocks are computed together. The sixteen words of the
state are four matrices of four rows, with one column per block, so a quarter round works on whole rows.
"""

import tensorflow as tf

_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # 'expand 32-byte k'
_DOUBLE_ROUNDS = 10
_WORDS_PER_BLOCK = 16


def key_stream(key: tf.Tensor, nonce: tf.Tensor, num_words: int) -> tf.Tensor:
  """Returns the first `num_words` little-endian words of the key stream, with the block counter from 0.

  Args:
    key: [8] uint32; must be drawn afresh for each purpose, or purposes must use different values of `nonce`.
    nonce: [3] uint32; never used twice with one key.
    num_words: At most 2**36.

  Returns:
    [num_words] uint32.
  """
  key, nonce = tf.ensure_shape(key, [8]), tf.ensure_shape(nonce, [3])  # A row of an array may have an unknown length.
  blocks = -(-num_words // _WORDS_PER_BLOCK)
  columns = tf.ones([1, blocks], tf.uint32)
  counter = tf.cast(tf.range(blocks), tf.uint32)[None]
  start = (tf.constant(_CONSTANTS, tf.uint32)[:, None] * columns, key[:4, None] * columns,
           key[4:, None] * columns, tf.concat([counter, nonce[:, None] * columns], 0))
  words = _blocks(*start)
  return tf.reshape(tf.transpose(words), [_WORDS_PER_BLOCK * blocks])[:num_words]


# Traced once in a process: a round of training has many key streams, and each would be 500 nodes of its graph.
@tf.function(autograph=False, input_signature=[tf.TensorSpec([4, None], tf.uint32)] * 4)
def _blocks(a, b, c, d):
  """Returns the blocks, [16, number of blocks], from the states that they start with, each [4, number of blocks]."""
  state = start = (a, b, c, d)
  # Unrolled: a while loop costs a third more, and the graph has 500 nodes either way.
  for _ in range(_DOUBLE_ROUNDS):
    state = _double_round(*state)
  return tf.concat([after + before for after, before in zip(state, start, strict=True)], 0)


def _double_round(a, b, c, d):
  """A column round, then a diagonal round: rows are rolled so that diagonals become columns, and rolled back."""
  a, b, c, d = _quarter_round(a, b, c, d)
  a, b, c, d = _quarter_round(a, tf.roll(b, -1, 0), tf.roll(c, -2, 0), tf.roll(d, -3, 0))
  return a, tf.roll(b, 1, 0), tf.roll(c, 2, 0), tf.roll(d, 3, 0)


def _quarter_round(a, b, c, d):
  a = a + b
  d = _rotate(tf.bitwise.bitwise_xor(d, a), 16)
  c = c + d
  b = _rotate(tf.bitwise.bitwise_xor(b, c), 12)
  a = a + b
  d = _rotate(tf.bitwise.bitwise_xor(d, a), 8)
  c = c + d
  b = _rotate(tf.bitwise.bitwise_xor(b, c), 7)
  return a, b, c, d


def _rotate(x, bits):
  """Rotates left. CPUs vectorise multiplication and addition here, but not left shift and or."""
  high = tf.bitcast(tf.bitcast(x, tf.int32) * (1 << bits), tf.uint32)
  return high + tf.bitwise.right_shift(x, tf.constant(32 - bits, tf.uint32))
