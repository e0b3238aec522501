import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision.secure import fixed_point

SEED = tf.constant([3, 4], tf.int32)


def test_rounding_is_unbiased_and_zero_and_bounds_are_exact():
  values = tf.constant(np.repeat(np.float32([-2, -0.3, 0, 0.0001, 1.1, 2]), 20000))
  rounded = fixed_point.quantize(values, 2.0, 127, SEED).numpy().reshape(6, -1)
  assert set(rounded[0]) == {0.0} and set(rounded[2]) == {127.0} and set(rounded[5]) == {254.0}
  expected = 127 + 127 / 2 * np.array([-2, -0.3, 0, 0.0001, 1.1, 2])
  assert np.all(np.abs(rounded.mean(1) - expected) < 5 * 0.5 / np.sqrt(20000) + 1e-9)
  assert np.all(np.abs(rounded - expected[:, None]) < 1)


@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=12), per=st.integers(1, 4),
       bits=st.integers(2, 14))
def test_packing_returns_what_was_packed(values, per, bits):
  offset = 2**(bits - 1) - 1
  whole = fixed_point.quantize(tf.constant(values, tf.float32), 4.0, offset, SEED)
  fields = fixed_point.to_fields(whole, per, polynomials=2, degree=8)
  assert fields.shape == (2, per, 8)
  # Three clients with the same update: coefficients add, fields do not touch.
  coefficients = sum(3 * tf.cast(fields[:, k], tf.int64) * 2**((bits + 2) * k) for k in range(per))
  if len(values) > 2 * per * 8:
    return
  total = fixed_point.from_coefficients(coefficients, bits + 2, per, len(values))
  np.testing.assert_array_equal(total, 3 * whole.numpy())
  real = fixed_point.dequantize(total, tf.constant(3), 4.0, offset)
  np.testing.assert_array_less(np.abs(real - 3 * np.float32(values)), 3 * 4.0 / offset + 1e-5)


@pytest.mark.parametrize('bad, words', [([1.0, np.nan], 'NaN or infinity'), ([np.inf, 0.0], 'NaN or infinity'),
                                        ([0.0, -4.001], 'beyond secure_range=4')])
def test_bad_values_are_refused_before_encryption(bad, words):
  with pytest.raises(tf.errors.InvalidArgumentError, match=words) as refusal:
    fixed_point.refuse_bad_values(tf.constant(bad, tf.float32), 4.0)
  assert '4.001' not in str(refusal.value)
