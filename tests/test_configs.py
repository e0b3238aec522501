"""Configs: legal if they exist, exact JSON round trip, one flag for every field and back."""

import dataclasses
import json
import pathlib
import re

import pytest
from absl import flags
from hypothesis import given
from hypothesis import strategies as st

from flags import experiment_flags, federation_flags, groups, privacy_flags, runtime_flags, study_flags
from tff_vision import catalogue, configs, seeds
from tff_vision.configs import option

FIELDS = {field.name: (section, field.default) for section in (*configs.sections().values(), configs.LaunchConfig)
          for field in dataclasses.fields(section)}


@given(st.builds(
    configs.ExperimentConfig,
    data=st.builds(configs.DataConfig, num_clients=st.none() | st.integers(1, 10**6),
                   data_dir=st.none() | st.text(min_size=1), dataset=st.text(),
                   partition=st.sampled_from(catalogue.names('partition')))
    | st.builds(configs.DataConfig, partition_alpha=st.floats(1e-6, 1e6)),
    client=st.builds(configs.ClientConfig, client_learning_rate=st.floats(1e-9, 1e3)),
    cohort=st.just(configs.CohortConfig(sampling='poisson')),
    privacy=st.builds(configs.PrivacyConfig, privacy=st.just('client_gaussian'), clip_norm=st.floats(1e-3, 1e3),
                      noise_multiplier=st.just(0.0) | st.floats(1e-9, 100), target_epsilon=st.none())))
def test_json_round_trip_is_exact(config):
  assert configs.from_json(configs.to_json(config)) == config


def test_field_names_are_unique_over_all_sections():
  count = sum(len(dataclasses.fields(s)) for s in (*configs.sections().values(), configs.LaunchConfig))
  assert len(FIELDS) == count


def test_every_field_has_a_flag_with_its_default_and_every_flag_a_field():
  groups.define(experiment_flags.GROUPS)
  defined = {flag.name: flag.default for flag in groups.flags_of(experiment_flags.GROUPS)}
  assert flags.FLAGS['import'].default == defined['imports']  # An alias: no field can have a keyword's name.
  assert {name: tuple(default) if isinstance(default, list) else default for name, default in defined.items()} == {
      name: default for name, (_, default) in FIELDS.items()}


EVERY_GROUP = (*experiment_flags.GROUPS, *runtime_flags.GROUPS, *runtime_flags.WORKER, *privacy_flags.BUDGET_FILE,
               *study_flags.HOSPITALS, *study_flags.CONTROL, *study_flags.BUDGET, *federation_flags.SCHEMA,
               *federation_flags.SITES, *federation_flags.PLAN)


def test_every_field_has_one_text_and_stands_in_one_group_with_a_title():
  for section in {group.section for group in EVERY_GROUP}:
    named = [name for group in set(EVERY_GROUP) if issubclass(section, group.section) for name in group.names]
    assert sorted(named) == sorted(field.name for field in dataclasses.fields(section)), section.__name__
    for field in dataclasses.fields(section):
      said = option.of(field).about
      assert said.endswith('.') and len(said) > 10, field.name
      # What a class says of itself does not say it again.
      assert not re.search(rf'^ *{field.name}: ', section.__doc__, re.MULTILINE), field.name
  assert all(group.title and group.title[0].isupper() and len(group.names) <= 14 for group in EVERY_GROUP)


def test_no_module_of_flags_defines_one_by_hand():
  for path in pathlib.Path(groups.__file__).parent.glob('*.py'):
    if path.stem != 'groups':
      assert 'DEFINE' not in path.read_text(), path.name


@pytest.mark.parametrize('change', [{'surprise': 1}, {'seed': None, 'delete': 'seed'}])
def test_a_config_with_unknown_or_missing_fields_is_refused(change):
  content = json.loads(configs.to_json(configs.ExperimentConfig()))
  content['program'] |= change
  if 'delete' in change:
    del content['program'][content['program'].pop('delete')]
  with pytest.raises(ValueError, match='surprise|seed'):
    configs.from_json(json.dumps(content))


@pytest.mark.parametrize(('section', 'field', 'value'), [
    (configs.DataConfig, 'partition_alpha', 0.0), (configs.DataConfig, 'partition_alpha', float('nan')),
    (configs.DataConfig, 'num_clients', 0), (configs.DataConfig, 'partition', 'pathological'),
    (configs.ModelConfig, 'model', 'resnet1'), (configs.AlgorithmConfig, 'proximal_strength', -1.0),
    (configs.ClientConfig, 'batch_size', 0), (configs.ClientConfig, 'client_learning_rate', -0.1),
    (configs.ServerConfig, 'server_optimizer', 'lamb'), (configs.CohortConfig, 'cohort_size', 0),
    (configs.ProgramConfig, 'rounds', 0), (configs.ProgramConfig, 'seed', -1),
    (configs.PrivacyConfig, 'privacy', 'dp'), (configs.PrivacyConfig, 'target_epsilon', 1.0),
    (configs.PrivacyConfig, 'noise_multiplier', 1.0)])
def test_an_illegal_value_is_named(section, field, value):
  with pytest.raises(ValueError) as error:
    section(**{field: value})
  assert field in str(error.value) and repr(value).strip("'") in str(error.value)


@pytest.mark.parametrize(('wrong', 'match'), [
    ({'noise_multiplier': 1.0}, 'clip_norm'), ({'clip_norm': 1.0}, 'exactly one'),
    ({'clip_norm': 1.0, 'noise_multiplier': 1.0, 'target_epsilon': 1.0}, 'exactly one'),
    ({'clip_norm': 1.0, 'noise_multiplier': 1.0, 'delta': 1.0}, 'delta'),
    ({'clip_norm': 1e300, 'noise_multiplier': 1.0}, 'clip_norm must lie in 1e-30..1e\\+30, found 1e\\+300'),
    ({'clip_norm': 1e-300, 'noise_multiplier': 1.0}, 'clip_norm must lie in'),
    ({'clip_norm': 1.0, 'noise_multiplier': 1e-300}, 'noise_multiplier must be at least 1e-09, found 1e-300'),
    ({'clip_norm': 1.0, 'noise_multiplier': 1.0, 'metrics_noise_multiplier': 1e-300}, 'metrics_noise_multiplier must')])
def test_a_mechanism_without_its_parameters_is_refused(wrong, match):
  with pytest.raises(ValueError, match=match):
    configs.PrivacyConfig(privacy='client_gaussian', **wrong)


@pytest.mark.parametrize('stddev', [1e-300, 1e300])
def test_noise_on_counts_has_the_bounds_of_noise(stddev):
  with pytest.raises(ValueError, match='count_stddev must be at'):
    configs.PrivacyConfig(privacy='client_adaptive', clip_norm=1.0, noise_multiplier=1.0, count_stddev=stddev)


@given(st.integers(0, 2**40), st.lists(st.integers() | st.text(), max_size=3), st.lists(st.integers() | st.text(),
                                                                                     max_size=3))
def test_seeds_differ_where_paths_differ(root, one, other):
  assert 0 <= seeds.derive(root, *one) < 2**63
  assert (seeds.derive(root, *one) == seeds.derive(root, *other)) == (one == other)


@pytest.mark.parametrize(('sections', 'match'), [
    ({'algorithm': {'algorithm': 'fedbuff'}}, 'over_selection or round_deadline'),
    ({'algorithm': {'algorithm': 'scaffold'}, 'client': {'client_optimizer': 'sgdm'}},
     'client_optimizer=sgdm.*scaffold'),
    ({'algorithm': {'algorithm': 'feddyn'}, 'server': {'server_optimizer': 'adam'}}, 'server_optimizer=adam.*feddyn'),
    ({'algorithm': {'algorithm': 'fedsgd'}}, 'client_epochs=3.*fedsgd'),
    ({'privacy': {'privacy': 'example_dp_sgd', 'clip_norm': 1.0, 'noise_multiplier': 1.0},
      'schedule': {'client_schedule': 'cosine'}}, 'client_schedule=.*example_dp_sgd'),
    ({'privacy': {'privacy': 'client_gaussian', 'clip_norm': 1.0, 'noise_multiplier': 1.0},
      'cohort': {'sampling': 'poisson'}, 'algorithm': {'client_weighting': 'examples'}},
     'client_weighting=examples .*client_gaussian'),
    ({'privacy': {'privacy': 'local_dp', 'clip_norm': 1.0, 'noise_multiplier': 1.0},
      'algorithm': {'client_weighting': 'examples'}}, 'client_weighting=examples .*local_dp')])
def test_sections_that_do_not_fit_are_refused(sections, match):
  with pytest.raises(ValueError, match=match):
    configs.ExperimentConfig(**{name: configs.sections()[name](**fields) for name, fields in sections.items()})


@pytest.mark.parametrize(('section', 'fields'), [
    ('algorithm', {'feddyn_strength': 0.5}), ('algorithm', {'proximal_strength': 0.5}),
    ('algorithm', {'algorithm': 'fedprox', 'max_staleness': 2}), ('client', {'client_momentum': 0.5}),
    ('server', {'server_momentum': 0.5}), ('server', {'server_epsilon': 0.1}), ('schedule', {'schedule_final': 0.1}),
    ('schedule', {'client_schedule': 'cosine', 'schedule_step_rounds': 5}),
    ('task', {'embedding_size': 5}), ('task', {'task': 'anomaly', 'embedding_size': 5}),
    ('data', {'classes_per_client': 3}), ('data', {'partition': 'iid', 'partition_alpha': 0.1}),
    ('data', {'partition': 'dirichlet_equal', 'min_client_examples': 5}),
    ('data', {'partition': 'quantity', 'partition_alpha': 0.1}),
    ('data', {'partition': 'quantity', 'quantity_distribution': 'dirichlet', 'quantity_sigma': 2.0})])
def test_what_nothing_reads_is_refused(section, fields):
  with pytest.raises(ValueError, match=f'{[*fields][-1]}=.* has no effect with'):
    configs.sections()[section](**fields)
