"""A newcomer's path, typed: README, own folders without a cohort, report, prediction, export, comparison."""

import json
import os

import numpy as np
import pytest

from tests import forked
from tests.documents import commands


@pytest.mark.ci
def test_from_the_readme_to_a_prediction(tmp_path):
  """Types what README links to, in an empty folder, and finds nothing there that was not asked for."""
  from PIL import Image
  assert 'docs/tutorials/own_folders.md' in (commands.ROOT / 'README.md').read_text()
  rng = np.random.default_rng(0)
  for owner in ('north', 'east', 'west'):
    for finding, level in (('healthy', 60), ('ill', 190)):
      folder = tmp_path / 'films' / owner / finding
      folder.mkdir(parents=True)
      for i in range(10):
        Image.fromarray(rng.normal(level, 20, (24, 24)).clip(0, 255).astype(np.uint8)).save(folder / f'{i}.png')

  def typed(*arguments):
    done = forked.run(['-m', *arguments], cwd=tmp_path, timeout=300, env=os.environ | {'PYTHONPATH': str(forked.ROOT)})
    told = done.stdout + done.stderr
    assert done.returncode == 0 and 'Traceback' not in told, told[-3000:]
    return told

  data = ('--dataset=folder', '--data_dir=films', '--partition=natural')
  typed('pipelines.describe_data', *data)
  told = typed('pipelines.train', *data, '--image_size=16', '--rounds=4', '--rounds_per_evaluation=1',
               '--run_dir=runs/films')
  assert 'note: all 3 clients take part in each round' in told and 'round 4/4  fedavg  accuracy' in told
  assert json.loads((tmp_path / 'runs' / 'films' / 'config.json').read_text())['cohort']['cohort_size'] == 3
  page = (tmp_path / 'runs' / 'films' / 'report.html').read_text()
  assert 'http-equiv="refresh"' not in page and 'healthy' in page
  assert 'ill' in typed('pipelines.predict', '--run_dir=runs/films', 'films/north/ill/0.png')
  typed('pipelines.export', '--run_dir=runs/films', '--format=saved_model,hub')
  assert (tmp_path / 'runs' / 'films' / 'deployment' / 'hub' / 'README.md').read_text().startswith('---\n')
  typed('pipelines.compare', 'runs')
  assert (tmp_path / 'runs' / 'comparison.html').exists()
  assert sorted(path.name for path in tmp_path.iterdir()) == ['films', 'runs']
