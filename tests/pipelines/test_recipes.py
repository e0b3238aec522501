"""Every recipe is a legal experiment, names its numbers and its command, and runs, on generated data, as it stands."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
from absl import flags
from absl.testing import flagsaver

from benchmarks import published_private, published_settings
from flags import experiment_flags, groups, study_flags
from tests.pipelines.conftest import ROOT

FLAGFILES = sorted((ROOT / 'pipelines' / 'recipes').glob('*.flags'))
SMOKES = [path for path in FLAGFILES if path.stem.startswith('smoke_')]
RECIPES = [path for path in FLAGFILES if path not in SMOKES]


def _config(*files, more=()):
  """Returns the experiment that the files describe, with further flags."""
  groups.define((*experiment_flags.GROUPS, *study_flags.HOSPITALS))
  with flagsaver.flagsaver():
    flags.FLAGS(['train', *(f'--flagfile={path}' for path in files), *more])
    return experiment_flags.experiment_config()


@pytest.mark.parametrize('recipe', RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_legal_and_says_what_to_type(recipe):
  config = _config(recipe)
  text = recipe.read_text()
  if 'python -m pipelines.hospitals' not in text:  # There all hospitals take part.
    assert config.cohort.cohort_size <= (config.data.num_clients or config.cohort.cohort_size)
  first = text.splitlines()[0]
  assert re.search(r'\d', first) or first.startswith('# Not run here, because the data must be downloaded.')
  assert str(recipe.relative_to(ROOT)) in text
  if first.startswith('# Not run'):
    (smoke,) = [path for path in SMOKES if f'--flagfile={path.relative_to(ROOT)}' in text]
    twin = _config(recipe, smoke)
    assert twin.data.dataset.startswith('synthetic_') and twin.program.rounds <= 5
    assert (twin.algorithm, twin.server, twin.model) == (config.algorithm, config.server, config.model)


@pytest.mark.parametrize('name', published_settings.SETTINGS)
def test_a_published_setting_is_a_recipe_that_names_its_number(name):
  setting = published_settings.SETTINGS[name]
  recipe = ROOT / 'pipelines' / 'recipes' / f'{setting.recipe}.flags'
  config, text = _config(recipe, more=setting.flags), recipe.read_text()
  number = re.findall(r'\d+(?:\.\d+)?', setting.published)[0]
  assert {number, f'{100 * float(number):.2f}', f'{100 * float(number):.1f}', f'{100 * float(number):g}'} & set(
      re.findall(r'\d+(?:\.\d+)?', text))
  assert f'python -m benchmarks.published --setting={name}' in text or setting.flags
  assert setting.fixed_features == (config.model.model == 'scatternet' and setting.recipe.startswith(
      ('mnist', 'fashion', 'cifar')))
  if setting.fixed_features:
    cell = published_private.cell_of(config)
    assert (cell.epsilon, cell.rounds, cell.num_clients) == (3, config.program.rounds, config.cohort.cohort_size)
  if setting.aim:
    assert config.program.rounds_per_evaluation == 1


def test_what_is_measured_of_a_report():
  def evaluated(number, accuracy, auc):
    return {'round': number, 'evaluation': {'accuracy': accuracy, 'auc': auc}}
  report = {
      'history': [{'round': 1}, evaluated(2, 0.5, 0.9), evaluated(3, 0.8, 0.6), {'round': 4}, evaluated(5, 0.7, 0.8)],
      'evaluation': {'accuracy': 0.7, 'auc': 0.8}, 'per_client': {'worst': 0.1}, 'seconds': {'train': 7.0},
      'unseen': {'evaluation': {'accuracy': 0.4}}, 'personal': {'own': {'mean': 0.6, 'worst': float('nan')}},
      'privacy': {'mechanism': 'none'}}
  found = published_settings.numbers_of
  assert found(report, 0.75) == {
      'accuracy': 0.7, 'auc': 0.8, 'best_accuracy': 0.8, 'best_auc': 0.9, 'rounds_to': 3, 'client_worst': 0.1,
      'unseen_accuracy': 0.4, 'own_mean': 0.6, 'train_seconds': 7.0}
  assert 'rounds_to' not in found(report, 0.81) and 'rounds_to' not in found(report, None)


@pytest.mark.ci
def test_a_published_setting_is_not_run_twice(tmp_path):
  done = []
  for name, seeds in (('one', 1), ('two', 1)):
    subprocess.run([sys.executable, '-m', 'benchmarks.published', '--setting=fashion_mnist_niid_two_fedavg',
                    f'--seeds={seeds}', '--rounds=1', *(f'--extra=--{flag}' for flag in (
                        'dataset=synthetic_shapes', 'client_epochs=1')), f'--work_dir={tmp_path}',
                    f'--json={tmp_path / name}.json'], cwd=ROOT, check=True)
    done.append(json.loads((tmp_path / f'{name}.json').read_text()))
  assert done[0]['runs'] == done[1]['runs'] and done[0]['accuracy']['seeds'] == 1
  assert done[0]['published'] == '0.7810 ± 0.0251' and done[0]['runs']['0']['train_seconds'] > 0


@pytest.mark.ci
def test_a_published_setting_runs_on_its_twin(run_pipeline, tmp_path):
  recipes = pathlib.Path('pipelines') / 'recipes'
  done = run_pipeline('train', f'--flagfile={recipes / "cifar10_dirichlet_scaffold.flags"}',
                      f'--flagfile={recipes / "smoke_cifar.flags"}', f'--run_dir={tmp_path / "run"}')
  assert done.code == 0, done.err
  report = json.loads((tmp_path / 'run' / 'report.json').read_text())
  assert report['rounds'] == 2 and report['config']['algorithm']['algorithm'] == 'scaffold'
  assert 0 < report['evaluation']['accuracy'] <= 1
  assert len(list((tmp_path / 'run' / 'secret' / 'client_states').glob('*/*.npz'))) >= 2
