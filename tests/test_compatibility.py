"""What goes together: the refusals that were recorded before the catalogue, their sentences, objects of one's own, and
the rounds that show what goes."""

import dataclasses
import pathlib

import numpy as np
import pytest

from tests.learning.tiny_experiments import experiment, hidden, train
from tff_vision import catalogue, configs
from tff_vision.catalogue import Row, Trait
from tff_vision.configs import compatibility, runtime_config
from tff_vision.data import records
from tff_vision.runtime.driver import remote

COHORTS = [[0, 1, 3], [1, 2]]
NOISE = {'clip_norm': 1.0, 'noise_multiplier': 1.0}
# Beside the setting itself, what it needs to be complete.
MORE = {
    **{f'privacy={name}': {'privacy': NOISE} for name in catalogue.names('privacy')},
    'privacy=dp_mf,amplified': {'privacy': {'privacy': 'dp_mf', 'mf_strategy': 'amplified', 'mf_bands': 2, **NOISE}},
    'secure_sum=he_keyholder': {'secure': {'key_holder_dir': 'keys'}},
    'aggregator=norm_clipping': {'aggregation': {'update_norm_bound': 1.0}},
    'aggregator=zeroing': {'aggregation': {'update_norm_bound': 1.0}},
    'task=anomaly': {'data': {'normal_class': '0'}, 'model': {'model': 'autoencoder'}},
}
SECTION = {field.name: (name, field) for name, section in configs.sections().items()
           for field in dataclasses.fields(section)}


def _config(*settings):
  """Returns the experiment with these settings, and the runtime."""
  parts, runtime = {}, {}
  for setting in settings:
    field, _, text = setting.partition('=')
    if field in ('runtime', 'data_placement'):
      runtime = {'runtime': 'workers', 'local_workers': 2} | ({'data_placement': text} if text == 'worker' else {})
      continue
    section, found = SECTION[field]
    value = text if found.type in (str, str | None) or isinstance(found.default, str) else float(text)
    parts.setdefault(section, {}).update({field: int(value) if found.type is int else value})
    for section, fields in MORE.get(setting, {}).items():
      parts.setdefault(section, {}).update(fields)
  made = configs.ExperimentConfig(**{name: configs.sections()[name](**fields) for name, fields in parts.items()})
  return made, runtime_config.RuntimeConfig(**runtime)


def _is_refused(*settings):
  try:
    made, runtime = _config(*settings)
    made.check(runtime)
  except ValueError as error:
    assert str(error).endswith('.') and '\n' not in str(error)
    return True
  return False


def test_what_was_refused_before_the_catalogue_is_refused_and_nothing_else():
  """Line by line: a setting beside each that stands below it, and every fifth of them beside one more."""
  lines = (pathlib.Path(__file__).parent / 'refusals.txt').read_text().splitlines()
  names = list(dict.fromkeys(line.partition('|')[0].strip() for line in lines if '|' in line))
  seen = written = 0
  for line in lines:
    if line.startswith('beside'):
      beside = [] if line.endswith('else') else [line.removeprefix('beside ')]
      continue
    name, _, marks = line.partition('|')
    for other, mark in zip(names[names.index(name.strip()) + 1:], marks, strict=False):
      written += 1
      if mark != ' ' and not (beside and written % 5):
        settings = (name.strip(), other, *beside)
        assert _is_refused(*settings) == (mark == 'x'), settings
        seen += 1
  assert seen > 3000


@pytest.mark.parametrize(('settings', 'sentence'), [
    (('algorithm=scaffold', 'privacy=client_gaussian', 'sampling=poisson'),
     'algorithm=scaffold does not go with privacy=client_gaussian: clients send a second quantity beside their update, '
     'and the mechanisms here bound and account for one.'),
    (('aggregator=median', 'secure_sum=masks'),
     'aggregator=median does not go with secure_sum=masks: the rule needs single updates, which the sum hides; '
     'norm_clipping and zeroing change each update by itself and go with it.'),
    (('privacy=client_gaussian',), 'privacy=client_gaussian needs sampling=poisson or allocation: its epsilon counts '
     'on every client being drawn independently, which a cohort of fixed size is not; found sampling=fixed.'),
    (('privacy=distributed_skellam', 'secure_sum=masks', 'secure_range=3.0'),
     'secure_range=3.0 has no effect with privacy=distributed_skellam: the range follows from clip_norm and the '
     'noise.'),
    (('algorithm=feddyn', 'proximal_strength=0.5'),
     'proximal_strength=0.5 has no effect with algorithm=feddyn; it is read by algorithm=fedprox or fednova.'),
    (('dataset=digits', 'corrupt_images=skip'), 'corrupt_images=skip has no effect with dataset=digits; it is read by '
     'dataset=coco or folder or leaf or medical_mnist or parquet or voc or webdataset.'),
    (('dataset=idx', 'label_case=merge'), 'label_case=merge has no effect with dataset=idx; it is read by '
     'dataset=folder or leaf or npz or parquet or voc or webdataset.'),
    (('dataset=npz', 'finding_separator=;'), 'finding_separator=; has no effect with dataset=npz; it is read by '
     'dataset=folder or leaf or parquet or webdataset.'),
    (('dataset=idx', 'test_fraction=0.4'), 'test_fraction=0.4 has no effect with dataset=idx; it is read by '
     'dataset=coco or digits or folder or leaf or medical_mnist or npz or parquet or voc or webdataset.'),
    (('compression=top_k', 'data_placement=worker'),
     'compression=top_k does not go with data_placement=worker: what a client has not sent yet travels with its '
     'examples.'),
])
def test_a_refusal_is_one_sentence_with_settings_and_reason(settings, sentence):
  with pytest.raises(ValueError) as error:
    made, runtime = _config(*settings)
    made.check(runtime)
  assert str(error.value) == sentence


def test_batches_of_one_are_refused_where_the_examples_of_a_batch_are_compared():
  embedding = configs.TaskConfig(task='embedding')
  configs.ExperimentConfig(task=embedding, client=configs.ClientConfig(batch_size=2))
  with pytest.raises(ValueError, match='batch_size=1 does not go with task=embedding: the loss compares the examples'):
    configs.ExperimentConfig(task=embedding, client=configs.ClientConfig(batch_size=1))


def test_with_one_model_ifca_goes_with_what_several_models_do_not():
  several = {'algorithm': configs.AlgorithmConfig(algorithm='ifca')}
  one = {'algorithm': configs.AlgorithmConfig(algorithm='ifca', ifca_clusters=1)}
  median = configs.AggregationConfig(aggregator='median')
  configs.ExperimentConfig(aggregation=median, **one)
  with pytest.raises(ValueError, match='aggregator=median does not go with algorithm=ifca'):
    configs.ExperimentConfig(aggregation=median, **several)


def test_a_bound_on_the_images_of_a_batch_is_refused_for_a_loss_of_ones_own_that_compares_them():
  class Ranking:
    row = Row('Ranking', traits=frozenset((Trait.COMPARES_EXAMPLES,)))

  private = configs.PrivacyConfig(privacy='example_dp_sgd', **NOISE)
  with pytest.raises(ValueError, match='privacy=example_dp_sgd does not go with task=.*Ranking: its loss compares'):
    configs.ExperimentConfig(task=configs.TaskConfig(task=Ranking()), privacy=private)


def test_an_object_says_itself_what_it_does_not_go_with():
  def model(input_shape, num_classes):
    del input_shape, num_classes

  model.row = Row('wide', refuses={Trait.HIDES_UPDATES: 'its updates are too long for a hidden sum'})
  configs.ExperimentConfig(model=configs.ModelConfig(model=model))
  with pytest.raises(ValueError, match='does not go with secure_sum=masks: its updates are too long'):
    configs.ExperimentConfig(model=configs.ModelConfig(model=model), secure=configs.SecureConfig(secure_sum='masks'))


def test_so_does_one_that_a_reference_stands_for(tmp_path, monkeypatch):
  (tmp_path / 'wide_models.py').write_text(
      'from tff_vision.catalogue import Row, Trait\n\n\ndef build(input_shape, num_classes):\n  return None\n\n\n'
      'build.row = Row("wide", refuses={Trait.HIDES_UPDATES: "its updates are too long for a hidden sum"})\n')
  monkeypatch.syspath_prepend(tmp_path)
  made = configs.ExperimentConfig(model=configs.ModelConfig(model='wide_models:build'),
                                  secure=configs.SecureConfig(secure_sum='masks'))
  with pytest.raises(ValueError, match='model=wide_models:build does not go with secure_sum=masks: its updates are'):
    made.check_references()


def test_a_function_of_ones_own_may_read_every_setting_of_the_data():
  given = {'pixel_range': '0,16', 'test_fraction': 0.3, 'label_case': 'keep', 'max_boxes': 3, 'image_column': 'x'}
  assert configs.DataConfig(dataset='my_data:images', **given).max_boxes == 3


def test_several_values_are_written_as_a_flag_takes_them():
  with pytest.raises(ValueError, match='^class_weights=1.0,2.0 has no effect with task=embedding; it is read by'):
    task = configs.TaskConfig(task='embedding', class_weights=(1, 2))
    configs.ExperimentConfig(task=task)


def test_a_part_of_a_config_is_checked_alone():
  private, cohort = configs.PrivacyConfig(privacy='dp_ftrl', **NOISE), configs.CohortConfig(sampling='round_robin')
  compatibility.check(private, cohort)
  with pytest.raises(ValueError, match='privacy=dp_ftrl needs sampling=round_robin'):
    compatibility.check(private, configs.CohortConfig(sampling='poisson'))


def test_krum_needs_more_clients_than_twice_the_attackers_and_two():
  for size, fraction, legal in (6, 0.4, False), (10, 0.4, False), (11, 0.4, True), (3, 0.2, False), (4, 0.2, True):
    parts = {'cohort': configs.CohortConfig(cohort_size=size),
             'aggregation': configs.AggregationConfig(aggregator='krum', tolerated_fraction=fraction)}
    if legal:
      configs.ExperimentConfig(**parts)
    else:
      with pytest.raises(ValueError, match='cohort_size'):
        configs.ExperimentConfig(**parts)


# One algorithm of each kind of composition: two quantities sent, a server that reads who took part, one number more.
@pytest.mark.parametrize(('algorithm', 'mode'), [
    ('scaffold', 'masks'), pytest.param('feddyn', 'he_keyholder', marks=pytest.mark.ci),
    pytest.param('fednova', 'he', marks=pytest.mark.ci)])
def test_hidden_sums_lead_to_the_same_model(tff_runtime, tmp_path, algorithm, mode):
  (plain, _, *measured), (found, _, also) = (
      train(experiment(algorithm, **secure).prepare(tff_runtime), COHORTS)
      for secure in ({}, {'secure': hidden(mode, tmp_path)}))
  assert 0 < np.abs(found - plain).max() < 2e-3
  # So do their metrics, whose sums have no rounding but that of a loss.
  measured.append(also)
  assert list(measured[0]) == list(measured[1]) == ['loss', 'accuracy', 'num_examples']
  for name in measured[0]:
    assert measured[1][name] == pytest.approx(measured[0][name], abs=2e-3 if name == 'loss' else 0)


def test_workers_lead_to_the_same_model_from_data_that_they_hold(tff_runtime, tmp_path):
  made = experiment('scaffold')
  plain, *_ = train(made.prepare(), COHORTS)
  clients = made.task.images.train
  for client in range(len(clients)):
    records.write(tmp_path / records.file_name(client), clients.examples(client))
  config = runtime_config.RuntimeConfig(runtime='workers', local_workers=2, data_placement='worker',
                                        worker_data_dir=str(tmp_path))
  with remote.remote_runtime(config) as runtime:
    found, *_ = train(experiment('scaffold', runtime=config).prepare(runtime), COHORTS)
  np.testing.assert_allclose(found, plain, atol=1e-5)
