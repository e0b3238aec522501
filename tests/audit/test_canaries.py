"""Canaries: whose weights are whose, coins, and cohorts that some clients may be absent from."""

import dataclasses
import hashlib

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

import tff_vision as tv
from tests import tiny
from tff_vision import configs
from tff_vision.accounting import cohort_sizes, events
from tff_vision.audit import canary_data, float_lattice
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import canaries
from tff_vision.privacy.noise import integer_grid

SHAPES = [(5, 3), (3,), (2, 2)]


def flat(parts):
  return np.concatenate([np.ravel(part) for part in parts])


@hypothesis.settings(max_examples=15)
@hypothesis.given(number=st.integers(1, 22), seed=st.integers(0, 2**16))
def test_directions_are_orthogonal_of_length_one_and_read_off_by_projection(number, seed):
  each = np.array([flat(canaries.crafted(SHAPES, tf.one_hot(canary, number, dtype=tf.float64)))
                   for canary in range(number)])
  np.testing.assert_allclose(each @ each.T, np.eye(number), atol=1e-12)
  vector = np.random.default_rng(seed).normal(size=22)
  np.testing.assert_allclose(canaries.projections(vector, number), each @ vector, atol=1e-12)
  norms = np.random.default_rng(seed).normal(size=number)
  np.testing.assert_allclose(flat(canaries.crafted(SHAPES, tf.constant(norms))), norms @ each, atol=1e-12)


def test_a_loud_canary_is_clipped_to_the_integers_that_an_auditor_expects():
  for clip in 0.3, 1.0, 7.5:
    direction = canaries.crafted(SHAPES, canary_data.LOUD * clip * tf.one_hot(4, 6, dtype=tf.float64))
    steps, _ = integer_grid.encode([tf.cast(part, tf.float32) for part in direction], tf.constant(clip, tf.float32))
    expected = float_lattice.contribution(np.eye(6)[4], 22)
    np.testing.assert_array_equal(flat(steps), expected)
    assert 0.99 * integer_grid.STEPS < np.linalg.norm(expected) <= integer_grid.STEPS


def test_coins_are_bits_of_a_function_of_the_secret_fair_and_of_their_own():
  made = canaries.Canaries.tossed(4000, first=7, secret=b's' * 32)
  assert made == canaries.Canaries.tossed(4000, first=7, secret=b's' * 32)
  assert made != canaries.Canaries.tossed(4000, first=7, secret=b't' * 32)
  assert abs(sum(made.included) - 2000) < 5 * 32
  assert made.absent == {7 + i for i, there in enumerate(made.included) if not there}
  digest = hashlib.shake_256(b'canaries' + b's' * 32).digest(1)[0]
  assert made.included[:8] == tuple(bool(digest >> (7 - i) & 1) for i in range(8))
  assert 'included' not in repr(made)
  cohort = cohort_sampling.PoissonCohort(population=4000, rate=0.5, seed=0, secret=b's' * 32)(1)
  same = np.mean(np.isin(np.arange(4000), cohort) == made.included)
  assert abs(same - 0.5) < 5 / (2 * np.sqrt(4000))  # Not the coins of the cohorts.


@pytest.mark.parametrize('sizes', [cohort_sizes.Sizes(), cohort_sizes.Sizes(least=2, most=5)])
def test_who_is_absent_is_as_if_never_there(sizes):
  absent, rounds = frozenset({8, 10, 11}), range(1, 400)
  for make in (lambda **more: cohort_sampling.PoissonCohort(population=12, rate=0.3, seed=1, secret=b'x' * 32,
                                                            sizes=sizes, optional=4, **more),
               lambda **more: cohort_sampling.BlockPoissonCohort(population=12, rate=0.3, num_blocks=2, seed=1,
                                                                 secret=b'x' * 32, sizes=sizes, optional=4, **more)):
    whole, drawn = make(), make(absent=absent)
    for number in rounds:
      cohort = drawn(number)
      assert not absent & set(cohort) and len(cohort) >= min(sizes.least, 3)
      if sizes == cohort_sizes.Sizes():  # The others' coins are their own.
        assert list(cohort) == [client for client in whole(number) if client not in absent]
      else:
        assert len(cohort) <= 5
  turns = cohort_sampling.RoundRobinCohort(population=12, size=4, seed=1, absent=absent)
  assert sum(len(turns(number)) for number in range(3)) == 9


def test_the_cost_holds_however_many_canaries_there_are():
  sizes = cohort_sizes.Sizes(least=2, most=20)
  sampler = cohort_sampling.PoissonCohort(population=100, rate=0.1, seed=0, sizes=sizes, optional=40)
  event = sampler.releases(3, noise_multiplier=2.0).event().event
  assert isinstance(event, events.TruncatedPoissonGaussianDpEvent)
  # Too few are the likelier the fewer there are, too many the likelier the more.
  low = cohort_sizes.moved(sizes, rate=0.1, fewest=60, most=100)
  assert low[0] > cohort_sizes.moved(sizes, rate=0.1, fewest=100, most=100)[0]
  assert np.array(event.components()) == pytest.approx(np.array(
      events.TruncatedPoissonGaussianDpEvent(0.1, 2.0, sizes, 60, 100).components()))
  free = cohort_sampling.PoissonCohort(population=100, rate=0.1, seed=0, optional=40)
  assert free.releases(3, noise_multiplier=2.0).epsilon(1e-5) == pytest.approx(
      cohort_sampling.PoissonCohort(population=100, rate=0.1, seed=0).releases(3, noise_multiplier=2.0).epsilon(1e-5))


def test_sizes_and_names_do_not_depend_on_coins_and_images_do():
  clients = tiny.federated_images().train
  private = configs.PrivacyConfig(privacy='local_dp', clip_norm=1.0, noise_multiplier=1.0, audit_canaries=8)
  among = canaries.Canaries(first=4, included=(True, False) * 4)
  joined, unknown = canary_data.with_canaries(private, clients, among), canary_data.with_canaries(private, clients)
  assert joined.client_ids == unknown.client_ids and len(joined) == 12
  assert [joined.num_examples(i) for i in range(12)] == [unknown.num_examples(i) for i in range(12)]
  assert [len(joined.examples(i)) for i in range(4, 12)] == [2, 1] * 4 and not joined.examples(5).x.any()
  assert [joined.num_given(i) for i in range(12)] == [len(joined.examples(i)) for i in range(12)]
  examples = canary_data.with_canaries(configs.PrivacyConfig(
      privacy='example_dp_sgd', clip_norm=1.0, noise_multiplier=1.0, audit_canaries=10), clients)
  assert [examples.num_examples(i) - clients.num_examples(i) for i in range(4)] == [3, 3, 2, 2]
  assert len(examples.examples(0)) == clients.num_examples(0) == examples.num_given(0)


@pytest.mark.parametrize(('settings', 'said'), [
    ({'audit_canaries': 20}, 'audit_canaries=20 has no effect with privacy=none'),
    ({'audit_canaries': 3, 'privacy': 'local_dp'}, '8 or more'),
    ({'audit_canaries': -1, 'privacy': 'local_dp'}, 'audit_canaries'),
    ({'audit_confidence': 0.9, 'privacy': 'local_dp'}, 'audit_confidence=0.9 has no effect without audit_canaries'),
    ({'audit_confidence': 1.0, 'privacy': 'local_dp'}, 'audit_confidence')])
def test_settings_that_show_nothing_are_refused(settings, said):
  if 'privacy' in settings:
    settings |= {'clip_norm': 1.0, 'noise_multiplier': 1.0}
  with pytest.raises(ValueError, match=said):
    configs.PrivacyConfig(**settings)


def test_attackers_and_canaries_are_not_in_one_run():
  private = configs.PrivacyConfig(privacy='local_dp', clip_norm=1.0, noise_multiplier=1.0, audit_canaries=20)
  with pytest.raises(ValueError, match='audit_canaries=20 does not go with attack=label_flip'):
    configs.ExperimentConfig(privacy=private, attack=configs.AttackConfig(attack='label_flip'))


def test_a_process_without_a_run_folder_has_no_canaries():
  made = tv.Experiment(tv.Task(tv.testing.tiny_images(), model='linear'), participation=tv.Fixed(2), rounds=1,
                       privacy=dataclasses.replace(tv.ClientGaussian(clip_norm=1.0, noise_multiplier=1.0, delta=1e-2),
                                                   privacy='local_dp', audit_canaries=20))
  with pytest.raises(ValueError, match='audit_canaries=20 is for a run in a folder'):
    made.prepare()
