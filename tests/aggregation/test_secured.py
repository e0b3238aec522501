"""Whole federated rounds in every mode, against the same rounds with updates added in the clear."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tree

from tests import tiny
from tff_vision import configs, protocols
from tff_vision.aggregation import secured
from tff_vision.learning import learning_process as learning_process_lib
from tff_vision.privacy import plan as plan_lib
from tff_vision.secure.masking import mask_round

CONFIG = configs.ExperimentConfig(client=configs.ClientConfig(batch_size=4, client_learning_rate=0.5),
                                  cohort=configs.CohortConfig(cohort_size=4))
ADAM = dataclasses.replace(CONFIG, server=configs.ServerConfig(server_optimizer='adam', server_learning_rate=0.01))
PRIVATE = dataclasses.replace(
    CONFIG, cohort=configs.CohortConfig(sampling='poisson', cohort_size=4), privacy=configs.PrivacyConfig(
        privacy='client_gaussian', clip_norm=0.1, noise_multiplier=0.0, delta=0.1))
BITS = 18
TAU = 1e-3  # Epsilon of the adaptive server optimizers.
STEP = 1 / (2**(BITS - 1) - 1)  # With secure_range 1.


@pytest.fixture(name='task', scope='module')
def _task():
  return tiny.task(client_epochs=1)


def _plan(config, task):
  return plan_lib.build_plan(config.privacy, config.cohort, population=len(task.images.train), rounds=1, seed=0)


def _build(config, task):
  return functools.partial(learning_process_lib.build_process, task, algorithm=config.algorithm, client=config.client,
                           server=config.server)


def _trained(place, config, task, mode, folder=None):
  """Returns how far one round moves the model, as one vector."""
  secure = configs.SecureConfig(secure_sum=mode, secure_clients_max=4, secure_bits=BITS, secure_range=1.0,
                                key_holder_dir=folder)
  return _moved(secured.build_process(secure, _plan(config, task), _build(config, task),
                                      tells=learning_process_lib.tells(task, config.algorithm), place=place), task,
                rounds=1,
                exact=config.privacy.privacy == 'none')


def _moved(learning_process, task, *, rounds, clients=(0, 1, 2, 3), exact=True):
  state = learning_process.set_model_weights(learning_process.initialize(), task.initial_weights())
  for round_num in range(rounds):
    output = learning_process.next(state, [task.client_dataset(i, round_num) for i in clients])
    _check_output(state, output, exact)
    state = output.state
  weights = learning_process.get_model_weights(state).trainable
  return np.concatenate([np.ravel(w - v) for w, v in zip(weights, task.initial_weights().trainable, strict=True)])


@pytest.fixture(name='plain', scope='module')
def _plain(tff_runtime, task):
  return _trained(tff_runtime, CONFIG, task, 'none')


@pytest.fixture(name='private', scope='module')
def _private(tff_runtime, task):
  return _trained(tff_runtime, PRIVATE, task, 'none')


def _fedavg_bound(task):
  """Each client's weighted update is off by less than a step of the largest weight."""
  examples = [task.images.train.num_examples(i) for i in range(4)]
  return 4 * STEP * max(examples) / sum(examples) + 1e-6


@pytest.mark.parametrize('mode', ['he', 'he_keyholder', 'masks'])
def test_weighted_fedavg_equals_the_plain_one_within_the_rounding(tff_runtime, plain, task, tmp_path, mode):
  moved = _trained(tff_runtime, CONFIG, task, mode, str(tmp_path / 'keys') if mode == 'he_keyholder' else None)
  assert _fedavg_bound(task) < np.abs(plain).max() / 1000
  np.testing.assert_allclose(moved, plain, atol=_fedavg_bound(task))
  assert np.any(moved != plain)


def test_fedadam_takes_the_same_step(tff_runtime, plain, task):
  """By hand: with beta 0.9 and 0.99, Adam's first step is rate * x / (|x| + 10 * epsilon)."""
  moved = _trained(tff_runtime, ADAM, task, 'he')
  expected = 0.01 * plain / (np.abs(plain) + 10 * TAU)
  np.testing.assert_allclose(moved, expected, atol=0.01 / (10 * TAU) * _fedavg_bound(task))
  assert np.abs(expected).max() > 0.005


@pytest.mark.parametrize('mode', ['he', 'he_keyholder', 'masks'])
def test_differential_privacy_s_clipped_sum_is_the_plain_one(tff_runtime, private, task, tmp_path, mode):
  """Noise off; unweighted, each update clipped to 0.1, over an expected cohort of 4."""
  plain = private
  moved = _trained(tff_runtime, PRIVATE, task, mode, str(tmp_path / 'keys') if mode == 'he_keyholder' else None)
  step = 0.1 / (2**(BITS - 1) - 1)
  margin = step * np.sqrt(len(plain))  # The norm is clipped by this much more, so that rounding cannot exceed it.
  assert np.linalg.norm(plain) > 0.03
  np.testing.assert_allclose(moved, plain * (1 - margin / 0.1), atol=step + 1e-6)


def test_masked_process_goes_on_without_the_lost(tff_runtime, task):
  """One client is lost in each of the phases that survivors can repair; the sum is over those who uploaded."""
  secure = configs.SecureConfig(secure_sum='masks', secure_clients_max=4, secure_range=1.0)
  plan = _plan(CONFIG, task)
  lost = {1: mask_round.Dropouts(upload=[2]), 2: mask_round.Dropouts(share=[2])}
  tells = learning_process_lib.tells(task, CONFIG.algorithm)
  masked = secured.masked_process(secure, plan, _build(CONFIG, task), tells, dropouts=lost.__getitem__)
  plain = secured.build_process(configs.SecureConfig(), plan, _build(CONFIG, task), tells=tells)
  np.testing.assert_allclose(_moved(masked, task, rounds=2), _moved(plain, task, rounds=2, clients=(0, 1, 3)),
                             atol=2e-3)


def _check_output(state, output, exact):
  """A loop gets what a plain process gives, and nothing hidden."""
  assert isinstance(output, protocols.RoundOutput) and output.kept is None
  assert output.metrics['client_work']['train']['loss'] > 0 if exact else not output.metrics['client_work']
  assert 'HiddenSum' not in str(output.metrics)
  assert [np.shape(leaf) for leaf in tree.flatten(output.state)] == [np.shape(leaf) for leaf in tree.flatten(state)]


def test_an_update_out_of_range_ends_the_round_with_one_sentence(tff_runtime, task):
  secure = configs.SecureConfig(secure_sum='he', secure_clients_max=4, secure_range=1e-4)
  refusing = secured.build_process(secure, _plan(CONFIG, task), _build(CONFIG, task), place=tff_runtime,
                                   tells=learning_process_lib.tells(task, CONFIG.algorithm))
  with pytest.raises(ValueError, match=r'^secure sum: an update of a client has an element beyond 0.0001, so nothing '
                                       r'was encrypted and the round fails; raise secure_range or clip updates.$'):
    _moved(refusing, task, rounds=1)


@pytest.mark.parametrize('mode', ['he', 'he_keyholder', 'masks'])
def test_description_by_hand(task, mode):
  secure = configs.SecureConfig(secure_sum=mode, secure_clients_max=8, key_holder_dir='x' if 'holder' in mode else None)
  tells = learning_process_lib.tells(task, CONFIG.algorithm)
  found = secured.describe(secure, _plan(CONFIG, task), parameters_count=100_000, clients=3, tells=tells)
  # Of 12 examples: the weight and their number take 4 bits, 12 x 2^16 right answers 20, 24 x 2^32 of loss 37 and a
  # flag; 15 bits a value.
  assert found['values'] == 100_000 + 1 + 1 + 2 + 3 + 1
  assert list(found['hidden']) == ['update', 'weight', 'loss', 'correct', 'examples']
  assert found['not_sent'] == ['accuracy_steps'] and list(found['in_the_clear']) == ['attendance']
  assert found['client_seconds'] > 0 and found['security_bits'] == 128
  # 100,008 values: seven a coefficient, 2 polynomials of 8192 coefficients, 2 halves of 8 primes, 4 bytes each; a key
  # holder's three a coefficient, 9 polynomials of 4096, 3 primes.
  sizes = {'he': {'ciphertext': 2 * 8192 * 64, 'decryption_share': 2 * 8192 * 32},
           'he_keyholder': {'ciphertext': 9 * 4096 * 24, 'decryption_share': 0}, 'masks': {'masked_update': 400_032}}
  assert found['bytes_per_client'] == sizes[mode]
  there = secured.describe(secure, _plan(CONFIG, task), parameters_count=100_000, clients=3, tells=tells,
                           on_workers=True, kept=True, rounds=100)
  if mode != 'masks':
    bits = there['decryption_security']['statistical_bits']
    # 2^14 coefficients in 400 openings; variance 8 * 10.5 * (1 + 8192 * 4 / 3 * 8); plus a rounded message a client.
    by_hand = there['smudging_bits'] + 1 - 14 - math.log2(400) - math.log2(
        math.sqrt(8 * 10.5 * (1 + 8192 * 4 / 3 * 8)) + 8)
    assert bits == (pytest.approx(by_hand) if mode == 'he' else None) and (bits is None or bits >= 40)
  assert 'on one machine: it demonstrates the protocol and its cost, not secrecy' in found['simulation']
  assert list(there['in_the_clear']) == ['attendance', 'kept']
  assert mode == 'he' or 'not secrecy from the coordinator' in there['simulation']
  assert 'one machine' not in there['simulation'] and 'unaudited' in there['simulation']


def test_key_holder_s_folder_must_lie_outside_of_the_run(tmp_path):
  inside = configs.SecureConfig(secure_sum='he_keyholder', key_holder_dir=str(tmp_path / 'run' / 'keys'))
  with pytest.raises(ValueError, match='lies in run_dir'):
    secured.check_run(inside, plan_lib.NoPrivacy(sampler=None), rounds=3, run_dir=tmp_path / 'run')
  secured.check_run(inside, plan_lib.NoPrivacy(sampler=None), rounds=3, run_dir=tmp_path / 'other')
  with pytest.raises(ValueError, match='he_keyholder needs key_holder or key_holder_dir: somebody must hold the key'):
    configs.SecureConfig(secure_sum='he_keyholder')
