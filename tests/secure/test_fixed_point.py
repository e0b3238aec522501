import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision.secure import fixed_point

SEED = tf.constant([3, 4], tf.int32)


def _encoding(bits, value_range, norm_bound=None):
  return fixed_point.Encoding(value_bits=bits, value_range=value_range, norm_bound=norm_bound)


def test_rounding_is_unbiased_and_zero_and_bounds_are_exact():
  values = tf.constant(np.repeat(np.float32([-2, -0.3, 0, 0.0001, 1.1, 2]), 20000))
  rounded = _encoding(8, 2.0).encode(values, SEED).numpy().reshape(6, -1)
  assert set(rounded[0]) == {0.0} and set(rounded[2]) == {127.0} and set(rounded[5]) == {254.0}
  expected = 127 + 127 / 2 * np.array([-2, -0.3, 0, 0.0001, 1.1, 2])
  assert np.all(np.abs(rounded.mean(1) - expected) < 5 * 0.5 / np.sqrt(20000) + 1e-9)
  assert np.all(np.abs(rounded - expected[:, None]) < 1)


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=12), per=st.integers(1, 4),
       bits=st.integers(2, 14))
def test_packing_returns_what_was_packed(values, per, bits):
  encoding = _encoding(bits, 4.0)
  whole = encoding.encode(tf.constant(values, tf.float32), SEED)
  fields = fixed_point.to_fields(whole, per, polynomials=2, degree=8)
  assert fields.shape == (2, per, 8)
  # Three clients with the same update: coefficients add, fields do not touch.
  coefficients = sum(3 * tf.cast(fields[:, k], tf.int64) * 2**((bits + 2) * k) for k in range(per))
  if len(values) > 2 * per * 8:
    return
  total = fixed_point.from_coefficients(coefficients, bits + 2, per, len(values))
  np.testing.assert_array_equal(total, 3 * whole.numpy())
  real = encoding.decode(total, tf.constant(3))
  np.testing.assert_array_less(np.abs(real - 3 * np.float32(values)), 3 * encoding.step + 1e-5)


@pytest.mark.parametrize('bad, words', [([1.0, np.nan], 'NaN or infinity'), ([np.inf, 0.0], 'NaN or infinity'),
                                        ([0.0, -4.001], 'beyond 4')])
def test_bad_values_are_refused_before_encryption(bad, words):
  with pytest.raises(tf.errors.InvalidArgumentError, match=words) as refusal:
    _encoding(16, 4.0).encode(tf.constant(bad, tf.float32), SEED)
  assert '4.001' not in str(refusal.value)


def test_rounding_never_exceeds_the_norm_bound():
  """Values just above a whole number of steps, where rounding up costs most; many dithers."""
  encoding = _encoding(8, 1.0, norm_bound=1.0)
  for seed in range(20):
    values = np.random.default_rng(seed).normal(size=300)
    values = tf.constant(values / np.linalg.norm(values), tf.float32)
    rounded = (encoding.encode(values, tf.constant([seed, 0], tf.int32)) - encoding.offset) * encoding.step
    assert np.linalg.norm(rounded) <= 1.0
  small = tf.constant([0.3, 0.4], tf.float32)  # Norm 0.5: left alone.
  np.testing.assert_allclose((encoding.encode(small, SEED) - encoding.offset) * encoding.step, small,
                             atol=encoding.step)


def test_too_few_bits_for_a_norm_bound_are_refused():
  with pytest.raises(ValueError, match='secure_bits=8 is too coarse for 10000 parameters'):
    _encoding(8, 1.0, norm_bound=1.0).clip_norm(10_000)
