"""A plan trains over its sites with no data set on the driver, and ends where the simulated run ends."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from tests.documents import report_paths
from tests.federation import plans
from tests.runtime import workers as workers_lib
from tff_vision import configs, experiment
from tff_vision.accounting import gdp
from tff_vision.federation import images as federation_images
from tff_vision.federation import plan as plan_lib


@pytest.fixture(name='files', scope='module')
def _files(tmp_path_factory):
  """The simulated data set, and the folder of the sites' files."""
  found, folder = plans.simulated(), tmp_path_factory.mktemp('sites') / 'data'
  plans.write_files(found, folder)
  return found, folder


_OPENED: list[str] | None = None


def _note(event, arguments):
  if event == 'open' and _OPENED is not None and isinstance(arguments[0], (str, bytes)):
    _OPENED.append(str(arguments[0]))


sys.addaudithook(_note)


def trained(plan, folder, *, workers=None, **launch):
  """Returns the result of a plan's run, whose files lie in `folder`, and the files that this process opened."""
  global _OPENED
  folder.mkdir(exist_ok=True)
  path = folder / 'plan.json'
  if not path.exists():
    path.write_text(plan.to_json())
  runtime = plan.run_by(local_workers=None if workers else 3)
  _OPENED = []
  try:
    result = experiment.run(plan.experiment(path), configs.LaunchConfig(run_dir=str(folder / 'run'), **launch),
                            runtime=runtime)
    return result, _OPENED
  finally:
    _OPENED = None


def weights(result):
  return [np.asarray(weight) for weight in result.model.get_weights()]


def same(one, other):
  return all(np.array_equal(*pair) for pair in zip(weights(one), weights(other), strict=True))


def simulated(config, folder):
  return experiment.run(config, configs.LaunchConfig(run_dir=str(folder / 'simulated')))


def test_weights_and_metrics_are_those_of_the_simulated_run(files, tmp_path):
  found, folder = files
  config = plans.experiment(program=configs.ProgramConfig(rounds=4, rounds_per_evaluation=1, select_best='loss'),
                            algorithm=configs.AlgorithmConfig(algorithm='scaffold'))
  theirs = simulated(config, tmp_path)
  plan = plans.of(config, found, folder, shares_site_metrics=True)
  ours, opened = trained(plan, tmp_path / 'plan')
  assert same(ours, theirs)
  assert not [path for path in opened if str(folder) in path or 'tfrecord' in path] and opened
  for name, value in theirs.evaluation.items():
    assert ours.evaluation[name] == pytest.approx(value, abs=1e-3), name
  for report in (ours.report, theirs.report):
    assert report['selection']['metric'] == 'loss'
  histories = [[record['validation'] for record in one.report['history']] for one in (ours, theirs)]
  assert histories[0] == histories[1] and len(histories[0]) == 4
  shared = ours.report['federated']
  assert shared['examples'] == ours.report['dataset']['num_test_examples'] == len(found.test.examples)
  assert sum(one['examples'] for one in shared['sites'].values()) == shared['examples'] and len(shared['sites']) == 3
  assert np.sum(shared['confusion']) == shared['examples']
  assert not report_paths.undocumented(ours.report)
  page = (tmp_path / 'plan' / 'run' / 'report.html').read_text()
  assert '<svg' in page
  made = ours.export('keras')
  assert made
  with pytest.raises(ValueError, match='no test images'):
    ours.export('tflite_int8', folder=tmp_path / 'int8')
  # The same folder goes on with the same plan only.
  other = tmp_path / 'plan' / 'plan.json'
  changed = json.loads(other.read_text())
  changed['sites'][0]['address'] = 'elsewhere:1'
  other.write_text(json.dumps(changed))
  with pytest.raises(ValueError, match='plan differ'):
    trained(plan, tmp_path / 'plan', resume=True)


@pytest.mark.ci
def test_hidden_sums_resume_and_early_stopping_over_a_plan(files, tmp_path):
  """Under masks: stopped after a round, then resumed, then ended by patience, as the run that was not stopped."""
  found, folder = files
  config = plans.experiment(
      program=configs.ProgramConfig(rounds=9, rounds_per_evaluation=1, select_best='accuracy', patience=2),
      client=configs.ClientConfig(client_epochs=1, client_learning_rate=2.0),
      cohort=configs.CohortConfig(cohort_size=4), secure=configs.SecureConfig(secure_sum='masks'))
  plan = plans.of(config, found, folder)
  ours, _ = trained(plan, tmp_path / 'plan', keep_secrets=True)
  chosen = ours.report['selection']
  values = [record['validation']['accuracy'] for record in ours.report['history']]
  assert chosen['round'] == 1 + int(np.argmax(values)) and max(values) == values[chosen['round'] - 1]
  assert 'sites' not in ours.report['federated']
  if chosen['stopped_early']:
    assert len(values) == chosen['round'] + 2 < 9
  assert ours.report['federated']['examples'] == len(found.test.examples)
  again, _ = trained(plan, tmp_path / 'plan', resume=True, keep_secrets=True)
  assert again.report['selection'] == chosen and same(ours, again)


@pytest.mark.ci
def test_example_level_privacy_evaluates_nothing_and_learns_from_counts(files, tmp_path):
  found, folder = files
  config = plans.experiment(
      program=configs.ProgramConfig(rounds=1, rounds_per_evaluation=1),
      privacy=configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0, noise_multiplier=1.0, delta=1e-4))
  ours, _ = trained(plans.of(config, found, folder), tmp_path / 'plan')
  assert len(ours.ledger.per_client) == 4 and np.isfinite(ours.ledger.epsilon)
  assert [one.examples for one in ours.ledger.per_client] == [found.train.num_examples(c) for c in range(4)]
  assert not ours.evaluation and 'federated' not in ours.report
  # With noise: numbers near the exact ones, and a ledger of held-out examples.
  noised = dataclasses.replace(
      config, privacy=dataclasses.replace(config.privacy, evaluation_noise_multiplier=2.0),
      program=dataclasses.replace(config.program, rounds=2, select_best='accuracy'))
  ours, _ = trained(plans.of(noised, found, folder), tmp_path / 'noised')
  assert not report_paths.undocumented(ours.report)
  cost = ours.report['evaluation_privacy']
  assert cost['epsilon'] == pytest.approx(gdp.epsilon(2**0.5 / 2, cost['delta'])) and cost['unit'] == 'example'
  assert ours.report['federated']['examples'] != len(found.test.examples)
  assert ours.report['federated']['examples'] == pytest.approx(len(found.test.examples), abs=20)
  assert 'confusion' not in ours.report['federated'] and 0 <= ours.evaluation['accuracy'] <= 1
  assert [set(record['validation']) for record in ours.report['history']] == [{'accuracy', 'examples'}] * 2
  with pytest.raises(ValueError, match='select_best=accuracy with privacy=example_dp_sgd needs'):
    dataclasses.replace(noised, privacy=config.privacy)


def test_a_client_whose_number_of_examples_nobody_says_is_named(files, tmp_path):
  found, _ = files
  plan = plans.of(plans.experiment(), found, tmp_path / 'nothing')
  with pytest.raises(ValueError, match='nobody says how many examples .* have'):
    trained(plan, tmp_path / 'plan')
  assert not (tmp_path / 'plan' / 'run').exists()
  with pytest.raises(ValueError, match='this machine has no images: those of client'):
    federation_images.of(plan).train.examples(0)


@pytest.mark.ci
@workers_lib.needs_nginx
@workers_lib.needs_sandbox
@pytest.mark.parametrize('hidden', ['none', 'he'])
def test_files_that_only_the_sites_workers_can_see(hidden, files, tmp_path):
  """The workers show their executors /data, which this machine does not have."""
  found, folder = files
  config = plans.experiment(secure=configs.SecureConfig(secure_sum=hidden), cohort=configs.CohortConfig(cohort_size=4))
  plan = plans.of(config, found, '/data')
  described, fleet = plan.described(), []
  for number, site in enumerate(described['sites']):
    mine = tmp_path / f'site_{number}'
    mine.mkdir()
    for client in [c for c, place in enumerate(plan.site_of_clients) if place == number]:
      for path in folder.glob(f'client_{client:06d}.*'):
        (mine / path.name).write_bytes(path.read_bytes())
    fleet.append(workers_lib.Worker(tmp_path, f'--data_root={mine}'))
    site['address'] = fleet[-1].address
  try:
    for worker in fleet:
      worker.wait_until_healthy()
    ours, _ = trained(plan_lib.of(described), tmp_path / 'plan', workers=True)
  finally:
    for worker in fleet:
      worker.stop()
  theirs = simulated(config, tmp_path)
  if hidden == 'none':
    assert same(ours, theirs)
  else:
    for mine, yours in zip(weights(ours), weights(theirs), strict=True):
      np.testing.assert_allclose(mine, yours, atol=1e-3)
  assert ours.evaluation['accuracy'] == pytest.approx(theirs.evaluation['accuracy'], abs=0.02)
