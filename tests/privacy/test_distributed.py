"""Noise shares under a secure sum: arithmetic by hand, variance, bounds, accounting against dp_accounting."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf
from dp_accounting import pld, rdp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from tests import tiny
from tff_vision import configs
from tff_vision.aggregation import secured
from tff_vision.learning import learning_process
from tff_vision.privacy import plan
from tff_vision.privacy.noise import integer_shares, noise_shares
from tff_vision.secure import refusal
from tff_vision.secure.encryption import bfv, joint_key, key_holder
from tff_vision.secure.masking import mask_round

SEED = tf.constant([0, 0])


def shares(kind='gaussian', offset=2**15 - 1, length=40, noise_multiplier=1.0, survivors=4):
  return integer_shares.fit(kind, offset=offset, length=length, noise_multiplier=noise_multiplier, survivors=survivors)


def encoding(clip_norm=2.0, value_bits=16, **found):
  return noise_shares.NoiseShareEncoding(
      value_bits=value_bits, clip_norm=clip_norm, shares=shares(offset=2**(value_bits - 1) - 1, **found))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=30), st.floats(1e-3, 1e3), st.integers(6, 18))
def test_no_rounded_update_exceeds_the_sensitivity_and_none_leaves_its_range(values, clip_norm, bits):
  made = encoding(clip_norm, bits, length=len(values), noise_multiplier=0.0)
  integers = made.encode(tf.constant(values, tf.float32), SEED).numpy() - made.offset
  assert np.linalg.norm(integers) <= made.shares.sensitivity
  np.testing.assert_array_equal(integers, np.round(integers))
  short = np.float32(values) / max(1.0, np.linalg.norm(np.float64(np.float32(values))) / clip_norm)
  np.testing.assert_allclose(integers * made.step, short, atol=1.001 * made.step)


@pytest.mark.parametrize('kind', integer_shares.KINDS)
def test_shares_add_up_to_the_promised_variance_and_stay_in_range(kind):
  length, clients = 10_000, 5
  made = encoding(kind=kind, length=length, noise_multiplier=0.3, survivors=clients)
  sent = [made.encode(tf.zeros([length]), SEED) for _ in range(clients)]
  for integers in sent:
    assert integers.numpy().min() >= 0 and integers.numpy().max() <= 2 * made.offset
  total = made.decode(tf.cast(tf.add_n(sent), tf.int64), tf.constant(clients)).numpy()
  # Keys are new in each run: six deviations.
  assert total.std() == pytest.approx(0.3 * made.norm_bound, rel=6 / math.sqrt(2 * length))
  assert abs(np.corrcoef(sent[0], sent[1])[0, 1]) < 6 / math.sqrt(length)


def test_an_update_that_is_no_number_counts_as_zero():
  made = encoding(length=2, noise_multiplier=0.0)
  assert made.encode(tf.constant([1.0, math.nan]), SEED).numpy().tolist() == [made.offset] * 2


def test_the_grid_is_the_finest_that_has_room_and_too_few_bits_are_refused():
  found = shares(noise_multiplier=2.0)
  used = math.ceil(found.clip_steps) + 1 + math.ceil(12 * found.stddev) + 40
  assert 2**15 - 40 < used <= 2**15 - 1
  assert found.stddev * math.sqrt(4) == pytest.approx(2.0 * found.sensitivity)
  with pytest.raises(ValueError, match='secure_bits=10 is too coarse for 1000000 parameters'):
    shares(offset=2**9 - 1, length=10**6)


@pytest.mark.parametrize('kind', integer_shares.KINDS)
def test_epsilon_is_that_of_the_continuous_gaussian_where_the_grid_is_fine(kind):
  found = shares(kind, noise_multiplier=1.5)
  # What is proven of Skellam noise is of whole orders.
  orders = np.ceil(integer_shares.ORDERS) if kind == 'skellam' else np.array(integer_shares.ORDERS)
  gaussian = rdp.compute_epsilon(integer_shares.ORDERS, 7 * orders / (2 * 1.5 ** 2), 1e-5)[0]
  assert integer_shares.epsilon(7 * found.divergence(4), 1e-5) == pytest.approx(gaussian, rel=1e-3)
  # Half of the shares are missing: as if the noise were smaller by the root of two.
  fewer = rdp.compute_epsilon(integer_shares.ORDERS, orders / 1.5 ** 2, 1e-5)[0]
  assert integer_shares.epsilon(found.divergence(2), 1e-5) == pytest.approx(fewer, rel=1e-3)
  assert integer_shares.epsilon(found.divergence(0), 1e-5) == math.inf


def test_no_epsilon_is_below_the_exact_one_of_a_single_coordinate():
  """A sum of two coarse shares of one coordinate, whose privacy loss dp_accounting knows exactly."""
  found = integer_shares.Shares(kind='gaussian', clip_steps=1.0, length=1, stddev=1.2)
  values = np.arange(-60, 61)
  one = np.exp(-values ** 2 / (2 * 1.2 ** 2))
  two = np.convolve(one / one.sum(), one / one.sum())
  found_skellam = dataclasses.replace(found, kind='skellam')
  for made, masses in ((found, two), (found_skellam, special.ive(np.abs(np.arange(-120, 121)), 2 * 1.2 ** 2))):
    for shift in (1, int(made.sensitivity)):
      upper = {k: mass for k, mass in enumerate(masses) if mass > 1e-300}
      lower = {k + shift: mass for k, mass in upper.items()}
      exact = pld.privacy_loss_distribution.from_two_probability_mass_functions(
          {k: math.log(m) for k, m in upper.items()}, {k: math.log(m) for k, m in lower.items()})
      assert exact.get_epsilon_for_delta(1e-4) <= integer_shares.epsilon(made.divergence(2), 1e-4)


def built(privacy='distributed_gaussian', secure='masks', rounds=4, cohort=None, bits=18, key_holder_dir=None,
          **options):
  task = tiny.task(client_epochs=1)
  made = plan.build_plan(
      configs.PrivacyConfig(**{'privacy': privacy, 'clip_norm': 0.1, 'delta': 0.01, **options}),
      configs.CohortConfig(**{'cohort_size': 4, **(cohort or {})}), population=4, rounds=rounds, seed=0)
  config = configs.SecureConfig(secure_sum=secure, secure_clients_max=4, secure_bits=bits,
                                key_holder_dir=key_holder_dir)
  return task, made.for_secure_sum(config).for_model(task.keras_model(), task.batch_spec[0]), config


@pytest.mark.parametrize('mode', [pytest.param('he', marks=pytest.mark.ci), 'masks'])
def test_a_round_without_noise_is_the_mean_of_clipped_updates_and_noise_has_its_size(tff_runtime, mode):
  client = configs.ClientConfig(batch_size=4, client_learning_rate=0.5)

  def moved(made, config, times=1):
    """Returns the model's moves in rounds that begin with the same model, one after the other."""
    build = lambda **given: learning_process.build_process(
        task, algorithm=configs.AlgorithmConfig(), client=client, server=configs.ServerConfig(), **given)
    learning = secured.build_process(config, made, build, tells=learning_process.tells(task, configs.AlgorithmConfig()),
                                     place=tff_runtime)
    start = task.initial_weights()
    state = learning.set_model_weights(learning.initialize(), start)
    after = [learning.next(state, [task.client_dataset(i, 1) for i in range(4)]).state for _ in range(times)]
    return np.array([np.concatenate([np.ravel(w - v) for w, v in zip(
        learning.get_model_weights(one).trainable, start.trainable, strict=True)]) for one in after])

  task, quiet, config = built(secure=mode, noise_multiplier=0.0)
  clear = plan.build_plan(
      configs.PrivacyConfig(privacy='client_gaussian', clip_norm=0.1, delta=0.01, noise_multiplier=0.0),
      configs.CohortConfig(cohort_size=4, sampling='poisson'), population=4, rounds=4, seed=0)
  expected = moved(clear, configs.SecureConfig())
  np.testing.assert_allclose(moved(quiet, config), expected, atol=1.01 * quiet.sum_encoding().step)
  _, noisy, _ = built(secure=mode, noise_multiplier=50.0)
  # Of 51 weights, four times: six deviations of what is new in each run.
  found = moved(noisy, config, times=4) - expected
  assert found.std() == pytest.approx(50 * noisy.sum_encoding().norm_bound / 4, rel=6 / math.sqrt(2 * found.size))


def test_the_ledger_counts_turns_survivors_and_repetitions():
  _, made, _ = built(noise_multiplier=2.0)
  once = made.shares.divergence(4)
  assert made.ledger(3).epsilon == integer_shares.epsilon(3 * once, 0.01) == made.quick_epsilon(3)
  repeated = made.charged(plan.Past(replayed=(3, 3), delivered={1: 2}))
  assert repeated.ledger(3).epsilon == pytest.approx(
      integer_shares.epsilon(4 * once + made.shares.divergence(2), 0.01))
  assert repeated.ledger(3).replayed_rounds == 2 and repeated.ledger(3).shares.fewest_clients_in_a_sum == 2


def test_devices_that_do_not_deliver_make_it_dearer_and_shares_may_be_sized_for_them():
  lost = {'dropout_after': 0.3}
  _, full, _ = built(noise_multiplier=2.0, rounds=20)
  _, thin, _ = built(noise_multiplier=2.0, rounds=20, cohort=lost)
  _, sized, _ = built(noise_multiplier=2.0, rounds=20, cohort=lost, noise_survivors=2)
  assert thin.shares.stddev == full.shares.stddev
  assert thin.ledger(20).shares.fewest_clients_in_a_sum < 4
  # One client's turns are fewer, but each is dearer than one of the full cohort.
  turns = lambda made: made.ledger(20).max_participations
  assert thin.ledger(20).epsilon > integer_shares.epsilon(turns(thin) * full.shares.divergence(4), 0.01)
  assert sized.ledger(20).epsilon < thin.ledger(20).epsilon and turns(sized) == turns(thin)


def test_a_sum_of_fewer_clients_than_the_noise_needs_is_not_opened(tff_runtime, monkeypatch, tmp_path):
  """Real losses: clients that are gone when the round begins, in each mode; the same clients are enough for less."""
  client = configs.ClientConfig(batch_size=4, client_learning_rate=0.5)
  opened = []
  for owner, name in ((joint_key.RoundKey, 'open_sum'), (mask_round.MaskRound, 'unmask'), (bfv, 'decryption_share'),
                      (key_holder.KeyHolder, '_decrypt')):
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *args, original=original, name=name, **kw: (
        opened.append(name), original(*args, **kw))[1])
  for mode in ('he', 'masks', 'he_keyholder'):
    task, made, config = built(secure=mode, noise_multiplier=1.0, noise_survivors=3,
                               key_holder_dir=str(tmp_path / 'keys') if mode == 'he_keyholder' else None)
    build = lambda *, task=task, **given: learning_process.build_process(
        task, algorithm=configs.AlgorithmConfig(), client=client, server=configs.ServerConfig(), **given)
    learning = secured.build_process(config, made, build, tells=learning_process.tells(task, configs.AlgorithmConfig()),
                                     place=tff_runtime)
    state = learning.set_model_weights(learning.initialize(), task.initial_weights())
    opened.clear()
    with pytest.raises(refusal.RefusedError, match='3 clients delivered, and 3 are needed|2 clients delivered, and 3 '
                                                   'are needed for the noise .* nothing was opened'):
      learning.next(state, [task.client_dataset(i, 1) for i in range(2)])
    assert not opened
    after = learning.next(state, [task.client_dataset(i, 1) for i in range(3)]).state
    assert opened and any(np.any(a != b) for a, b in zip(
        learning.get_model_weights(after).trainable, task.initial_weights().trainable, strict=True))


def test_simulated_rounds_below_the_floor_take_nobody_s_update_and_cost_nothing():
  lost = {'dropout_after': 0.5}
  _, thin, _ = built(noise_multiplier=2.0, rounds=40, cohort=lost)
  _, sized, _ = built(noise_multiplier=2.0, rounds=40, cohort=lost, noise_survivors=3)
  drawn = [len(sized.sampler(r)) for r in range(1, 41)]
  assert {0, 1, 2, 3, 4} >= set(drawn) and {1, 2, 3} <= set(drawn)
  # Unset: what the simulation delivers at least, as the ledger has counted; never one client.
  assert thin.fewest_clients == min(n for n in drawn if n > 1) == 2 and sized.fewest_clients == 3
  for made in (thin, sized):
    assert [len(made.cohort(r)) for r in range(1, 41)] == [n if n >= made.fewest_clients else 0 for n in drawn]
    assert made.ledger(40).shares.failed_rounds == sum(n < made.fewest_clients for n in drawn)
    assert made.ledger(40).shares.fewest_clients_in_a_sum >= made.fewest_clients
  failed = 1 + drawn.index(2)
  assert sized.attendance(failed)['reported'] == 0 < thin.attendance(failed)['reported']
  # Only sums of three or four are charged, at noise that is sized for three.
  by_client = [[len(sized.sampler(r)) for r in range(1, 41) if client in sized.cohort(r)] for client in range(4)]
  expected = max(integer_shares.epsilon(sum(sized.shares.divergence(n) for n in sums), 0.01) for sums in by_client)
  assert sized.ledger(40).epsilon == pytest.approx(expected) and min(map(min, by_client)) == 3
  with pytest.raises(ValueError, match='noise_survivors=4, but at most . clients deliver in any of the 2 rounds'):
    built(noise_multiplier=2.0, rounds=2, cohort={'dropout_after': 0.9}, noise_survivors=4)


def test_a_target_is_met_but_not_far_exceeded():
  for privacy in ('distributed_gaussian', 'distributed_skellam'):
    _, made, _ = built(privacy, target_epsilon=3.0)
    assert 2.98 < made.ledger(4).epsilon <= 3.0


@pytest.mark.parametrize(('options', 'match'), [
    ({'secure': 'none', 'noise_multiplier': 1.0}, 'needs a secure sum'),
    ({'noise_survivors': 9, 'noise_multiplier': 1.0}, 'noise_survivors=9 exceeds cohort_size=4'),
    ({'bits': 4, 'noise_multiplier': 3.0}, 'secure_bits=4 is too coarse'),
])
def test_dishonest_settings_are_refused(options, match):
  with pytest.raises(ValueError, match=match):
    built(**options)
