"""Every recipe is a legal experiment, names its numbers and its command, and runs, on generated data, as it stands."""

import json
import pathlib
import re

import pytest
from absl import flags
from absl.testing import flagsaver

from flags import experiment_flags, groups
from tests.pipelines.conftest import ROOT

FLAGFILES = sorted((ROOT / 'pipelines' / 'recipes').glob('*.flags'))
SMOKES = [path for path in FLAGFILES if path.stem.startswith('smoke_')]
RECIPES = [path for path in FLAGFILES if path not in SMOKES]


def _config(*files):
  """Returns the experiment that the files describe."""
  groups.define(experiment_flags.GROUPS)
  with flagsaver.flagsaver():
    flags.FLAGS(['train', *(f'--flagfile={path}' for path in files)])
    return experiment_flags.experiment_config()


@pytest.mark.parametrize('recipe', RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_legal_and_says_what_to_type(recipe):
  config = _config(recipe)
  assert config.cohort.cohort_size <= (config.data.num_clients or config.cohort.cohort_size)
  text = recipe.read_text()
  first = text.splitlines()[0]
  assert re.search(r'\d', first) or first.startswith('# Not run here, because the data must be downloaded.')
  assert str(recipe.relative_to(ROOT)) in text
  if first.startswith('# Not run'):
    (smoke,) = [path for path in SMOKES if f'--flagfile={path.relative_to(ROOT)}' in text]
    twin = _config(recipe, smoke)
    assert twin.data.dataset.startswith('synthetic_') and twin.program.rounds <= 5
    assert (twin.algorithm, twin.server, twin.model) == (config.algorithm, config.server, config.model)


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
