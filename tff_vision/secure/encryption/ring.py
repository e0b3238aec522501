"""Arithmetic in Z_q[x] / (x^n + 1) in TensorFlow ops, with n = 4096 or 8192 and q a product of 27-bit primes.

Products have one small operand (ternary), so a complex128 FFT of half the length is exact: the sum of 8192
products below 2**26 has 39 bits, and the rounding error stays below 0.002 (0.5 would be wrong). Polynomials are
coefficient vectors, [..., primes, degree], kept as whole numbers in float64 while being worked on and as int32
residues in [0, p) where they are stored or sent. Nothing here runs in constant time.
"""

import functools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tff_vision.secure.encryption import parameters


@functools.cache
def twist(degree: int) -> np.ndarray:
  """Returns [degree / 2] complex128: with it, a cyclic convolution of that length is a negacyclic one of `degree`."""
  return np.exp(1j * np.pi * np.arange(degree // 2) / degree)


def transform(polynomial: tf.Tensor) -> tf.Tensor:
  """Returns the spectrum, [..., degree / 2] complex128, of [..., degree] float64 coefficients."""
  degree = polynomial.shape[-1]
  real, imaginary = polynomial[..., :degree // 2], polynomial[..., degree // 2:]
  return tf.signal.fft(tf.complex(real, imaginary) * tf.constant(twist(degree)))


def product(spectrum: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
  """Returns the product over the integers, [..., degree] float64, of two polynomials given by spectra."""
  folded = tf.signal.ifft(spectrum * other) * tf.constant(np.conj(twist(2 * spectrum.shape[-1])))
  return tf.round(tf.concat([tf.math.real(folded), tf.math.imag(folded)], axis=-1))


def reduce(whole: tf.Tensor, primes: Sequence[int]) -> tf.Tensor:
  """Returns int32 residues in [0, p) of whole numbers of magnitude below 2**51.

  Args:
    whole: [..., primes, degree] float64.
    primes: One for each row of the axis before the last.
  """
  p = _column(primes, tf.float64)
  # Adding one half keeps the quotient off the integers by 2**-28, more than its own rounding error.
  quotient = tf.floor((whole + 0.5) * (1 / p))
  return tf.cast(whole - quotient * p, tf.int32)


def centre(residues: tf.Tensor, primes: Sequence[int]) -> tf.Tensor:
  """Returns the representatives nearest to zero, float64, of int32 residues."""
  p = _column(primes, tf.int32)
  return tf.cast(tf.where(residues > p // 2, residues - p, residues), tf.float64)


def add(left: tf.Tensor, right: tf.Tensor, primes: Sequence[int]) -> tf.Tensor:
  """Returns the int32 residues of the sum of two int32 residues."""
  return fold(left + right, 2, primes)


def fold(total: tf.Tensor, terms: int, primes: Sequence[int]) -> tf.Tensor:
  """Returns the int32 residues of a plain int32 sum of up to `terms` residues, `terms` times a prime below 2**31."""
  total = tf.bitcast(total, tf.uint32)
  for shift in reversed(range((terms - 1).bit_length())):
    # What becomes negative is, read without a sign, the larger one.
    total = tf.minimum(total, total - tf.bitcast(_column(primes, tf.int32) * (1 << shift), tf.uint32))
  return tf.bitcast(total, tf.int32)


def uniform(words: tf.Tensor, primes: Sequence[int], degree: int) -> tf.Tensor:
  """Returns uniform residues, [primes, degree] int32, from 2 * primes * degree random words.

  61 bits reduced modulo a 27-bit prime: no residue is likelier than another by more than 2**-34 of itself.
  """
  high, low = tf.unstack(tf.reshape(tf.cast(words, tf.int64), [2, len(primes), degree]))
  wide = tf.bitwise.left_shift(tf.bitwise.right_shift(high, tf.constant(3, tf.int64)), tf.constant(32, tf.int64)) + low
  return tf.cast(tf.math.floormod(wide, _column(primes, tf.int64)), tf.int32)


def ternary(words: tf.Tensor, degree: int) -> tf.Tensor:
  """Returns uniform polynomials of -1, 0 and 1, [n, degree] float64, from [n * degree] random words."""
  trits = tf.bitwise.right_shift(tf.cast(words, tf.int64) * 3, tf.constant(32, tf.int64)) - 1
  return tf.cast(tf.reshape(trits, [-1, degree]), tf.float64)


def encryption_randomness(words: tf.Tensor, degree: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns what one encryption draws, from three random words a coefficient.

  Each of the two errors takes a whole word and ten bits of the third: a centred binomial sample of 42 coin
  tosses. Twelve bits are left; those of two coefficients together give two trits (uniform within 2**-20).

  Args:
    words: [3 * n * degree] uint32.

  Returns:
    u, [n, degree] float64 ternary, and errors, [2, n, degree] float64.
  """
  first, second, third = tf.unstack(tf.reshape(words, [3, -1, degree]))
  errors = tf.stack([_binomial(first, tf.bitwise.bitwise_and(third, _u32(0x3FF))),
                     _binomial(second, tf.bitwise.bitwise_and(third, _u32(0x3FF << 10)))])
  left, right = tf.split(tf.cast(tf.bitwise.right_shift(third, _u32(20)), tf.float64), 2, axis=-1)
  ninth = tf.floor((left * 4096 + right) * (9 / 2**24))  # Uniform in 0..8.
  tens = tf.floor(ninth * (1 / 3) + 0.1)
  return tf.concat([tens, ninth - 3 * tens], axis=-1) - 1, errors


def error(words: tf.Tensor, degree: int) -> tf.Tensor:
  """Returns one error polynomial, [degree] float64, from 2 * degree random words."""
  first, second = tf.unstack(tf.reshape(words, [2, degree]))
  return _binomial(first, tf.bitwise.bitwise_and(second, _u32(0x3FF)))


def smudging(words: tf.Tensor, bits: int, degree: int) -> list[tf.Tensor]:
  """Returns uniform whole numbers in [-2**bits, 2**bits), each as words of 32 bits, the highest first.

  Args:
    words: [count * n * degree] uint32, count * 32 > bits.

  Returns:
    `count` times [n, degree] float64, so that sums of them stay exact; see `reduce_words`. The highest has a sign.
  """
  count = -(-(bits + 1) // 32)
  high, *rest = tf.unstack(tf.reshape(words, [count, -1, degree]))
  top_bits = bits + 1 - 32 * (count - 1)
  high = tf.bitwise.bitwise_and(high, _u32((1 << top_bits) - 1))
  return [tf.cast(high, tf.float64) - 2.0**(top_bits - 1), *(tf.cast(word, tf.float64) for word in rest)]


def reduce_words(words: Sequence[tf.Tensor], low: tf.Tensor, primes: Sequence[int]) -> tf.Tensor:
  """Returns the int32 residues of whole numbers: `low`, and before it `words` of 32 bits, the highest first.

  Args:
    words: Each [..., 1, degree] float64, of magnitude below 2**50: sums of words may exceed 32 bits.
    low: [..., primes, degree] float64, below 2**50.
  """
  first, *rest = *words, low
  found = reduce(first, primes)
  for word in rest:
    half = reduce(tf.cast(found, tf.float64) * 2.0**16, primes)
    found = reduce(tf.cast(half, tf.float64) * 2.0**16 + word, primes)
  return found


def scaled_fields(residues: tf.Tensor, primes: Sequence[int], field_bits: int, fields: int) -> tf.Tensor:
  """Returns the fields of round(x * t / q) modulo t = 2**(field_bits * fields), the lowest first; x by its residues.

  With y_j = (q / p_j)^-1 mod p_j, x / q is the sum of x_j * y_j / p_j up to an integer (the Chinese remainder
  theorem). The integer part of t * y_j / p_j is cut into fields; residues of 27 bits times fields of up to 32 add up in
  63 bits, and carries go up. The fraction is added up in real numbers, right within 2**-20: `parameters` keeps noise
  further than that from one half.

  Args:
    residues: [n, primes, degree] int32; eight primes at most.

  Returns:
    [n, fields, degree] int64.
  """
  modulus, plain_bits, mask = math.prod(primes), field_bits * fields, (1 << field_bits) - 1
  totals = [tf.zeros([], tf.int64)] * fields
  fraction = tf.zeros([], tf.float64)
  for j, prime in enumerate(primes):
    factor, rest = divmod(pow(modulus // prime, -1, prime) << plain_bits, prime)
    residue = tf.cast(residues[:, j], tf.int64)
    totals = [total + residue * (factor >> (field_bits * k) & mask) for k, total in enumerate(totals)]
    fraction += tf.cast(residues[:, j], tf.float64) * (rest / prime)
  carry, found = tf.cast(tf.round(fraction), tf.int64), []
  for total in totals:
    total += carry
    found.append(tf.bitwise.bitwise_and(total, tf.constant(mask, tf.int64)))
    carry = tf.bitwise.right_shift(total, tf.constant(field_bits, tf.int64))
  return tf.stack(found, axis=1)


def _binomial(word, ten_bits):
  heads = tf.raw_ops.PopulationCount(x=word) + tf.raw_ops.PopulationCount(x=ten_bits)
  return tf.cast(heads, tf.float64) - parameters.CBD_TOSSES


def _column(primes, dtype):
  return tf.constant(primes, dtype)[:, None]


def _u32(value):
  return tf.constant(value, tf.uint32)
