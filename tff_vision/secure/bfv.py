"""Additive BFV (Fan and Vercauteren, 2012) in TensorFlow ops: keys, encryption, key shares, decryption.

A ciphertext of m under the public key (b, a), b = e - a * s, is (b * u + e1 + q / t * m, a * u + e2); adding
ciphertexts adds messages. The same residues as Microsoft SEAL's, so SEAL can decrypt them with s. Where several
clients hold s = s_1 + ... + s_k, their public shares b_i add up to b (Mouchet et al., Multiparty Homomorphic
Encryption from Ring-Learning-with-Errors, 2021, sections 4.1 to 4.3), and c1 * s_i plus smudging noise is
what one client contributes to a decryption.

Every function is graph code. Randomness is passed in as the key of a ChaCha20 stream; a key serves one call.
"""

import hashlib

import numpy as np
import tensorflow as tf

from tff_vision.secure import chacha20, fixed_point, ring
from tff_vision.secure.parameters import DEGREE, BfvParameters

_CHUNK = 16  # Polynomials worked on at a time: temporaries stay in the cache, and small.
_REFERENCE_KEY = np.frombuffer(hashlib.sha256(b'tff_vision threshold BFV common reference polynomial').digest(), '<u4')


def num_polynomials(params: BfvParameters, length: int) -> int:
  """Returns how many ciphertexts a vector of `length` values takes: whole chunks of equal size."""
  chunks, size = _chunks(params, length)
  return chunks * size


def ciphertext_shape(params: BfvParameters, length: int) -> list[int]:
  """Returns [polynomials, 2, primes, degree]; residues are int32."""
  return [num_polynomials(params, length), 2, len(params.primes), DEGREE]


def reference_polynomial(params: BfvParameters, round_num: tf.Tensor) -> tf.Tensor:
  """Returns the public polynomial a of a round, [primes, degree] int32: nobody chooses it.

  Args:
    round_num: int64 scalar.
  """
  low = tf.bitcast(round_num, tf.uint32)
  words = chacha20.key_stream(tf.constant(_REFERENCE_KEY, tf.uint32), tf.concat([low, tf.zeros([1], tf.uint32)], 0),
                              2 * len(params.primes) * DEGREE)
  return ring.uniform(words, params.primes)


def key_share(params: BfvParameters, reference: tf.Tensor, key: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns one party's secret s_i, [degree] int32 of -1, 0 and 1, and public share b_i, [primes, degree]."""
  words = chacha20.key_stream(key, _nonce(0), 3 * DEGREE)
  secret = ring.ternary(words[:DEGREE])[0]
  masked = ring.product(ring.transform(ring.centre(reference, params.primes)), ring.transform(secret))
  return tf.cast(secret, tf.int32), ring.reduce(ring.error(words[DEGREE:]) - masked, params.primes)


def encrypt(params: BfvParameters, integers: tf.Tensor, public_key: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
  """Encrypts whole numbers in [0, 2 * params.offset].

  Args:
    integers: [length] float64, see `fixed_point.quantize`.
    public_key: [2, primes, degree] int32, (b, a).
    key: [8] uint32, fresh.

  Returns:
    [polynomials, 2, primes, degree] int32.
  """
  chunks, size = _chunks(params, integers.shape[0])
  fields = fixed_point.to_fields(integers, params.values_per_coefficient, chunks * size, DEGREE)
  spectrum = ring.transform(ring.centre(public_key, params.primes))  # [2, primes, degree / 2]

  def encrypt_chunk(chunk):
    index, values = chunk
    words = chacha20.key_stream(key, _nonce(index), 3 * size * DEGREE)
    u, errors = ring.encryption_randomness(words)
    masked = ring.product(ring.transform(u)[:, None, None], spectrum[None])
    body = masked[:, 0] + errors[0][:, None] + _scaled_message(params, values)
    return tf.stack([ring.reduce(body, params.primes),
                     ring.reduce(masked[:, 1] + errors[1][:, None], params.primes)], axis=1)

  grouped = tf.reshape(fields, [chunks, size, params.values_per_coefficient, DEGREE])
  return _by_chunk(encrypt_chunk, grouped, ciphertext_shape(params, integers.shape[0]))


def decryption_share(params: BfvParameters, c1: tf.Tensor, secret: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
  """Returns c1 * s_i plus smudging noise, [polynomials, primes, degree] int32.

  Args:
    c1: [polynomials, primes, degree] int32, the second half of a sum of ciphertexts.
    secret: [degree] int32, s_i.
    key: [8] uint32, fresh.
  """
  polynomials = c1.shape[0]
  chunks = -(-polynomials // _CHUNK)
  size = polynomials // chunks
  spectrum = ring.transform(tf.cast(secret, tf.float64))

  def share_chunk(chunk):
    index, part = chunk
    noise = ring.smudging(chacha20.key_stream(key, _nonce(index), 2 * size * DEGREE), params.smudging_bits)
    exact = ring.product(ring.transform(ring.centre(part, params.primes)), spectrum)
    return ring.reduce(exact + noise[:, None], params.primes)

  grouped = tf.reshape(c1, [chunks, size, len(params.primes), DEGREE])
  return _by_chunk(share_chunk, grouped, c1.shape)


def decrypt(params: BfvParameters, c0: tf.Tensor, shares: tf.Tensor, length: int) -> tf.Tensor:
  """Returns the sums, [length] int64, from c0 and the sum of all decryption shares (c1 * s, noise included)."""
  coefficients = ring.scaled_rounded(ring.add(c0, shares, params.primes), params.primes, params.plain_bits)
  return fixed_point.from_coefficients(coefficients, params.field_bits, params.values_per_coefficient, length)


def _scaled_message(params, values):
  """Returns q / t * m within one, [n, primes, degree] whole float64, congruent modulo each prime.

  m = sum of values[k] << (field_bits * k). Each field has its own factor q / t << (field_bits * k), whose
  integer part is reduced modulo p (values have at most 22 bits, residues 27), and whose fraction is added up in
  real numbers and rounded once.
  """
  scaled = tf.zeros([], tf.float64)
  fraction = tf.zeros([], tf.float64)
  for k in range(params.values_per_coefficient):
    whole, rest = divmod(params.modulus << (params.field_bits * k), 1 << params.plain_bits)
    factors = tf.constant([whole % p for p in params.primes], tf.float64)[:, None]
    scaled += values[:, k, None] * factors
    fraction += values[:, k] * (rest / 2**params.plain_bits)
  return scaled + tf.round(fraction)[:, None]


def _chunks(params, length):
  """Returns the number of chunks and their size: at most _CHUNK, and nearly no padding."""
  polynomials = -(-length // (params.values_per_coefficient * DEGREE))
  chunks = -(-polynomials // _CHUNK)
  return chunks, -(-polynomials // chunks)


def _by_chunk(fn, grouped, shape):
  """Returns fn((index, chunk)) for each chunk of `grouped`, one after the other, reshaped to `shape`."""
  if grouped.shape[0] == 1:
    return tf.reshape(fn((tf.constant(0), grouped[0])), shape)
  mapped = tf.map_fn(fn, (tf.range(grouped.shape[0]), grouped), fn_output_signature=tf.int32, parallel_iterations=1)
  return tf.reshape(mapped, shape)


def _nonce(index):
  """The nonce of chunk `index`: with a fresh key for each call, a counter is enough."""
  return tf.stack([tf.cast(index, tf.uint32), tf.constant(0, tf.uint32), tf.constant(0, tf.uint32)])
