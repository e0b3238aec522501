"""Counts and metrics as integers beside an update, against plain arithmetic."""

import fractions

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tff_vision import told
from tff_vision.secure import fixed_point, whole_numbers


@given(bits=st.integers(2, 22), clients=st.integers(0, 5), exponent=st.integers(-20, 3), data=st.data())
def test_sums_are_exact_whatever_the_bits(bits, clients, exponent, data):
  step = 2.0**exponent
  low, count = data.draw(st.integers(-2**20, 2**20)), data.draw(st.integers(1, 2**47))
  quantities = {'first': told.whole(7), 'second': told.Quantity(low=low * step, high=(low + count) * step, step=step),
                'third': told.whole(count)}
  numbers = whole_numbers.WholeNumbers(quantities=quantities, value_bits=bits)
  drawn = [(data.draw(st.integers(0, 7)), data.draw(st.integers(0, count)), data.draw(st.integers(0, count)))
           for _ in range(clients)]
  encoded = [numbers.encode({'first': a, 'second': np.float64((low + b) * step), 'third': np.float64(c)}).numpy()
             for a, b, c in drawn]
  for one in encoded:
    assert one.shape == (numbers.length,) and one.min() >= 0 and one.max() <= 2**(bits - 1) - 1
  found = numbers.decode(np.sum(encoded, axis=0, dtype=np.float64) if clients else np.zeros(numbers.length), clients)
  exact = fractions.Fraction(step) * sum(low + b for _, b, _ in drawn)
  assert found['first'] == sum(a for a, _, _ in drawn) and found['third'] == sum(c for _, _, c in drawn)
  assert found['second'] == pytest.approx(float(exact), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 2.8, -2.8])
def test_what_leaves_an_open_range_makes_the_sum_no_number_and_no_other(value):
  quantities = {'loss': told.Quantity(low=-2.5, high=2.5, step=0.5, open_ended=True), 'count': told.whole(9)}
  numbers = whole_numbers.WholeNumbers(quantities=quantities, value_bits=4)
  fine = numbers.encode({'loss': 1.0, 'count': 3.0}).numpy()
  found = numbers.decode(fine + fine, 2)
  assert found == {'loss': 2.0, 'count': 6}
  found = numbers.decode(fine + numbers.encode({'loss': value, 'count': 9.0}).numpy(), 2)
  assert np.isnan(found['loss']) and found['count'] == 12


@pytest.mark.parametrize('value', [-1.0, 10.0, np.nan])
def test_what_leaves_a_closed_range_fails_with_one_sentence(value):
  numbers = whole_numbers.WholeNumbers(quantities={'weight': told.whole(9)}, value_bits=4)
  sentence = (r"secure sum: a client's weight lies outside 0..9, its public range; nothing was encrypted and the round "
              r'fails\.')
  with pytest.raises(tf.errors.InvalidArgumentError, match=sentence):
    numbers.encode({'weight': value})


def test_ranges_that_take_too_many_bits_get_a_coarser_step():
  found = told.fixed_point(0, 2.0**40, 2.0**-16)
  assert found.largest == 2**47 and found.step == 2.0**-7
  assert told.fixed_point(0, 12, 2.0**-16).largest == 12 * 2**16


@given(st.integers(0, 9), st.integers(1, 30), st.integers(1, 7), st.integers(0, 10**6))
def test_integers_before_an_update_stay_and_the_update_is_as_without_them(count, length, part, seed):
  rng = np.random.default_rng(seed)
  plain = fixed_point.Encoding(value_bits=22, value_range=2.0, norm_bound=1.0)
  both = whole_numbers.BesideUpdate(encoding=plain, count=count)
  whole = rng.integers(0, 2**21, count).astype(np.float32)
  update = rng.uniform(-2, 2, length).astype(np.float32)
  prepared = both.prepared(tf.constant(np.append(whole, update)))
  np.testing.assert_array_equal(prepared[count:], plain.prepared(tf.constant(update)))
  # In parts, as ciphertexts are made: each integer is a step's neighbour, and a count is itself wherever parts end.
  found = np.concatenate([both.integers(prepared[first:first + part], tf.constant([seed, first]), first)
                          for first in range(0, count + length, part)])
  np.testing.assert_array_equal(found[:count], whole)
  np.testing.assert_allclose(found[count:], prepared[count:].numpy().astype(np.float64) / plain.step + plain.offset,
                             atol=1)
  decoded = both.decode(tf.constant(found.astype(np.int64)), tf.constant(1))
  np.testing.assert_array_equal(decoded[:count], whole)
  np.testing.assert_allclose(decoded[count:], prepared[count:], atol=1.01 * plain.step)
