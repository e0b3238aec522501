"""Ledgers: none without a condition, the same after a round through JSON, and what each mechanism writes."""

import collections.abc
import dataclasses
import json
import math

import numpy as np
import pytest
import tensorflow_federated as tff
from hypothesis import given
from hypothesis import strategies as st

import tff_vision as tv
from tests import built
from tests.golden import cases, record
from tff_vision import configs, experiment
from tff_vision.accounting import accounting, ledger, ledger_parts
from tff_vision.accounting.conditions import Accountant, Relation, Sampling, Scheme, Unit
from tff_vision.aggregation import secured, stack
from tff_vision.privacy import plan as plan_lib
from tff_vision.privacy.mechanisms import base, no_privacy

CONDITIONS = {'mechanism': 'client_gaussian', 'epsilon': 1.5, 'delta': 1e-5, 'unit': Unit.CLIENT,
              'relation': Relation.ADD_OR_REMOVE_ONE, 'sampling': Sampling(Scheme.POISSON, 'rate 0.5'), 'rounds': 4,
              'accountant': Accountant.PLD}


@pytest.mark.parametrize('missing', CONDITIONS)
def test_an_epsilon_without_one_of_its_conditions_is_a_type_error(missing):
  with pytest.raises(TypeError, match=missing):
    tv.Ledger(**{name: value for name, value in CONDITIONS.items() if name != missing})
  with pytest.raises(TypeError, match=missing):
    tv.Ledger(**CONDITIONS | {missing: None})
  content = tv.Ledger(**CONDITIONS).to_json()
  del content[missing]
  with pytest.raises(ValueError, match=f'lacks {missing}, without which'):
    tv.Ledger.from_json(content)
  with pytest.raises(ValueError, match=f'lacks {missing}, without which'):  # And not taken for a run without a promise.
    ledger.of_report({'privacy': content})
  with pytest.raises(dataclasses.FrozenInstanceError):
    setattr(tv.Ledger(**CONDITIONS), missing, None)


def test_a_ledger_is_a_value_that_prints_as_a_sentence():
  made = tv.Ledger(**CONDITIONS)
  assert not isinstance(made, collections.abc.Mapping) and made == tv.Ledger(**CONDITIONS)
  assert str(made) == (
      'client_gaussian: epsilon 1.500 at delta 1e-05; unit: client; relation: add or remove one client; '
      'sampling: poisson, rate 0.5; 4 rounds; accountant: PLD')
  # Words for values, as a program may write them.
  assert tv.Ledger(**CONDITIONS | {'unit': 'client', 'relation': 'add_or_remove_one', 'accountant': 'PLD',
                                   'sampling': 'poisson, rate 0.5'}) == made


@pytest.mark.parametrize(('wrong', 'error'), [
    ({'epsilon': -1.0}, ValueError), ({'epsilon': math.nan}, ValueError), ({'epsilon': '1'}, TypeError),
    ({'epsilon': True}, TypeError), ({'delta': 1.0}, ValueError), ({'rounds': 2.5}, TypeError),
    ({'rounds': -1}, ValueError), ({'unit': 'household'}, ValueError), ({'relation': 'add'}, ValueError),
    ({'accountant': 'PDL'}, ValueError), ({'sampling': 'poison, rate 1'}, ValueError), ({'unit': 3}, TypeError),
    ({'mechanism': 'none'}, ValueError), ({'clip_norm': 'one'}, TypeError), ({'replayed_rounds': math.nan}, TypeError)])
def test_what_cannot_be_a_condition_is_refused(wrong, error):
  with pytest.raises(error):
    tv.Ledger(**CONDITIONS | wrong)


NUMBER, COUNT = st.floats(0, allow_nan=False), st.integers(0, 10**9)
RATES = st.dictionaries(st.floats(0, 1), st.floats(0, 1), min_size=1, max_size=3)
CURVES = st.lists(NUMBER, max_size=3).map(tuple)
PROFILES = st.builds(
    ledger_parts.Profile, epsilon=CURVES, delta=CURVES, mu=NUMBER, mu_exact=st.booleans(), mu_slack=NUMBER,
    true_positive_rate=RATES, false_positive_rates=CURVES, true_positive_rates=CURVES, population=COUNT,
    warning=st.none() | st.just('weak'), true_positive_rate_example=st.none() | RATES)
SAMPLINGS = st.builds(Sampling, st.sampled_from([one for one in Scheme if one is not Scheme.BLOCKS]), st.text()) | (
    st.builds(Sampling, st.just(Scheme.BLOCKS), st.text(), COUNT))
EXAMPLES = st.builds(
    ledger_parts.PerExample,
    per_client=st.lists(st.builds(ledger_parts.ClientCost, examples=COUNT, rounds=COUNT, epsilon_rdp=NUMBER,
                                  epsilon=st.none() | NUMBER), max_size=3).map(tuple),
    gradients=st.none() | st.builds(ledger_parts.Clipping, ghost=st.booleans(), reason=st.text(),
                                    layers=st.dictionaries(st.text(), st.just('dense'), max_size=2)))
SHARES = st.builds(ledger_parts.NoiseShares, noise_sized_for_clients=COUNT, fewest_clients_in_a_sum=st.none() | COUNT,
                   share_stddev_steps=NUMBER, clip_norm_steps=NUMBER, opened_from_clients=COUNT, failed_rounds=COUNT)
LEDGERS = st.builds(
    tv.Ledger, mechanism=st.text(min_size=1).filter(lambda name: name not in ('none', 'inf')), epsilon=NUMBER,
    delta=st.floats(0, 1, exclude_max=True), unit=st.sampled_from(Unit), relation=st.sampled_from(Relation),
    sampling=SAMPLINGS, rounds=COUNT, accountant=st.sampled_from(Accountant), against_server=st.booleans(),
    best_of_random_runs=st.none() | st.floats(1, 1e6), epsilon_rdp=st.none() | NUMBER, noise_multiplier=NUMBER,
    clip_norm=NUMBER, replayed_rounds=COUNT, max_participations=st.none() | COUNT, noise_buffers=st.none() | COUNT,
    rounding_adds_to_sensitivity=st.none() | NUMBER, metrics_noise_multiplier=st.none() | NUMBER,
    shares=st.none() | SHARES, examples=st.none() | EXAMPLES, profile=st.none() | PROFILES)


@given(LEDGERS)
def test_json_gives_every_number_and_condition_back(made):
  content = made.to_json()
  assert all(content[name] == getattr(made, name) for name in ('epsilon', 'delta', 'rounds', 'clip_norm'))
  assert tv.Ledger.from_json(content) == made
  # In a file, infinity is a word.
  written = json.loads(json.dumps(content), parse_constant={'Infinity': 'inf'}.__getitem__)
  assert tv.Ledger.from_json(written) == made == ledger.of_report({'privacy': written})
  assert repr(made.epsilon_rdp) == repr(tv.Ledger.from_json(written).epsilon_rdp)
  left_out = made.to_json(clients=False, curve=False)
  assert not {'per_client', 'profile'} & left_out.keys() and left_out.items() <= content.items()


def test_numbers_of_numerical_libraries_become_plain_ones():
  made = tv.Ledger(**CONDITIONS | {'epsilon': np.float32(0.5), 'rounds': np.int64(3), 'delta': np.float64(1e-3)})
  assert [type(value) for value in (made.epsilon, made.rounds, made.delta)] == [float, int, float]
  json.dumps(made.to_json())


@pytest.mark.parametrize('unit', Unit)
def test_relations_are_read_as_they_are_written(unit):
  texts = {}
  for relation in Relation:
    for against_server in (False, True):
      texts[relation.describe(unit, against_server=against_server)] = (relation, against_server)
  assert len(texts) == 2 * len(Relation)
  assert {text: Relation.from_text(text, unit) for text in texts} == texts
  other = next(one for one in Unit if one != unit)
  with pytest.raises(ValueError, match=f'differ in one {other}'):
    Relation.from_text(next(iter(texts)), other)


def test_what_this_version_does_not_know_is_refused_and_earlier_versions_are_read():
  content = tv.Ledger(**CONDITIONS).to_json()
  with pytest.raises(ValueError, match='shuffler is no condition that this version knows'):
    tv.Ledger.from_json({**content, 'shuffler': 3})
  with pytest.raises(ValueError, match='relation .* is none between data sets that differ in one example'):
    tv.Ledger.from_json({**content, 'unit': 'example'})
  with pytest.raises(ValueError, match='share_stddev_steps'):  # A part of what belongs together.
    tv.Ledger.from_json({**content, 'noise_sized_for_clients': 3})
  written = {**content, 'sampling': 'cyclic, every 4 rounds', 'noise_sized_for_clients': 3,
             'fewest_clients_in_a_sum': None, 'share_stddev_steps': 9.5, 'clip_norm_steps': 40}
  earlier = tv.Ledger.from_json(written)
  assert earlier.to_json() == written
  assert earlier.sampling.scheme is Scheme.CYCLIC and earlier.shares.opened_from_clients is None
  assert ledger.of_report({}) == ledger.of_report({'privacy': {'mechanism': 'none'}}) == ledger.NoGuarantee()


PRIVATE = [name for name, fields in cases.CASES.items() if 'privacy' in fields]
MECHANISMS = {
    **{name: cases.CASES[name] for name in PRIVATE},
    'distributed_skellam': cases.CASES['distributed_gaussian'] | {'privacy': 'distributed_skellam'},
    'example_distributed': cases.CASES['distributed_gaussian'] | {
        'privacy': 'example_distributed', 'secure_bits': 20, 'client_epochs': 3, 'delta': 1e-4},
    'amplified': cases.CASES['dp_mf_blt'] | {'mf_strategy': 'amplified', 'mf_bands': 2, 'sampling': 'poisson'},
    'allocation': cases.CASES['client_gaussian'] | {'sampling': 'allocation', 'metrics_noise_multiplier': 4.0},
    'hidden': cases.CASES['client_gaussian'] | {'secure_sum': 'masks'}}


@pytest.fixture(name='plan_of', scope='module')
def _plan_of():
  task = built.task(record.config_of({}))
  return lambda name: experiment.build_plan(record.config_of(MECHANISMS[name]), task)


@pytest.mark.parametrize('name', MECHANISMS)
def test_every_mechanism_states_every_condition_and_what_was_recorded(plan_of, name):
  found = plan_of(name).final_ledger(2) if name in PRIVATE else plan_of(name).ledger(2)
  assert found.delta and found.rounds == 2 and found.epsilon_rdp is not None and found.clip_norm == 0.5
  assert found.mechanism.split()[0] == MECHANISMS[name]['privacy']
  assert bool(found.per_client) == (found.examples is not None) == (found.unit is Unit.EXAMPLE)
  assert (found.shares is not None) == ('distributed' in name)
  assert found.against_server == (name == 'local_dp' or found.shares is not None)
  assert tv.Ledger.from_json(json.loads(json.dumps(found.to_json()))) == found
  if name in PRIVATE:  # As reports were before ledgers were values.
    recorded = json.loads(record.EXPECTED.read_text())[name]['privacy']
    told = json.loads(json.dumps(found.to_json(curve=False)))
    assert told.keys() == recorded.keys()
    for key, value in recorded.items():
      assert told[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), key


def test_no_mechanism_is_left_out():
  assert {fields['privacy'] for fields in MECHANISMS.values()} == plan_lib.PLANS.keys() - {'none'}


def test_the_accountant_that_is_named_is_the_one_that_found_epsilon():
  """With noise this small, and with more kinds of clients than are asked, Renyi's bound is the one."""
  def build(sizes, **privacy):
    return plan_lib.build_plan(
        configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0, delta=1e-3, **privacy),
        configs.CohortConfig(cohort_size=len(sizes)), population=len(sizes), rounds=1, seed=0, sizes=sizes,
        client=configs.ClientConfig(batch_size=8)).ledger(1)

  assert build([40], noise_multiplier=2.0).accountant is Accountant.PLD
  many = build(list(range(65, 73)), noise_multiplier=4.0)  # Nine steps each, at nearly the same rate.
  assert many.accountant is Accountant.RDP
  assert many.epsilon == sorted((one.epsilon_rdp for one in many.per_client), reverse=True)[6]
  once = accounting.SampledGaussian(rounds=1, cohort_size=8, population=8, noise_multiplier=0.15, sampling='poisson')
  assert build([8], noise_multiplier=0.15).accountant is accounting.tightest(once.event(), 1e-3, once.relation)[1]


class Falsy(tff.aggregators.SumFactory):
  """A factory that is false, as one with a length of zero would be."""

  def __bool__(self):
    return False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(no_privacy.NoPrivacy):
  """A plan with an aggregator of its own, which no list of mechanisms names."""
  answer: object

  def aggregator(self, sum_factory):
    return self.answer


@pytest.mark.parametrize('asked', [{'aggregator': 'median'}, {'compression': 'uniform'}, {'aggregator': Falsy()}])
def test_an_aggregation_is_never_left_out_silently(asked):
  config, own = configs.AggregationConfig(**asked), Own(sampler=lambda round_num: np.arange(3), answer=Falsy())
  with pytest.raises(ValueError, match='does not go with the privacy mechanism'):
    stack.build_stack(own, config)
  assert stack.build_stack(own) is own.answer
  with pytest.raises(ValueError, match='does not go with secure_sum=masks'):
    secured.build_process(configs.SecureConfig(secure_sum='masks'), own, lambda **parts: None, tells=None,
                          aggregation=config)


def test_a_plan_that_says_nothing_of_its_aggregator_is_at_fault():
  for answer in (None, False, 'median'):
    own = Own(sampler=lambda round_num: np.arange(3), answer=answer)
    with pytest.raises(TypeError, match='Own.aggregator must return'):
      stack.build_stack(own)
    with pytest.raises(TypeError, match='Own.aggregator must return'):
      stack.build_secure_stack(own, tff.aggregators.SumFactory(), None)
  assert plan_lib.NoPrivacy(sampler=None).aggregator(None) is base.NO_AGGREGATOR
