"""Whole rounds with robust rules, compression with a memory, and attacked updates, against numpy on single updates."""

import collections

import numpy as np
import pytest
import tensorflow_federated as tff

from tests import tiny
from tff_vision import configs
from tff_vision.aggregation import codecs, error_feedback, stack
from tff_vision.client_state import driver, keeping, store
from tff_vision.configs import runtime_config
from tff_vision.learning import attacked_work, client_data, learning_process
from tff_vision.participation import cohort_sampling
from tff_vision.privacy import plan
from tff_vision.privacy.mechanisms import sampled_plans
from tff_vision.runtime.driver import remote

VALUE = tff.types.to_type(collections.OrderedDict(a=tff.TensorType(np.float32, [3, 4]),
                                                  b=tff.TensorType(np.float32, [5])))
RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(5, 17)).astype(np.float32)
WEIGHTS = np.array([2, 1, 0, 4, 1], np.float32)


def aggregate(rows, weights, **settings):
  made = stack.build_stack(plan.NoPrivacy(sampler=None), configs.AggregationConfig(**settings)).create(
      VALUE, tff.TensorType(np.float32))
  values = [collections.OrderedDict(a=row[:12].reshape(3, 4), b=row[12:]) for row in rows]
  found = made.next(made.initialize(), values, list(weights)).result
  return np.concatenate([np.ravel(found['a']), found['b']])


def test_rules_and_means_in_tff(tff_runtime):
  present = WEIGHTS > 0
  median = np.median(np.repeat(ROWS, WEIGHTS.astype(int), axis=0), axis=0)
  np.testing.assert_allclose(aggregate(ROWS, WEIGHTS, aggregator='median'), median, atol=1e-6)
  np.testing.assert_array_equal(aggregate([], [], aggregator='geometric_median'), np.zeros(17))
  np.testing.assert_allclose(aggregate(ROWS, WEIGHTS, compression='uniform', compression_bits=16),
                             np.average(ROWS, axis=0, weights=WEIGHTS), atol=1e-3)
  # The rule sees what the codec left of each update.
  config = configs.AggregationConfig(aggregator='median', compression='hadamard', compression_bits=3)
  codec = codecs.build_codec(config, 17)
  read = np.stack([codec.decode(codec.encode(row)) for row in ROWS[present]])
  np.testing.assert_allclose(aggregate(ROWS, WEIGHTS, aggregator='median', compression='hadamard', compression_bits=3),
                             np.median(np.repeat(read, WEIGHTS[present].astype(int), axis=0), axis=0), atol=1e-5)
  norms = np.linalg.norm(ROWS, axis=1, keepdims=True)
  bound = float(np.median(norms))
  clipped = np.average(ROWS * np.minimum(1, bound / norms), axis=0, weights=WEIGHTS)
  np.testing.assert_allclose(aggregate(ROWS, WEIGHTS, aggregator='norm_clipping', update_norm_bound=bound), clipped,
                             atol=1e-6)


def test_rules_over_workers_equal_those_here(tff_runtime):
  settings = {'aggregator': 'multi_krum', 'compression': 'stochastic', 'compression_bits': 4}
  here = aggregate(ROWS, WEIGHTS, **settings)
  with remote.remote_runtime(runtime_config.RuntimeConfig(runtime='workers', local_workers=2)):
    np.testing.assert_array_equal(aggregate(ROWS, WEIGHTS, **settings), here)


def build(task, aggregation, *layers):
  def layer(client_work):
    for one in layers:
      client_work = one(client_work)
    return client_work
  return learning_process.build_process(
      task, algorithm=configs.AlgorithmConfig(), client=configs.ClientConfig(client_learning_rate=0.1),
      server=configs.ServerConfig(), client_work_layer=layer,
      aggregator=stack.build_stack(plan.NoPrivacy(sampler=lambda round_num: np.arange(4)), aggregation))


def flat(made, state):
  return np.concatenate([np.ravel(w) for w in made.get_model_weights(state).trainable])


def start(made, task):
  return made.set_model_weights(made.initialize(), task.initial_weights())


class _Remembering:
  """Rounds of FedAvg with top-k, by hand around one plain process."""

  def __init__(self, task, plain, fraction):
    self.task, self.plain, self.fraction = task, plain, fraction
    self.memory = np.zeros((4, 51))

  def round(self, state, cohort, round_num):
    before = flat(self.plain, state)
    total, weight = np.zeros(51), 0
    for client in cohort:
      alone = self.plain.next(state, [self.task.client_dataset(client, round_num)]).state
      wanted = before - flat(self.plain, alone) + self.memory[client]
      sent = np.zeros(51)
      best = np.argsort(-np.abs(wanted))[:max(1, round(51 * self.fraction))]
      sent[best] = wanted[best]
      self.memory[client] = wanted - sent
      examples = self.task.images.train.num_examples(client)
      total, weight = total + examples * sent, weight + examples
    after = before - total / weight
    shapes = [w.shape for w in self.plain.get_model_weights(state).trainable]
    parts = np.split(after.astype(np.float32), np.cumsum([int(np.prod(s)) for s in shapes])[:-1])
    return self.plain.set_model_weights(state, tff.learning.models.ModelWeights(
        [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)], []))


@pytest.mark.parametrize('fraction', [0.1, 1.0])
def test_top_k_with_memory_equals_numpy_and_at_one_it_is_fedavg(tff_runtime, tmp_path, fraction):
  task = tiny.task(client_epochs=1)
  aggregation = configs.AggregationConfig(compression='top_k', top_k_fraction=fraction)
  codec_for = lambda length: codecs.build_codec(aggregation, length)
  made = build(task, aggregation, lambda work: error_feedback.with_error_feedback(work, codec_for))
  kept = store.Store(tmp_path, np.zeros(51, np.float32))
  running = driver.KeptStateProcess(made, kept)
  data = driver.NumberedData(client_data.SentData(task=task))
  plain = build(task, configs.AggregationConfig())
  by_hand = _Remembering(task, plain, fraction)
  mine, reference, fedavg = start(made, task), start(plain, task), start(plain, task)
  for round_num, cohort in enumerate([[0, 1, 2, 3], [1, 3], [0, 1]], start=1):
    mine = running.next(mine, [data.request(client, round_num) for client in cohort]).state
    reference = by_hand.round(reference, cohort, round_num)
    fedavg = plain.next(fedavg, [task.client_dataset(client, round_num) for client in cohort]).state
    np.testing.assert_allclose(flat(made, mine), flat(plain, reference), atol=1e-5)
  for client in range(4):
    np.testing.assert_allclose(kept.read(client, 9), by_hand.memory[client], atol=1e-5)
  difference = np.abs(flat(made, mine) - flat(plain, fedavg)).max()
  assert difference < 1e-6 if fraction == 1.0 else difference > 1e-3


def test_only_attackers_change_their_update(tff_runtime):
  task = tiny.task(client_epochs=1)
  plain, made = build(task, configs.AggregationConfig()), build(task, configs.AggregationConfig(),
                                                                attacked_work.with_factors)
  attack = configs.AttackConfig(attack='sign_flip', attack_scale=3.0)
  data = attacked_work.FactorData(client_data.SentData(task=task), attack, {2})
  before = flat(plain, start(plain, task))
  alone = {client: flat(plain, plain.next(start(plain, task), [task.client_dataset(client, 1)]).state) - before
           for client in (0, 2)}
  found = flat(made, made.next(start(made, task), [data.request(client, 1) for client in (0, 2)]).state) - before
  sizes = [task.images.train.num_examples(client) for client in (0, 2)]
  np.testing.assert_allclose(found, np.average([alone[0], -3 * alone[2]], axis=0, weights=sizes), atol=1e-6)


def test_attacks_and_memory_on_work_that_keeps_state():
  task = tiny.task(client_epochs=1)
  codec_for = lambda length: codecs.Plain(length=length)
  made = []
  build(task, configs.AggregationConfig(),
        lambda work: error_feedback.with_error_feedback(work, codec_for), attacked_work.with_factors,
        lambda work: made.append(work) or work)
  assert keeping.keeps(made[0])
  with pytest.raises(ValueError, match='keep state'):
    error_feedback.with_error_feedback(made[0], codec_for)


def test_norm_clipping_goes_before_a_private_clip(tff_runtime):
  private = sampled_plans.ClientGaussian(sampler=cohort_sampling.PoissonCohort(population=4, rate=1.0, seed=0),
                                         clip_norm=100.0,
                                         noise_multiplier=0.0, delta=1e-3)
  clipping = configs.AggregationConfig(aggregator='norm_clipping', update_norm_bound=1.0)
  made = stack.build_stack(private, clipping).create(tff.TensorType(np.float32, [17]))
  found = made.next(made.initialize(), list(ROWS[:4])).result
  units = ROWS[:4] / np.linalg.norm(ROWS[:4], axis=1, keepdims=True)
  np.testing.assert_allclose(found, units.mean(axis=0), atol=1e-4)
