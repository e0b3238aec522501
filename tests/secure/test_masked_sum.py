"""Masks in TFF: the aggregation stack alone, weighted and not."""

import collections

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_vision.secure import fixed_point, hidden_vector
from tff_vision.secure.masking import mask_round, masked_sum

ENCODING = fixed_point.Encoding(value_bits=16, value_range=2.0)
VALUE_TYPE = tff.types.to_type(collections.OrderedDict(a=tff.TensorType(np.float32, [2]), b=np.float32))
WEIGHT_TYPE = tff.types.to_type(collections.OrderedDict(told=np.float32, mask_rows=masked_sum.ROWS_TYPE))


def _hide(encoding, largest_weight, updates, weights, dropouts):
  """Returns the opened sum over clients, some of which are lost, and who uploaded."""
  vector = hidden_vector.HiddenVector(encoding=encoding, value_bits=encoding.value_bits, largest_weight=largest_weight)
  driver = mask_round.MaskDriver(vector.vector_encoding, dropouts=lambda round_num: dropouts)
  process = hidden_vector.HidingFactory(
      masked_sum.MaskedUploadFactory(vector.vector_encoding, clients_max=6), vector).create(VALUE_TYPE, WEIGHT_TYPE)
  data = driver.client_data(list(range(len(updates))))
  rows = [np.stack(list(rows.as_numpy_iterator())) for _, rows in data]
  output = process.next(process.initialize(), [updates[i] for i, _ in data], [
      collections.OrderedDict(told=weights[i], mask_rows=r) for (i, _), r in zip(data, rows, strict=True)])
  found = output.measurements
  assert found.clients == len(data) and np.all(output.result['a'] == 0)
  return driver.open_sum(found.total, int(found.clients)), [i for i, _ in data]


def _updates(count):
  rng = np.random.default_rng(count)
  return [collections.OrderedDict(a=rng.uniform(-1, 1, 2).astype(np.float32), b=np.float32(rng.uniform(-1, 1)))
          for _ in range(count)]


def _vector(update):
  return np.append(update['a'], update['b'])


def test_weighted_sum_with_its_weights(tff_runtime):
  updates, weights = _updates(6), np.float32([10, 20, 30, 40, 50, 25])
  opened, uploaders = _hide(ENCODING, 50.0, updates, weights, mask_round.Dropouts(share=[1], upload=[4]))
  assert uploaders == [0, 2, 3, 5]
  expected = sum(_vector(updates[i]) * weights[i] / 50 for i in uploaders)
  assert opened[0] == weights[uploaders].sum()
  np.testing.assert_allclose(opened[1:], expected, atol=4 * ENCODING.step)


def test_unweighted_sum_is_clipped_for_differential_privacy(tff_runtime):
  encoding = fixed_point.Encoding(value_bits=16, value_range=0.5, norm_bound=0.5)
  updates = _updates(3)
  opened, _ = _hide(encoding, None, updates, [1.0] * 3, mask_round.Dropouts())
  norms = [np.linalg.norm(_vector(u)) for u in updates]
  expected = sum(_vector(u) * min(1, encoding.clip_norm(3) / n) for u, n in zip(updates, norms, strict=True))
  assert max(norms) > 0.5
  np.testing.assert_allclose(opened, expected, atol=3 * encoding.step + 1e-6)


def test_bad_updates_and_sizes_fail(tff_runtime):
  updates = _updates(3)
  updates[1]['a'][0] = np.inf
  with pytest.raises(Exception, match='NaN or infinity'):
    _hide(ENCODING, None, updates, [1.0] * 3, mask_round.Dropouts())
  with pytest.raises(ValueError, match='does not fit into 32 bits'):
    masked_sum.MaskedUploadFactory(ENCODING, clients_max=70_000)
