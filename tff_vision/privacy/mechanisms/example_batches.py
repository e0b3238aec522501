"""Which of a client's examples a step of private SGD takes: drawn from the key stream of the client's own key."""

import tensorflow as tf

from tff_vision.secure import chacha20

SAMPLINGS = ('poisson', 'shuffled', 'balls_in_bins', 'cyclic')
_SAMPLING = 2 ** 16  # Nonce of the random words that choose batches; the nonce of noise is its tensor's position.
_BLOCKS = 2 ** 16 + 1  # Nonce of the random words that assign examples to blocks.


def expected(sampling: str, batch_size: int, blocks: int, count: tf.Tensor) -> tf.Tensor:
  """Returns the expected number of examples in a step, float64; public, like the client's number of examples."""
  if sampling == 'balls_in_bins':
    return tf.cast(count, tf.float64) / tf.cast(-(-count // batch_size), tf.float64)
  return tf.cast(tf.minimum(batch_size * blocks, count), tf.float64) / blocks


def draw(sampling: str, batch_size: int, blocks: int, key: tf.Tensor, step: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
  """Returns the positions of a step's examples; a client with fewer examples than a batch uses all of them.

  Args:
    sampling: `poisson`: each example independently with the same probability; `balls_in_bins`: each example in one
      step of the pass, drawn independently; `shuffled`: batches of a fixed size, in a new order for each pass;
      `cyclic`: the same, in the same order in every pass.
    blocks: For `poisson`: each example is assigned to one block independently; steps use the blocks in turn.
    key: [8] uint32, secret.
    step: Step number in the round, from 0.
    count: The client's number of examples.
  """
  steps_a_pass = -(-count // batch_size)
  if sampling == 'poisson':
    words = tf.cast(chacha20.key_stream(key, _nonce(_SAMPLING, step), count), tf.float64)
    chosen = words < blocks * batch_size * 2.0 ** 32 / tf.cast(count, tf.float64)
    if blocks > 1:
      own = tf.cast(chacha20.key_stream(key, _nonce(_BLOCKS, 0), count), tf.float64)
      block = tf.cast(tf.floor(own * (blocks * 2.0 ** -32)), step.dtype)
      chosen &= tf.equal(block, step % blocks)
    return tf.where(chosen)[:, 0]
  if sampling == 'balls_in_bins':
    # A step of the pass for each example; the same words for all steps of the pass.
    words = tf.cast(tf.reshape(chacha20.key_stream(key, _nonce(_SAMPLING, step // steps_a_pass), 2 * count),
                               [count, 2]), tf.float64)
    # 53 bits: the probability of a step is wrong by at most 2^-53.
    uniform = (tf.floor(words[:, 0] / 2 ** 5) * 2.0 ** 26 + tf.floor(words[:, 1] / 2 ** 6)) * 2.0 ** -53
    places = tf.cast(tf.floor(uniform * tf.cast(steps_a_pass, tf.float64)), count.dtype)
    return tf.where(tf.equal(places, step % steps_a_pass))[:, 0]
  # Examples are sorted by one random word each; all steps of the pass (or of all passes) use the same words.
  number = step // steps_a_pass if sampling == 'shuffled' else 0
  order = tf.argsort(tf.cast(chacha20.key_stream(key, _nonce(_SAMPLING, number), count), tf.int64))
  first = step % steps_a_pass * batch_size
  return order[first:first + batch_size]


def _nonce(purpose, number):
  return tf.stack([tf.constant(purpose, tf.uint32), tf.cast(number, tf.uint32), tf.constant(1, tf.uint32)])
