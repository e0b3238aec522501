"""Every algorithm, mechanism, secure sum, compression and aggregation trains the same model in this process as on TFF's
executor."""

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.golden import cases, record
from tff_vision import catalogue, experiment
from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import device

_NOISED = {'clip_norm': 0.5, 'noise_multiplier': 1e-3, 'delta': 5e-4}
# The server's noise is a function of the sum that it covers, so it is another one where a sum differs by rounding.
_OF_SERVER = ('client_gaussian', 'client_adaptive', 'dp_ftrl', 'dp_mf')
_BOUND, _TOLERANT = {'update_norm_bound': 0.05}, {'tolerated_fraction': 0.2, 'cohort_size': 5}
_ONCE = ('fedprox', 'fedsgd', 'scaffold', 'fednova', 'feddyn', 'mime_lite', 'fedbuff', 'fedper', 'fedrep', 'ditto',
         'apfl', 'ifca', 'median', 'top_k', 'he', 'masks', 'client_gaussian', 'client_adaptive',
         'dp_ftrl', 'dp_mf_blt', 'distributed_gaussian', 'example_dp_sgd', 'local_dp')
CASES = {
    **{name: cases.CASES[name] for name in _ONCE},
    # At larger rates BatchNorm magnifies a step of float32, by which the executors differ.
    'fedbn': {'algorithm': 'fedbn', 'model': 'cnn_bn', 'client_learning_rate': 1e-3},
    'afl': {'algorithm': 'afl'}, 'qfedavg': {'algorithm': 'qfedavg'},
    'uniform': {'compression': 'uniform', 'compression_bits': 8},
    'stochastic': {'compression': 'stochastic', 'compression_bits': 12},
    'hadamard': {'compression': 'hadamard', 'compression_bits': 12},
    'dft': {'compression': 'dft', 'compression_bits': 12},
    'norm_clipping': {'aggregator': 'norm_clipping', **_BOUND},
    'zeroing': {'aggregator': 'zeroing', 'update_norm_bound': 5.0},
    'trimmed_mean': {'aggregator': 'trimmed_mean', **_TOLERANT}, 'krum': {'aggregator': 'krum', **_TOLERANT},
    'multi_krum': {'aggregator': 'multi_krum', **_TOLERANT}, 'geometric_median': {'aggregator': 'geometric_median'},
    'he_keyholder': {'secure_sum': 'he_keyholder'},
    'distributed_skellam': {'privacy': 'distributed_skellam', 'secure_sum': 'masks'},
    'example_distributed': {'privacy': 'example_distributed', 'secure_sum': 'masks', 'secure_bits': 20,
                            'client_epochs': 3},
}
# Hidden and coded updates are rounded at random.
_AT_RANDOM = ('stochastic', 'hadamard', 'dft')
QUICK = ('scaffold',)


@pytest.mark.parametrize('kind', ['algorithm', 'privacy', 'secure_sum', 'compression', 'aggregator'])
def test_every_row_of_the_catalogue_is_in_a_case(kind):
  plain = {'fedavg', 'none', 'mean'}
  assert {fields.get(kind) for fields in CASES.values()} - {None} == set(catalogue.names(kind)) - plain


def config_of(fields, folder):
  fields = dict(fields)
  if fields.get('privacy', 'none') != 'none':
    fields.pop('target_epsilon', None)
    fields |= _NOISED
  if fields.get('privacy') == 'client_adaptive':
    fields['count_stddev'] = 1e-3
  if fields.get('secure_sum') == 'he_keyholder':
    fields['key_holder_dir'] = str(folder / 'keys')
  return record.config_of(fields)


def allowed(config):
  """Returns by how much a weight may differ between two builds of TensorFlow."""
  rounded = config.secure.secure_sum != 'none' or config.aggregation.compression in _AT_RANDOM
  return 3e-3 if config.privacy.privacy in _OF_SERVER else 5e-4 if rounded else 1e-6


def trained(trainer, algorithm):
  """Returns the weights before and after some rounds."""
  state = trainer.begin()
  before = _flat(trainer, state)
  cohorts = [[0, 2, 3, 4, 5], [1, 3, 5, 0, 2]]
  if algorithm == 'fedbuff':  # It knows when the clients of its own cohorts answer.
    cohorts = [None] * 3
  for round_num, cohort in enumerate(cohorts, start=1):
    state = trainer.next(state, round_num, cohort).state
  return before, _flat(trainer, state)


def _flat(trainer, state):
  return np.concatenate([np.ravel(weight) for weight in trainer.weights(state).trainable])


@pytest.mark.parametrize('name', [pytest.param(name, marks=() if name in QUICK else pytest.mark.ci)
                                  for name in sorted(CASES)])
def test_the_model_is_the_same(name, tff_runtime, tmp_path, known_keys):
  config = config_of(CASES[name], tmp_path)
  made = experiment.from_config(config)
  before, expected = trained(made.prepare(tff_runtime), config.algorithm.algorithm)
  with device.device_place(runtime_config.RuntimeConfig(runtime='device', devices=('CPU',), clients_per_device=2)
                           ) as place:
    _, found = trained(made.prepare(place), config.algorithm.algorithm)
  assert tff.framework.get_context_stack().current is tff_runtime
  assert np.abs(expected - before).max() > 2 * allowed(config)
  np.testing.assert_allclose(found, expected, rtol=0, atol=allowed(config))
