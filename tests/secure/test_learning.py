"""Whole federated rounds in every mode, against the same rounds with updates added in the clear."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_vision import configs, tasks
from tff_vision.aggregation import secured
from tff_vision.learning import process
from tff_vision.privacy import plan as plan_lib
from tff_vision.secure import mask_driver, mask_round

CONFIG = configs.ExperimentConfig(
    data=configs.DataConfig(dataset='digits', num_clients=4, partition='dirichlet'),
    client=configs.ClientConfig(batch_size=50), cohort=configs.CohortConfig(cohort_size=4))
ROUNDS = 2
VARIANTS = {
    'fedavg': {},
    'fedadam': {'server': configs.ServerConfig(server_optimizer='adam', server_learning_rate=0.01)},
    'dp': {'cohort': configs.CohortConfig(sampling='poisson', cohort_size=4), 'privacy': configs.PrivacyConfig(
        privacy='client_gaussian', clip_norm=0.5, noise_multiplier=0.0, delta=0.1)},
}


@pytest.fixture(name='task', scope='module')
def _task():
  return tasks.build_task(CONFIG)


def _plan(config, task):
  return plan_lib.build_plan(config.privacy, config.cohort, population=len(task.images.train), rounds=ROUNDS, seed=0)


def _build(config, task):
  return functools.partial(process.build_process, task, algorithm=config.algorithm, client=config.client,
                           server=config.server)


def _weights(learning_process, task, clients=(0, 1, 2, 3)):
  state = learning_process.set_model_weights(learning_process.initialize(), task.initial_weights())
  for round_num in range(ROUNDS):
    state = learning_process.next(state, [task.client_dataset(i, round_num) for i in clients]).state
  return np.concatenate([np.ravel(w) for w in learning_process.get_model_weights(state).trainable])


@pytest.mark.parametrize('variant', VARIANTS)
def test_every_mode_equals_the_plain_run(tff_runtime, task, tmp_path, variant):
  config = dataclasses.replace(CONFIG, **VARIANTS[variant])
  trained = {}
  for mode in configs.SECURE_SUMS:
    secure = configs.SecureConfig(secure_sum=mode, secure_clients_max=4, secure_bits=18, secure_range=1.0,
                                  key_holder_dir=str(tmp_path / 'keys') if mode == 'he_keyholder' else None)
    trained[mode] = _weights(secured.build_process(secure, _plan(config, task), _build(config, task),
                                                   largest_weight=task.largest_client), task)
  moved = np.abs(trained['none'] - np.concatenate([np.ravel(w) for w in task.initial_weights().trainable])).max()
  step = 1 / 2**17
  # An average of 4 rounded updates is off by a step at most (weights: by the share of the largest client); a second
  # round starts from there, and Adam divides small updates by small numbers.
  bound = {'fedavg': 8 * step, 'dp': 8 * step, 'fedadam': 4e-3}[variant]
  assert bound < moved / 4
  for mode in ('he', 'he_keyholder', 'masks'):
    np.testing.assert_allclose(trained[mode], trained['none'], atol=bound, err_msg=mode)
    assert np.any(trained[mode] != trained['none']), mode


def test_masked_process_goes_on_without_the_lost(tff_runtime, task):
  """One client is lost in each of the phases that survivors can repair; the sum is over those who uploaded."""
  secure = configs.SecureConfig(secure_sum='masks', secure_clients_max=4, secure_range=1.0)
  plan = _plan(CONFIG, task)
  encoding = secured.encoding_of(secure, plan)
  lost = {1: mask_round.Dropouts(upload=[2]), 2: mask_round.Dropouts(share=[2])}
  driver = mask_driver.MaskDriver(encoding, dropouts=lost.__getitem__)
  masked = secured.masked_process(driver, encoding, plan, _build(CONFIG, task), largest_weight=task.largest_client,
                                  clients_max=4)
  plain = secured.build_process(configs.SecureConfig(), plan, _build(CONFIG, task), largest_weight=task.largest_client)
  np.testing.assert_allclose(_weights(masked, task), _weights(plain, task, clients=(0, 1, 3)), atol=1e-3)


def test_state_and_metrics_look_like_the_plain_process_s(tff_runtime, task):
  secure = configs.SecureConfig(secure_sum='masks', secure_clients_max=4)
  masked = secured.build_process(secure, _plan(CONFIG, task), _build(CONFIG, task), largest_weight=task.largest_client)
  state = masked.initialize()
  output = masked.next(state, [task.client_dataset(i, 1) for i in range(4)])
  assert isinstance(output, tff.learning.templates.LearningProcessOutput)
  assert output.metrics['client_work']['train']['loss'] > 0
  assert 'hidden_sum' not in str(output.metrics)
  assert [np.shape(leaf) for leaf in _leaves(output.state)] == [np.shape(leaf) for leaf in _leaves(state)]


@pytest.mark.parametrize('clients, words', [(17, 'secure_clients_max=16, but round 1 has 17'), (1, 'one client')])
def test_cohorts_that_cannot_be_served_are_refused_before_the_run(clients, words):
  cohort = configs.CohortConfig(cohort_size=clients)
  plan = plan_lib.build_plan(configs.PrivacyConfig(), cohort, population=20, rounds=3, seed=0)
  with pytest.raises(ValueError, match=words):
    secured.check_cohorts(configs.SecureConfig(secure_sum='he'), plan, rounds=3)
  secured.check_cohorts(configs.SecureConfig(), plan, rounds=3)


def _leaves(state):
  import tree
  return tree.flatten(state)
