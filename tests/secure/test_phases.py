"""The threshold sum over two worker processes, driven through handles."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.secure import silos
from tff_vision.secure import fixed_point, parameters, phases, threshold_sum

LENGTH = 20
ENCODING = fixed_point.Encoding(value_bits=16, value_range=4.0)
STEPS = threshold_sum.ThresholdSteps(parameters.threshold_parameters(clients_max=3, value_bits=16), ENCODING,
                                     length=LENGTH)


@tff.tensorflow.computation(np.int32)
def train(seed):
  """Stands for local training: the update is made on the worker."""
  return tf.random.stateless_uniform([LENGTH], tf.stack([seed, 0]), -4.0, 4.0)


def test_sum_over_workers_and_what_left_them():
  with silos.running(2) as (one, two):
    parties = [phases.Party(silo, silo.call(train, np.int32(i))) for i, silo in enumerate([one, two, one])]
    phased = phases.PhasedThresholdSum(STEPS)
    expected = np.sum(
        [tf.random.stateless_uniform([LENGTH], [i, 0], -4.0, 4.0) for i in range(3)], axis=0)
    for round_num in (1, 2):
      np.testing.assert_allclose(phased.sum(parties, round_num), expected, atol=3 * ENCODING.step + 1e-5)
    # Of secrets (one polynomial of trits) and updates (floats) nothing was fetched: only public shares, ciphertexts
    # and decryption shares.
    public = {STEPS.polynomial_type, STEPS.ciphertext_type, STEPS.share_type}
    assert set(one.fetched) | set(two.fetched) == public
    assert len(one.fetched) == 2 * 2 * 3 and len(two.fetched) == 2 * 3
    assert STEPS.secret_type not in public and STEPS.value_type not in public


@pytest.mark.parametrize('count', [0, 1, 4])
def test_cohorts_out_of_bounds_are_refused(count):
  with pytest.raises(ValueError, match='secure_clients_max=3, and at least 2'):
    phases.PhasedThresholdSum(STEPS).sum([phases.Party(None, None)] * count, 1)
