"""Rows say what the code does: what they load is there, and their traits are those of what is loaded."""

import ast
import dataclasses
import pathlib
import subprocess
import sys

import pytest
import tensorflow_federated as tff

from flags import experiment_flags, privacy_flags, runtime_flags
from pipelines import helptext, launch
from tests import tiny
from tests.documents import commands
from tff_vision import catalogue, configs
from tff_vision.catalogue import Trait
from tff_vision.configs import runtime_config
from tff_vision.learning import learning_process
from tff_vision.privacy import plan

SECTIONS = (*configs.sections().values(), configs.LaunchConfig, runtime_config.RuntimeConfig)
FIELDS = {field.name: field for section in SECTIONS for field in dataclasses.fields(section)}
EVERY_ROW = [(field, name) for field, kind in catalogue.KINDS.items() for name in kind.rows]
# Their name says it all, or a setting makes them.
NOT_LOADED = {('aggregator', 'mean'), ('secure_sum', 'none'), ('attack', 'none'), ('model', 'keras_file'),
              ('client_shift', 'none'), ('contribution', 'none'),
              ('tracker', 'none'), *(pair for pair in EVERY_ROW if pair[0] in (
                  'mf_strategy', 'example_sampling', 'example_noise', 'quantity_distribution', 'data_placement'))}


def test_catalogue_configs_and_flags_need_no_tensorflow():
  program = ('import sys\nfrom flags import experiment_flags, groups, runtime_flags, study_flags\n'
             'groups.define((*experiment_flags.GROUPS, *runtime_flags.GROUPS))\nimport tff_vision.catalogue.tables\n'
             'heavy = {"tensorflow", "tensorflow_federated", "numpy", "scipy"} & set(sys.modules)\n'
             'sys.exit(", ".join(sorted(heavy)) or 0)')
  done = subprocess.run([sys.executable, '-c', program], cwd=commands.ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


def test_every_row_leads_somewhere_and_names_fields_that_exist():
  for field, name in EVERY_ROW:
    row = catalogue.row(field, name)
    assert row.about and '\n' not in row.about and not row.about.endswith('.'), name
    assert bool(row.loads) != ((field, name) in NOT_LOADED), (field, name)
    for reference in (row.loads, getattr(row, 'locates', '')):
      assert not reference or callable(catalogue.load(reference)), reference
    named = {*row.reads, *(limit.field for limit in row.limits), *row.needs_one_of[0],
             *(field for _, field, _ in row.traits_unless)}
    assert named <= set(FIELDS), (name, named - set(FIELDS))
    assert set(row.requires) <= set(row.reads)
    for limit in row.limits:
      if limit.field in catalogue.KINDS:
        assert set(limit.legal) <= set(catalogue.names(limit.field)), (name, limit)
  assert {field for field in catalogue.KINDS if field not in FIELDS} == {'format'}


def test_every_trait_is_had_and_every_clash_can_happen():
  had = {trait for field, name in EVERY_ROW for row in [catalogue.row(field, name)]
         for trait in (*row.traits, *(trait for trait, _, _ in row.traits_unless))}
  had |= {trait for kind in catalogue.KINDS.values() if kind.own for trait in kind.own.traits} | {Trait.PLAYS}
  assert had == set(Trait)
  assert {trait for pair in catalogue.CLASHES for trait in pair} <= had


def test_devices_are_the_fields_that_simulate_them():
  assert set(catalogue.mechanisms.DEVICES) == {
      field.name for field in dataclasses.fields(configs.CohortConfig)} - {'sampling', 'cohort_size'}


@pytest.mark.parametrize('name', catalogue.names('algorithm'))
def test_traits_and_traffic_of_an_algorithm_are_those_of_its_code(name):
  task = tiny.task(_normed if name == 'fedbn' else tiny.two_layers)
  config = configs.AlgorithmConfig(algorithm=name)
  made = learning_process.algorithm_of(task, config, configs.ClientConfig())
  said = {Trait.KEEPS_STATE: made.keeps, Trait.READS_SHARE: made.reads_share, Trait.SHOWS_MORE: made.shows,
          Trait.PERSONAL: made.personal}
  row = catalogue.row('algorithm', name)
  traits = row.traits_with(dataclasses.asdict(config))
  assert {trait: trait in traits for trait in said} == said
  model = sum(weight.shape.num_elements() for weight in task.keras_model().trainable_weights)
  shown = sum(tensor.shape.num_elements() for tensor in learning_process.shown(task, made))
  if row.shows == 'one number for each client':
    assert shown == len(task.images.train)
  models = {'one number for each client': shown / model, '0': 0,
            '1': 1, '`max_staleness`': config.max_staleness, '`ifca_clusters` - 1': config.ifca_clusters - 1}
  assert shown == models[row.shows] * model
  aggregator = tff.aggregators.MeanFactory()
  process = learning_process.build_process(
      task, algorithm=config, client=configs.ClientConfig(client_epochs=1 if name == 'fedsgd' else 2),
      server=configs.ServerConfig(), aggregator=_Noting(aggregator))
  assert process
  kept = task.keras_model().layers[-2 if name == 'fedbn' else -1]
  head = sum(weight.shape.num_elements() for weight in kept.trainable_weights)
  sent = {'1': model, '2': 2 * model, '1, and one number': model + 1, '1, without the personal layers': model - head,
          '1, and two numbers for each client and one': model + 2 * len(task.images.train) + 1,
          '`ifca_clusters`, and as many numbers': config.ifca_clusters * (model + 1)}
  assert _Noting.length == sent[row.sends]
  assert (Trait.SENDS_MORE in traits) == (_Noting.length != model)


def _normed(input_shape, num_classes):
  import tensorflow as tf
  plain = tiny.two_layers(input_shape, num_classes)
  return tf.keras.Sequential([tf.keras.layers.Input(input_shape), *plain.layers[:-1],
                              tf.keras.layers.LayerNormalization(), plain.layers[-1]])


class _Noting(tff.aggregators.WeightedAggregationFactory):
  """Notes how many numbers it is asked to aggregate."""

  def __init__(self, inner):
    self._inner = inner

  def create(self, value_type, weight_type):
    specs = tff.types.type_to_tf_tensor_specs(value_type)
    import tensorflow as tf
    type(self).length = sum(spec.shape.num_elements() for spec in tf.nest.flatten(specs))
    return self._inner.create(value_type, weight_type)


@pytest.mark.parametrize('name', [name for name in catalogue.names('privacy') if name != 'none'])
def test_traits_of_a_mechanism_are_those_of_its_plan(name):
  row = catalogue.row('privacy', name)
  sampling = {'dp_ftrl': 'round_robin', 'dp_mf': 'round_robin'}.get(name, 'poisson')
  made = plan.build_plan(
      configs.PrivacyConfig(privacy=name, clip_norm=1.0, noise_multiplier=0.3, delta=1e-3),
      configs.CohortConfig(sampling=sampling, cohort_size=4), population=20, rounds=3, seed=0, sizes=[10] * 20)
  assert (Trait.PROMISES in row.traits) == (not made.releases_exact_metrics) is True
  assert (Trait.CLIENTS_DRAW_NOISE in row.traits) == made.clients_draw_noise
  assert (row.noise == 'on the server') == (not made.clients_draw_noise)
  assert (Trait.CLIENT_LEVEL in row.traits) == (name not in ('example_dp_sgd', 'example_distributed'))
  assert (Trait.NOISES_SUM in row.traits) == (name not in ('example_dp_sgd', 'local_dp'))


def test_help_shows_titles_texts_and_choices(capsys):
  groups = (*experiment_flags.GROUPS, *runtime_flags.GROUPS, *privacy_flags.BUDGET_FILE)
  launch.define(groups)
  helptext.show(launch, groups, '')
  shown = capsys.readouterr().out
  for group in groups:
    assert f'\n{group.title}:\n' in shown
    assert all(f'  --{name}: ' in shown or f'  --[no]{name}: ' in shown for name in group.names)
  told = ' '.join(shown.split())
  for field, name in EVERY_ROW:
    if field not in ('dataset', 'format'):
      assert f'{name}: {catalogue.row(field, name).about}' in told, (field, name)


def test_whom_a_mechanism_protects_is_asked_of_its_row():
  """Tables say it in words; code asks for the trait, and compares with no name."""
  for name, row in catalogue.KINDS['privacy'].rows.items():
    given = {'clip_norm': 1.0, 'noise_multiplier': 1.0} if name != 'none' else {}
    assert configs.PrivacyConfig(privacy=name, **given).of_examples == (row.protects == 'one example of one client')
  names = catalogue.with_trait('privacy', Trait.EXAMPLE_LEVEL)
  assert len(names) > 1
  own = pathlib.Path(catalogue.__file__).parent
  for path in sorted(set(own.parent.rglob('*.py')) - set(own.glob('*.py'))):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Compare):
        constants = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
        assert not constants & set(names), f'{path}:{node.lineno} compares with {constants & set(names)}'
