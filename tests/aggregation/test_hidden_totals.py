"""Sums of clients' whole numbers: the same, exactly, in every kind of sum."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs
from tff_vision.aggregation import hidden_totals
from tff_vision.secure import refusal

GROUPS = ((5, 2**20), (2, 2**43 - 1))


@pytest.fixture(name='counting', scope='module')
def _counting():
  @tff.tensorflow.computation(tff.TensorType(np.int64, [7]), tff.SequenceType(tff.TensorType(np.int64, [7])))
  def counting(weights, request):
    return weights + request.get_single_element()
  return counting


def sent(numbers):
  return [tf.data.Dataset.from_tensors(one) for one in numbers]


@pytest.mark.parametrize('kind', ['none', 'masks', 'he', 'he_keyholder'])
def test_sums_are_exact_however_they_are_hidden(kind, counting, tff_runtime, tmp_path):
  rng = np.random.default_rng(3)
  numbers = np.concatenate([rng.integers(0, 2**20, (3, 5)), rng.integers(0, 2**42, (3, 2))], axis=1).astype(np.int64)
  numbers[0] = [0, 1, 2**20 - 1, 2**15 - 1, 2**15, 2**43 - 2, 0]
  config = configs.SecureConfig(secure_sum=kind, key_holder_dir=str(tmp_path / 'k') if 'keyholder' in kind else None)
  total = hidden_totals.hidden(counting, GROUPS, config, place=tff_runtime, sums=10)
  one = np.ones([7], np.int64)
  for _ in range(2):  # A second sum has new keys and masks.
    np.testing.assert_array_equal(total(one, sent(numbers)), numbers.sum(axis=0) + 3)
  if kind != 'none':
    with pytest.raises(refusal.RefusedError, match='1 client'):
      total(one, sent(numbers[:1]))
  if kind == 'masks':
    with pytest.raises(Exception, match='secure sum: a client counts more than 1048576'):
      total(one, sent(np.array([[2**20, 0, 0, 0, 0, 0, 0]] * 2)))


def test_a_narrow_sum_takes_more_pieces():
  wide, narrow = (hidden_totals.Pieces(groups=GROUPS, value_bits=bits) for bits in (22, 4))
  assert wide.length == 5 + 2 * 3 and narrow.length == 5 * 7 + 2 * 15
  numbers = np.array([2**20, 0, 5, 6, 7, 2**43 - 1, 9])
  for pieces in (wide, narrow):
    found = pieces.encode(tf.constant(numbers, tf.int64)).numpy()
    assert found.max() < 2**(pieces.value_bits - 1)
    np.testing.assert_array_equal(pieces.decode(5 * found.astype(np.float64)), 5 * numbers)
