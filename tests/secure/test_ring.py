import math

import numpy as np
import pytest
import tensorflow as tf

from tff_vision.secure.encryption import parameters, ring

PARAMS = parameters.threshold_parameters(clients_max=3, value_bits=16, length=1_200_000, rounds=100)
N, PRIMES = PARAMS.degree, PARAMS.primes


@pytest.fixture(name='rng')
def _rng():
  return np.random.default_rng(1)


def _words(rng, count):
  return tf.constant(rng.integers(0, 2**32, count, dtype=np.uint32))


def test_product_is_negacyclic_and_exact(rng):
  """Against whole-number arithmetic: x^n = -1, on residues of full size."""
  dense = rng.integers(-2**26, 2**26, N)
  small = rng.integers(-1, 2, N)
  expected = np.zeros(N, np.int64)
  for k in np.flatnonzero(small):
    expected += small[k] * np.concatenate([-dense[N - k:], dense[:N - k]])  # x^k * dense
  spectra = [ring.transform(tf.constant(v, tf.float64)) for v in (dense, small)]
  np.testing.assert_array_equal(ring.product(*spectra), expected)


def test_rounding_error_is_far_from_one_half(rng):
  dense = tf.constant(rng.choice([-2.0**26, 2.0**26], [64, N]))
  small = tf.constant(rng.choice([-1.0, 1.0], [64, N]))
  # The secrets of the largest cohort, added up, and a ciphertext that is not centred.
  residues = tf.constant(rng.integers(0, 2**27, [64, N]).astype(float))
  together = tf.constant(rng.integers(-1, 2, [500, N]).sum(0).astype(float))
  for factors in ((dense, small), (residues, together)):
    folded = tf.signal.ifft(ring.transform(factors[0]) * ring.transform(factors[1])) * np.conj(ring.twist(N))
    error = np.abs(folded.numpy().view(np.float64) - np.round(folded.numpy().view(np.float64)))
    assert error.max() < 0.1


def test_reduce_centre_and_add(rng):
  count = len(PRIMES)
  whole = rng.integers(-2**51, 2**51, [count, N])
  whole[:, :6] = [[k * p + d for k in (-3, 2**23) for d in (-1, 0, 1)] for p in PRIMES]
  p = np.array(PRIMES)[:, None]
  residues = ring.reduce(tf.constant(whole, tf.float64), PRIMES)
  np.testing.assert_array_equal(residues, whole % p)
  centred = ring.centre(residues, PRIMES).numpy()
  assert np.all(np.abs(centred) <= p // 2)
  np.testing.assert_array_equal(centred % p, whole % p)
  low = rng.integers(-2**50, 2**50, [count, N])
  for words in (0, 1, 2):  # Sums of the words of a thousand clients.
    high = rng.integers(-2**42, 2**42, [words, N])
    wide = ring.reduce_words([tf.constant(word, tf.float64)[None] for word in high], tf.constant(low, tf.float64),
                             PRIMES)
    expected = sum((word.astype(object) << 32 * (words - i) for i, word in enumerate(high)), start=low.astype(object))
    np.testing.assert_array_equal(wide, expected % p)
  other = rng.integers(0, p, [count, N])
  np.testing.assert_array_equal(ring.add(residues, tf.constant(other, tf.int32), PRIMES), (whole + other) % p)


def test_scaled_rounding_against_big_integers(rng):
  modulus = math.prod(PRIMES)
  xs = [int.from_bytes(rng.bytes(30), 'little') % modulus for _ in range(N - 2)] + [0, modulus - 1]
  residues = np.array([[x % p for x in xs] for p in PRIMES], np.int32)[None]
  for field_bits, fields in ((17, 1), (20, 3), (18, 7), (32, 5)):
    bits = field_bits * fields
    expected = [(2 * x * 2**bits + modulus) // (2 * modulus) % 2**bits for x in xs]
    found = ring.scaled_fields(tf.constant(residues), PRIMES, field_bits, fields)[0].numpy()
    assert found.min() >= 0 and found.max() < 2**field_bits
    whole = sum(field.astype(object) << field_bits * k for k, field in enumerate(found))
    np.testing.assert_array_equal(whole, expected)


def test_encryption_randomness_has_the_right_distributions(rng):
  u, errors = ring.encryption_randomness(_words(rng, 3 * 60 * N), N)
  assert u.shape == (60, N) and errors.shape == (2, 60, N)
  counts = np.array([(u.numpy() == v).sum() for v in (-1, 0, 1)])
  assert counts.sum() == 60 * N
  _assert_chi_square(counts, 60 * N / 3)
  ninths = np.bincount((3 * (u[:, :N // 2] + 1) + u[:, N // 2:] + 1).numpy().astype(int).ravel())
  _assert_chi_square(ninths, 30 * N / 9)  # Both trits of one pair are independent.
  expected = [math.comb(42, k) / 2**42 for k in range(43)]
  for e in errors.numpy():
    seen = np.bincount((e + 21).astype(int).ravel(), minlength=43)
    keep = np.array(expected) * e.size > 20
    _assert_chi_square(seen[keep], np.array(expected)[keep] * e.size)
  assert abs(np.corrcoef(errors[0].numpy().ravel(), errors[1].numpy().ravel())[0, 1]) < 5 / math.sqrt(60 * N)


def test_uniform_smudging_and_secrets(rng):
  residues = ring.uniform(_words(rng, 2 * len(PRIMES) * N), PRIMES, N).numpy()
  assert residues.min() >= 0 and np.all(residues < np.array(PRIMES)[:, None])
  _assert_chi_square(np.histogram(residues / np.array(PRIMES)[:, None], 64, (0, 1))[0], len(PRIMES) * N / 64)
  for bits, count in ((31, 1), (45, 2), (63, 2), (80, 3)):
    words = [word.numpy().astype(np.int64).astype(object)
             for word in ring.smudging(_words(rng, count * 4 * N), bits, N)]
    noise = sum(word << 32 * (count - 1 - i) for i, word in enumerate(words))
    assert noise.min() >= -2**bits and noise.max() < 2**bits
    _assert_chi_square(np.histogram(noise.astype(float), 64, (-2.0**bits, 2.0**bits))[0], 4 * N / 64)
    _assert_chi_square(np.bincount((noise.ravel() & 63).astype(int), minlength=64), 4 * N / 64)  # The last bits too.
  trits = ring.ternary(_words(rng, 4 * N), N).numpy()
  _assert_chi_square(np.array([(trits == v).sum() for v in (-1, 0, 1)]), 4 * N / 3)
  assert abs(ring.error(_words(rng, 2 * N), N).numpy().var() - 10.5) < 1.5


def _assert_chi_square(counts, expected):
  """Within five standard deviations of a chi-square variable's mean."""
  statistic = np.sum((counts - expected)**2 / expected)
  freedom = len(counts) - 1
  assert statistic < freedom + 5 * math.sqrt(2 * freedom) + 5
