"""Additive BFV (Fan and Vercauteren, 2012) in TensorFlow ops: keys, encryption, key shares, decryption.

A ciphertext of m under the public key (b, a), b = e - a * s, is (b * u + e1 + q / t * m, a * u + e2); adding
ciphertexts adds messages. The same residues as Microsoft SEAL's, so SEAL can decrypt them with s. Where several
clients hold s = s_1 + ... + s_k, their public shares b_i add up to b (Mouchet et al., Multiparty Homomorphic
Encryption from Ring-Learning-with-Errors, 2021, sections 4.1 to 4.3), and c1 * s_i plus smudging noise is
what one client contributes to a decryption.

Every function is graph code. Randomness is passed in as the key of a ChaCha20 stream; a key serves one call.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tff_vision.secure import chacha20, fixed_point
from tff_vision.secure.encryption import reference as reference_lib
from tff_vision.secure.encryption import ring
from tff_vision.secure.encryption.parameters import BfvParameters

_PIECE_CHUNKS = 16  # Up to 17 MB of a decryption share: what is sent and computed at a time.
_CHUNKS_AT_A_TIME = 2  # A core that has no client left to work for takes every other chunk.
_REFERENCE_KEY = np.frombuffer(reference_lib.KEY, '<u4')


def num_polynomials(params: BfvParameters, length: int) -> int:
  """Returns how many ciphertexts a vector of `length` values takes: whole chunks of equal size."""
  chunks, size = params.chunks(length)
  return chunks * size


def ciphertext_shape(params: BfvParameters, length: int) -> list[int]:
  """Returns [polynomials, 2, primes, degree]; residues are int32."""
  return [num_polynomials(params, length), 2, len(params.primes), params.degree]


def reference_polynomial(params: BfvParameters, round_num: tf.Tensor) -> tf.Tensor:
  """Returns the public polynomial a of a round, [primes, degree] int32: nobody chooses it.

  Args:
    round_num: int64 scalar.
  """
  low = tf.bitcast(round_num, tf.uint32)
  words = chacha20.key_stream(tf.constant(_REFERENCE_KEY, tf.uint32), tf.concat([low, tf.zeros([1], tf.uint32)], 0),
                              2 * len(params.primes) * params.degree)
  return ring.uniform(words, params.primes, params.degree)


def key_share(params: BfvParameters, reference: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns one party's secret s_i, [degree] int32 of -1, 0 and 1, and public share b_i, [primes, degree]."""
  words = chacha20.key_stream(key, _nonce(0), 3 * params.degree)
  secret = ring.ternary(words[:params.degree], params.degree)[0]
  masked = ring.product(ring.transform(ring.centre(reference, params.primes)), ring.transform(secret))
  error = ring.error(words[params.degree:], params.degree)
  return tf.cast(secret, tf.int32), ring.reduce(error - masked, params.primes)


def encrypt(params: BfvParameters, values: tf.Tensor, public_key: tf.Tensor, key: tf.Tensor, *,
            quantize: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> tf.Tensor:
  """Encrypts a vector.

  Args:
    values: [length].
    public_key: [2, primes, degree] int32, (b, a).
    key: [8] uint32, fresh.
    quantize: From the number of a part of the vector and the part, [n], to whole numbers in [0, 2 * params.offset],
      [n] float64; zeros fill up the last part. It is called part by part because the whole would leave the cache.

  Returns:
    [polynomials, 2, primes, degree] int32.
  """
  length = values.shape[0]
  chunks, size = params.chunks(length)
  fields = fixed_point.to_fields(values, params.values_per_coefficient, chunks * size, params.degree)
  fields = tf.reshape(fields, [chunks, size, params.values_per_coefficient, params.degree])
  spectrum = ring.transform(ring.centre(public_key, params.primes))  # [2, primes, degree / 2]

  def encrypt_chunk(index):
    part = fields[index]
    integers = tf.reshape(quantize(index, tf.reshape(part, [-1])), part.shape)
    words = chacha20.key_stream(key, _nonce(index), 3 * size * params.degree)
    u, errors = ring.encryption_randomness(words, params.degree)
    masked = ring.product(ring.transform(u)[:, None, None], spectrum[None])
    body = masked[:, 0] + errors[0][:, None] + _scaled_message(params, integers)
    return tf.stack([ring.reduce(body, params.primes),
                     ring.reduce(masked[:, 1] + errors[1][:, None], params.primes)], axis=1)

  shape = ciphertext_shape(params, length)
  return tf.reshape(_by_chunk(encrypt_chunk, chunks, [size, *shape[1:]]), shape)


def pieces(params: BfvParameters, length: int) -> list[slice]:
  """Returns the polynomials of a vector's ciphertext in pieces for `decryption_share`: two or more, if it has them."""
  chunks, size = params.chunks(length)
  step = size * min(_PIECE_CHUNKS, -(-chunks // 2))
  return [slice(start, min(start + step, chunks * size)) for start in range(0, chunks * size, step)]


def decryption_share(params: BfvParameters, length: int, c1: tf.Tensor, secrets: tf.Tensor, keys: tf.Tensor
                     ) -> tf.Tensor:
  """Returns the sum of what some clients of one worker contribute, c1 * s_i plus smudging noise each.

  Products add up like the secrets, so all clients together take one; each draws noise of its own.

  Args:
    length: Of the vector that was encrypted.
    c1: [n, primes, degree] int32: of the second half of a sum of ciphertexts, all polynomials or one of `pieces`; their
      number may be known only when the graph runs.
    secrets: [clients, degree] int32, s_i of one client or more.
    keys: [clients, 8] uint32, fresh.

  Returns:
    [n, primes, degree] int32.
  """
  _, size = params.chunks(length)
  spectrum = ring.transform(tf.cast(tf.reduce_sum(secrets, 0), tf.float64))
  grouped = tf.reshape(c1, [-1, size, len(params.primes), params.degree])

  def share_chunk(index):
    # No need to centre: `parameters` keeps 2**27 times the secrets of all clients, and their noise, exact.
    product = ring.product(ring.transform(tf.cast(grouped[index], tf.float64)), spectrum)

    def add_noise(client, *noise):
      words = chacha20.key_stream(keys[client], _nonce(index), params.smudging_words * size * params.degree)
      more = ring.smudging(words, params.smudging_bits, params.degree)
      return client + 1, *(left + right for left, right in zip(noise, more, strict=True))

    nothing = [tf.zeros([size, params.degree], tf.float64)] * params.smudging_words
    _, *high, low = tf.while_loop(lambda client, *_: client < tf.shape(keys)[0], add_noise,
                                  [tf.constant(0), *nothing], parallel_iterations=1)
    return ring.reduce_words([word[:, None] for word in high], product + low[:, None], params.primes)

  return tf.reshape(_by_chunk(share_chunk, tf.shape(grouped)[0], grouped.shape[1:]), tf.shape(c1))


def decrypt(params: BfvParameters, c0: tf.Tensor, shares: tf.Tensor, length: int) -> tf.Tensor:
  """Returns the sums, [length] int64, from c0 and the sum of all decryption shares (c1 * s, noise included)."""
  fields = ring.scaled_fields(ring.add(c0, shares, params.primes), params.primes, params.field_bits,
                              params.values_per_coefficient)
  return tf.reshape(fields, [-1])[:length]


def _scaled_message(params, values):
  """Returns q / t * m within one, [n, primes, degree] whole float64, congruent modulo each prime.

  m = sum of values[k] << (field_bits * k). Each field has its own factor q / t << (field_bits * k), whose
  integer part is reduced modulo p, to at most half of it (see `parameters.BfvParameters`), and whose fraction is added
  up in real numbers and rounded once.
  """
  scaled = tf.zeros([], tf.float64)
  fraction = tf.zeros([], tf.float64)
  for k in range(params.values_per_coefficient):
    whole, rest = divmod(params.modulus << (params.field_bits * k), 1 << params.plain_bits)
    factors = tf.constant([(whole + p // 2) % p - p // 2 for p in params.primes], tf.float64)[:, None]
    scaled += values[:, k, None] * factors
    fraction += values[:, k] * (rest / 2**params.plain_bits)
  return scaled + tf.round(fraction)[:, None]


def _by_chunk(fn, chunks, shape):
  """Returns [chunks, *shape] int32: fn(index), of `shape`, for each chunk.

  They are written into one buffer in place: `tf.map_fn` would collect them and then copy all.
  """
  def write(index, buffer):
    return index + 1, tf.raw_ops.InplaceUpdate(x=buffer, i=index[None], v=fn(index)[None])

  buffer = tf.raw_ops.Empty(shape=tf.stack([chunks, *shape]), dtype=tf.int32)
  _, filled = tf.while_loop(lambda index, _: index < chunks, write, [tf.constant(0), buffer],
                            shape_invariants=[tf.TensorShape([]), tf.TensorShape([None, *shape])],
                            parallel_iterations=_CHUNKS_AT_A_TIME)
  return filled


def _nonce(index):
  """The nonce of chunk `index`: with a fresh key for each call, a counter is enough."""
  return tf.stack([tf.cast(index, tf.uint32), tf.constant(0, tf.uint32), tf.constant(0, tf.uint32)])
