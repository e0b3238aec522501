"""Whole federated rounds in every mode, against the same rounds with updates added in the clear."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow_federated as tff
import tree

from tff_vision import configs, tasks
from tff_vision.aggregation import secured
from tff_vision.learning import process
from tff_vision.privacy import plan as plan_lib
from tff_vision.secure import mask_driver, mask_round

CONFIG = configs.ExperimentConfig(
    data=configs.DataConfig(dataset='digits', num_clients=4, partition='dirichlet'),
    client=configs.ClientConfig(batch_size=50), cohort=configs.CohortConfig(cohort_size=4))
ADAM = dataclasses.replace(CONFIG, server=configs.ServerConfig(server_optimizer='adam', server_learning_rate=0.01))
PRIVATE = dataclasses.replace(
    CONFIG, cohort=configs.CohortConfig(sampling='poisson', cohort_size=4), privacy=configs.PrivacyConfig(
        privacy='client_gaussian', clip_norm=0.5, noise_multiplier=0.0, delta=0.1))
BITS = 18
TAU = 1e-3  # Epsilon of the adaptive server optimizers.
STEP = 1 / (2**(BITS - 1) - 1)  # With secure_range 1.


@pytest.fixture(name='task', scope='module')
def _task():
  return tasks.build_task(CONFIG)


def _plan(config, task):
  return plan_lib.build_plan(config.privacy, config.cohort, population=len(task.images.train), rounds=1, seed=0)


def _build(config, task):
  return functools.partial(process.build_process, task, algorithm=config.algorithm, client=config.client,
                           server=config.server)


def _trained(config, task, mode, folder=None):
  """Returns how far one round moves the model, as one vector."""
  secure = configs.SecureConfig(secure_sum=mode, secure_clients_max=4, secure_bits=BITS, secure_range=1.0,
                                key_holder_dir=folder)
  return _moved(secured.build_process(secure, _plan(config, task), _build(config, task),
                                      largest_weight=task.largest_client), task, rounds=1)


def _moved(learning_process, task, *, rounds, clients=(0, 1, 2, 3)):
  state = learning_process.set_model_weights(learning_process.initialize(), task.initial_weights())
  for round_num in range(rounds):
    state = learning_process.next(state, [task.client_dataset(i, round_num) for i in clients]).state
  weights = learning_process.get_model_weights(state).trainable
  return np.concatenate([np.ravel(w - v) for w, v in zip(weights, task.initial_weights().trainable, strict=True)])


@pytest.fixture(name='plain', scope='module')
def _plain(tff_runtime, task):
  return _trained(CONFIG, task, 'none')


def _fedavg_bound(task):
  """Each client's weighted update is off by less than a step of the largest weight."""
  examples = [task.images.train.num_examples(i) for i in range(4)]
  return 4 * STEP * max(examples) / sum(examples) + 1e-6


@pytest.mark.parametrize('mode', ['he', 'he_keyholder', 'masks'])
def test_weighted_fedavg_equals_the_plain_one_within_the_rounding(plain, task, tmp_path, mode):
  moved = _trained(CONFIG, task, mode, str(tmp_path / 'keys') if mode == 'he_keyholder' else None)
  assert _fedavg_bound(task) < np.abs(plain).max() / 1000
  np.testing.assert_allclose(moved, plain, atol=_fedavg_bound(task))
  assert np.any(moved != plain)


def test_fedadam_takes_the_same_step(tff_runtime, task):
  """Adam's first step is x / (|x| + epsilon) times the learning rate: it stretches errors by up to their quotient."""
  plain, moved = (_trained(ADAM, task, mode) for mode in ('none', 'he'))
  np.testing.assert_allclose(moved, plain, atol=0.01 / TAU * _fedavg_bound(task))
  assert np.abs(plain).max() > 0.005


def test_differential_privacy_s_clipped_sum_is_the_plain_one(tff_runtime, task):
  """Noise off; unweighted, each update clipped to 0.5, over an expected cohort of 4."""
  plain, moved = (_trained(PRIVATE, task, mode) for mode in ('none', 'he'))
  step = 0.5 / (2**(BITS - 1) - 1)
  margin = step * np.sqrt(len(plain))  # The norm is clipped by this much more, so that rounding cannot exceed it.
  assert np.linalg.norm(plain) > 0.3
  np.testing.assert_allclose(moved, plain * (1 - margin / 0.5), atol=step + 1e-6)


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
  np.testing.assert_allclose(_moved(masked, task, rounds=2), _moved(plain, task, rounds=2, clients=(0, 1, 3)), atol=2e-3)


def test_state_and_metrics_look_like_a_plain_process_s(tff_runtime, task):
  secure = configs.SecureConfig(secure_sum='masks', secure_clients_max=4)
  masked = secured.build_process(secure, _plan(CONFIG, task), _build(CONFIG, task), largest_weight=task.largest_client)
  state = masked.initialize()
  output = masked.next(state, [task.client_dataset(i, 1) for i in range(4)])
  assert isinstance(output, tff.learning.templates.LearningProcessOutput)
  assert output.metrics['client_work']['train']['loss'] > 0
  assert 'hidden_sum' not in str(output.metrics)
  assert [np.shape(leaf) for leaf in tree.flatten(output.state)] == [np.shape(leaf) for leaf in tree.flatten(state)]


@pytest.mark.parametrize('clients, words', [(17, 'secure_clients_max=16, but round 1 has 17'), (1, 'one client')])
def test_cohorts_that_cannot_be_served_are_refused_before_the_run(clients, words):
  cohort = configs.CohortConfig(cohort_size=clients)
  plan = plan_lib.build_plan(configs.PrivacyConfig(), cohort, population=20, rounds=3, seed=0)
  with pytest.raises(ValueError, match=words):
    secured.check_cohorts(configs.SecureConfig(secure_sum='he'), plan, rounds=3)
  secured.check_cohorts(configs.SecureConfig(), plan, rounds=3)
