"""Arithmetic in Z_q[x] / (x^4096 + 1) in TensorFlow ops, with q a product of 27-bit primes.

Products have one small operand (ternary), so a complex128 FFT of half the length is exact: the sum of 4096
products below 2**26 has 38 bits, and the rounding error stays below 0.001 (0.5 would be wrong). Polynomials are
coefficient vectors, [..., primes, degree], kept as whole numbers in float64 while being worked on and as int32
residues in [0, p) where they are stored or sent. Nothing here runs in constant time.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tff_vision.secure import parameters

_HALF = parameters.DEGREE // 2
# With this twist, a cyclic convolution of length n / 2 of complex numbers is a negacyclic one of length n.
_TWIST = np.exp(1j * np.pi * np.arange(_HALF) / parameters.DEGREE)


def transform(polynomial: tf.Tensor) -> tf.Tensor:
  """Returns the spectrum, [..., degree / 2] complex128, of [..., degree] float64 coefficients."""
  return tf.signal.fft(tf.complex(polynomial[..., :_HALF], polynomial[..., _HALF:]) * tf.constant(_TWIST))


def product(spectrum: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
  """Returns the product over the integers, [..., degree] float64, of two polynomials given by spectra."""
  folded = tf.signal.ifft(spectrum * other) * tf.constant(np.conj(_TWIST))
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


def uniform(words: tf.Tensor, primes: Sequence[int]) -> tf.Tensor:
  """Returns uniform residues, [primes, degree] int32, from 2 * primes * degree random words.

  61 bits reduced modulo a 27-bit prime: no residue is likelier than another by more than 2**-34 of itself.
  """
  high, low = tf.unstack(tf.reshape(tf.cast(words, tf.int64), [2, len(primes), parameters.DEGREE]))
  wide = tf.bitwise.left_shift(tf.bitwise.right_shift(high, tf.constant(3, tf.int64)), tf.constant(32, tf.int64)) + low
  return tf.cast(tf.math.floormod(wide, _column(primes, tf.int64)), tf.int32)


def ternary(words: tf.Tensor) -> tf.Tensor:
  """Returns uniform polynomials of -1, 0 and 1, [n, degree] float64, from [n * degree] random words."""
  trits = tf.bitwise.right_shift(tf.cast(words, tf.int64) * 3, tf.constant(32, tf.int64)) - 1
  return tf.cast(tf.reshape(trits, [-1, parameters.DEGREE]), tf.float64)


def encryption_randomness(words: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns what one encryption draws, from three random words a coefficient.

  Each of the two errors takes a whole word and ten bits of the third: a centred binomial sample of 42 coin
  tosses. Twelve bits are left; those of two coefficients together give two trits (uniform within 2**-20).

  Args:
    words: [3 * n * degree] uint32.

  Returns:
    u, [n, degree] float64 ternary, and errors, [2, n, degree] float64.
  """
  first, second, third = tf.unstack(tf.reshape(words, [3, -1, parameters.DEGREE]))
  errors = tf.stack([_binomial(first, tf.bitwise.bitwise_and(third, _u32(0x3FF))),
                     _binomial(second, tf.bitwise.bitwise_and(third, _u32(0x3FF << 10)))])
  left, right = tf.split(tf.cast(tf.bitwise.right_shift(third, _u32(20)), tf.float64), 2, axis=-1)
  ninth = tf.floor((left * 4096 + right) * (9 / 2**24))  # Uniform in 0..8.
  tens = tf.floor(ninth * (1 / 3) + 0.1)
  return tf.concat([tens, ninth - 3 * tens], axis=-1) - 1, errors


def error(words: tf.Tensor) -> tf.Tensor:
  """Returns one error polynomial, [degree] float64, from 2 * degree random words."""
  first, second = tf.unstack(tf.reshape(words, [2, parameters.DEGREE]))
  return _binomial(first, tf.bitwise.bitwise_and(second, _u32(0x3FF)))


def smudging(words: tf.Tensor, bits: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns uniform whole numbers in [-2**bits, 2**bits) as (high, low), high * 2**32 + low, from 2 * n * degree words.

  Both are [n, degree] float64, so that sums of them stay exact; see `reduce_words`.
  """
  high, low = tf.unstack(tf.reshape(words, [2, -1, parameters.DEGREE]))
  high = tf.bitwise.bitwise_and(high, _u32((1 << (bits + 1 - 32)) - 1))
  return tf.cast(high, tf.float64) - 2.0**(bits - 32), tf.cast(low, tf.float64)


def reduce_words(high: tf.Tensor, low: tf.Tensor, primes: Sequence[int]) -> tf.Tensor:
  """Returns the int32 residues of high * 2**32 + low, of whole numbers, `high` below 2**35 and `low` below 2**50.

  Args:
    high: [..., 1, degree] float64.
    low: [..., primes, degree] float64.
  """
  half = reduce(high * 2.0**16, primes)
  return reduce(tf.cast(half, tf.float64) * 2.0**16 + low, primes)


def scaled_rounded(residues: tf.Tensor, primes: Sequence[int], plain_bits: int) -> tf.Tensor:
  """Returns round(x * 2**plain_bits / q) modulo 2**plain_bits, [n, degree] int64, of x given by residues.

  With y_j = (q / p_j)^-1 mod p_j, x / q is the sum of x_j * y_j / p_j up to an integer (the Chinese remainder
  theorem). The integer part of 2**plain_bits * y_j / p_j is multiplied modulo 2**64, which 2**plain_bits divides;
  the fraction in real numbers, right within 2**-23: `parameters` keeps noise further than that from one half.

  Args:
    residues: [n, primes, degree] int32.
  """
  modulus = math.prod(primes)
  whole = tf.zeros([], tf.int64)
  fraction = tf.zeros([], tf.float64)
  for j, prime in enumerate(primes):
    factor, rest = divmod(pow(modulus // prime, -1, prime) << plain_bits, prime)
    whole += tf.cast(residues[:, j], tf.int64) * factor
    fraction += tf.cast(residues[:, j], tf.float64) * (rest / prime)
  return tf.bitwise.bitwise_and(whole + tf.cast(tf.round(fraction), tf.int64), tf.constant(2**plain_bits - 1, tf.int64))


def _binomial(word, ten_bits):
  heads = tf.raw_ops.PopulationCount(x=word) + tf.raw_ops.PopulationCount(x=ten_bits)
  return tf.cast(heads, tf.float64) - parameters.CBD_TOSSES


def _column(primes, dtype):
  return tf.constant(primes, dtype)[:, None]


def _u32(value):
  return tf.constant(value, tf.uint32)
