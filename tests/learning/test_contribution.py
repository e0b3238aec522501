"""What clients contributed to a model: beside a second implementation in numpy, and the axioms over whole runs."""

import dataclasses
import itertools
import types

import numpy as np
import pytest

from tests import tiny
from tests.learning.tiny_experiments import experiment, oracle
from tff_vision import configs
from tff_vision.learning import contribution, evaluation
from tff_vision.program import loop, round_record
from tff_vision.report import contribution as contribution_report
from tff_vision.report import number_format

COHORTS = [[3, 0, 1], [1, 2], [2, 3, 0]]  # In no order: values belong to the clients that were named.
LOSS = configs.AggregationConfig(contribution='shapley', contribution_metric='loss')


def trained(run, cohorts=COHORTS):
  """Returns the records of the rounds, and the first and the last model."""
  state, history = run.begin(), []
  first = run.weights(state)
  for round_num, cohort in enumerate(cohorts, start=1):
    before = run.weights(state)
    output = run.next(state, round_num, cohort)
    state = output.state
    history.append({'contribution': run.contribution.of_round(
        round_num, before, output.metrics, run.weights(state), cohort)})
  return history, first, run.weights(state)


def with_contribution(aggregation=LOSS, **parts):
  return dataclasses.replace(experiment('fedavg', **parts), aggregator=aggregation)


def test_values_of_every_round_are_those_of_all_orders_in_numpy(tff_runtime):
  run = with_contribution().prepare()
  history, first, last = trained(run)
  o = oracle(run)
  o.cohorts = COHORTS
  test = run.task.images.test.examples
  x = test.x.reshape(len(test), -1) / 255

  def loss(w):
    logits = x @ w[:-3].reshape(-1, 3) + w[-3:]
    return np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(x)), test.y])

  w, expected = o.start, np.zeros(4)
  for r, cohort in enumerate(COHORTS, start=1):
    moved = {i: o.local(w, i, r)[0] for i in cohort}
    value = lambda members, moved=moved, w=w: -loss(o.mean(members, [moved[i] for i in members]) if members else w)
    of_round = np.zeros(4)
    orders = list(itertools.permutations(cohort))
    for order in orders:
      for place, i in enumerate(order):
        of_round[i] += (value(order[:place + 1]) - value(order[:place])) / len(orders)
    entry = history[r - 1]['contribution']
    assert entry['clients'] == cohort and entry['evaluations'] == 2 ** len(cohort)
    np.testing.assert_allclose(entry['values'], of_round[cohort], atol=1e-5)
    expected += of_round
    w = o.mean(cohort, list(moved.values()))
  found = contribution.totals(history, 4)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  # Efficiency: together they add what the model gained.
  losses = []
  for weights in (first, last):
    weights.assign_weights_to(run.evaluator.model)
    losses.append(run.evaluator.evaluate(run.task.images.test)['evaluation']['loss'])
  assert sum(found) == pytest.approx(losses[0] - losses[1], abs=1e-5)
  assert sum(found) == pytest.approx(sum(entry['contribution']['after'] - entry['contribution']['before']
                                         for entry in history), abs=1e-5)


def test_a_loop_names_clients_in_the_order_of_their_updates():
  asked = []
  model = lambda state: f'model {state}'
  rounds = loop._Rounds(types.SimpleNamespace(
      plan=None, program=types.SimpleNamespace(rounds=1), process=types.SimpleNamespace(get_model_weights=model),
      contribution=types.SimpleNamespace(of_round=lambda *given: asked.append(given) or {'values': []})), None)
  rounds._before, rounds._state = 'model before', 'after'  # The weights before, and the state after.
  trained = round_record.Trained(round_num=4, cohort=[5, 2, 9], present=[5, 2, 9], clients=[2, 5], faults=(),
                                 metrics={}, repeats=False, again=False)
  assert rounds.contribution(trained) == {'contribution': {'values': []}}
  assert asked == [(4, 'model before', {}, 'model after', [5, 2])]
  assert rounds.contribution(dataclasses.replace(trained, clients=[])) == {}


def rounds_of(clients, updates, weights, config, **settings):
  """Returns the entry of one round over these updates of the linear model, without TFF."""
  task = tiny.task()
  evaluator = evaluation.Evaluator(task.keras_model(), preprocessing=task.images.preprocessing,
                                   objective=task.objective)
  held = [weight.numpy() for weight in evaluator.model.trainable_weights]
  start = task.initial_weights()
  flat = np.concatenate([np.ravel(part) for part in start.trainable])
  after = flat - settings.get('moves_by', 1.0) * (weights @ updates) / weights.sum()
  ends = np.cumsum([np.size(part) for part in start.trainable])[:-1]
  parts = zip(np.split(after, ends), start.trainable, strict=True)
  moved = type(start)([part.reshape(like.shape) for part, like in parts], [])
  values = contribution.Contribution(config, server_rate=settings.get('rate', 1.0), evaluator=evaluator,
                                     objective=task.objective, test=task.images.test, seed=3)
  entry = values.of_round(1, start, {'aggregator': {'updates': updates, 'weights': weights}}, moved, clients)
  for weight, number in zip(evaluator.model.trainable_weights, held, strict=True):
    np.testing.assert_array_equal(weight, number, err_msg='the evaluator keeps its weights')
  return entry


def test_twins_share_equally_and_many_clients_are_valued_by_random_orders():
  rng = np.random.default_rng(0)
  updates = rng.normal(0, 0.3, (3, 51))
  updates[2] = updates[0]
  entry = rounds_of([4, 0, 7], updates, np.array([2.0, 1.0, 2.0]), LOSS)
  assert entry['values'][0] == pytest.approx(entry['values'][2]) != entry['values'][1]
  many = rng.normal(0, 0.3, (9, 51))
  every = configs.AggregationConfig(contribution='shapley', contribution_metric='loss', contribution_permutations=6,
                                    contribution_tolerance=0.0)
  entry = rounds_of(list(range(9)), many, np.ones(9), every)
  assert sum(entry['values']) == pytest.approx(entry['after'] - entry['before'])
  assert 9 < entry['evaluations'] <= 6 * 9 + 2
  assert rounds_of(list(range(9)), many, np.ones(9), every) == entry


def test_a_server_that_moves_the_model_otherwise_is_noticed():
  updates = np.random.default_rng(0).normal(0, 0.3, (3, 51))
  assert rounds_of([0, 1, 2], updates, np.ones(3), LOSS, rate=0.5, moves_by=0.5)['values']
  with pytest.raises(ValueError, match='not what moves the model'):
    rounds_of([0, 1, 2], updates, np.ones(3), LOSS, rate=0.5)
  with pytest.raises(ValueError, match='not what moves the model'):  # Small steps are no excuse.
    rounds_of([0, 1, 2], updates / 1000, np.ones(3), LOSS, rate=0.5)


@pytest.mark.parametrize(('sections', 'match'), [
    ({'secure': configs.SecureConfig(secure_sum='masks')}, 'needs single updates, which the sum hides'),
    ({'privacy': configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1, noise_multiplier=1)}, 'no noise covers'),
    ({'privacy': configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1, noise_multiplier=1),
      'cohort': configs.CohortConfig(sampling='poisson')}, 'no noise covers'),
    ({'server': configs.ServerConfig(server_optimizer='adam')}, 'server_optimizer=.?adam'),
    ({'schedule': configs.ScheduleConfig(server_warmup_rounds=2)}, 'server_warmup_rounds'),
    ({'algorithm': configs.AlgorithmConfig(algorithm='scaffold')}, 'not an update of the whole model'),
    ({'algorithm': configs.AlgorithmConfig(algorithm='fedper')}, 'not an update of the whole model'),
    ({'algorithm': configs.AlgorithmConfig(algorithm='feddyn')}, 'depends on who takes part')])
def test_what_does_not_go_with_it_is_refused_in_a_sentence(sections, match):
  with pytest.raises(ValueError, match=match):
    configs.ExperimentConfig(aggregation=configs.AggregationConfig(contribution='shapley'), **sections)


@pytest.mark.parametrize('fields', [{'aggregator': 'median'}, {'compression': 'uniform'}])
def test_what_is_no_mean_is_refused(fields):
  with pytest.raises(ValueError, match='the mean of its members'):
    configs.AggregationConfig(contribution='shapley', **fields)


def test_a_metric_that_the_task_lacks_is_named():
  task = tiny.task()
  with pytest.raises(ValueError, match='contribution_metric=dice.*accuracy'):
    contribution.metric_of(configs.AggregationConfig(contribution='shapley', contribution_metric='dice'),
                           task.objective, task.images.test)


@pytest.mark.parametrize('wrong', [np.nan, np.inf, 1e38])
def test_a_round_whose_coalitions_have_no_numbers_has_no_values_and_the_run_goes_on(wrong):
  updates = np.random.default_rng(0).normal(0, 0.3, (3, 51))
  if wrong == 1e38:
    updates[1] = np.where(np.arange(51) % 2, wrong, -wrong)  # The logits overflow, and no weight does.
  else:
    updates[1, 7] = wrong
  entry = rounds_of([4, 0, 7], updates, np.array([2.0, 1.0, 2.0]), LOSS)
  assert entry['clients'] == [4, 0, 7] and [entry[name] for name in ('values', 'before', 'after')] == [None] * 3
  good = rounds_of([4, 0, 7], np.random.default_rng(1).normal(0, 0.3, (3, 51)), np.ones(3), LOSS)
  history = [{'contribution': one} for one in (entry, good)] + [{}]
  found = contribution_report.section(history, ['abcdefgh'[place] for place in range(8)], 'loss')
  assert (found['rounds'], found['rounds_without_values']) == (1, 1)
  assert found['total'] == pytest.approx(sum(found['values'])) == pytest.approx(good['after'] - good['before'])


def test_a_client_of_no_weight_adds_nothing_and_costs_nothing():
  updates = np.random.default_rng(0).normal(0, 0.3, (3, 51))
  entry = rounds_of([4, 0, 7], updates, np.array([2.0, 0.0, 1.0]), LOSS)
  assert entry['values'][1] == 0 and entry['evaluations'] == 4
  pair = rounds_of([4, 7], updates[[0, 2]], np.array([2.0, 1.0]), LOSS)
  np.testing.assert_allclose([entry['values'][0], entry['values'][2]], pair['values'])


@pytest.mark.parametrize(('values', 'shares'), [
    ([0.1, 0.3, 0.0], [0.75, 0.25, 0.0]), ([0.3, -0.1], [1.5, -0.5]),
    ([0.1, -0.2], None), ([0.1, 0.2, -0.30000000000000004], None), ([0.0, 0.0], None)])
def test_shares_add_up_to_one_where_there_is_a_gain_and_are_none_elsewhere(values, shares):
  names = 'abc'[:len(values)]
  report = {'contribution': {'metric': 'accuracy', 'values': values, 'total': sum(values) + 1e-4, 'rounds': 2,
                             'rounds_without_values': 1}, 'evaluation': {'accuracy': 0.5}}
  table = contribution_report.table(report, names)
  column = [row[2] for row in table.rows]
  if shares is None:
    assert set(column) == {number_format.MISSING}
  else:
    assert [float(str(cell).split('"')[1]) for cell in column] == pytest.approx(shares)
  assert 'left out: 1 round in' in table.caption
