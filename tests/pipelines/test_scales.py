"""Numbers and grades through the real scripts: trained, evaluated, predicted and exported."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.documents import report_paths
from tests.pipelines.conftest import TINY

pytestmark = pytest.mark.ci


def _images(folder):
  """Returns a data set of grey images whose number is their brightness in the user's unit, and two image files."""
  rng = np.random.default_rng(0)
  x = np.clip(rng.integers(20, 230, (120, 1, 1, 1)) + rng.normal(0, 5, (120, 6, 6, 1)), 0, 255).astype(np.uint8)
  np.savez(folder / 'a.npz', x=x, weight=1000 + 10 * x.mean(axis=(1, 2, 3)), client=np.arange(120) % 4)
  for name, value in (('dark.png', 40), ('bright.png', 200)):
    (folder / name).write_bytes(tf.io.encode_png(np.full((6, 6, 1), value, np.uint8)).numpy())
  return [folder / 'dark.png', folder / 'bright.png']


def test_a_number_is_learned_and_predicted_in_the_users_unit(run_pipeline, tmp_path):
  files, run_dir = _images(tmp_path), tmp_path / 'run'
  flags = ('--dataset=npz', f'--data_dir={tmp_path / "a.npz"}', '--partition=natural', '--task=regression',
           '--target=weight', '--model=linear', '--client_learning_rate=0.05', '--cohort_size=4', '--rounds=30',
           '--rounds_per_evaluation=15', '--augment_brightness=0.02', f'--run_dir={run_dir}')
  done = run_pipeline('train', *flags)
  assert done.code == 0, done.err
  report = json.loads((run_dir / 'report.json').read_text())
  assert not report_paths.undocumented(report)
  evaluation = report['evaluation']
  assert evaluation['r2'] > 0.75 and evaluation['mae'] < 200
  assert report['task'] == {'name': 'regression', 'metric': 'mae'}
  assert report['per_client']['worst'] >= report['per_client']['mean'] and 'mae per client' in done.out
  assert 'Targets are learned in units' in report['model']['notes'][0]
  page = (run_dir / 'report.html').read_text()
  assert 'Test mean absolute error' in page and 'What the numbers are' in page and 'How training images vary' in page
  done = run_pipeline('predict', f'--run_dir={run_dir}', *files, f'--json={tmp_path / "found.json"}')
  assert done.code == 0 and 'of test images 90 % were within' in done.out, done.err
  numbers = [one['number'] for one in json.loads((tmp_path / 'found.json').read_text())['predictions'].values()]
  np.testing.assert_allclose(numbers, [1400, 3000], atol=400)
  done = run_pipeline('export', f'--run_dir={run_dir}', '--format=saved_model,tflite,hub')
  assert done.code == 0, done.err
  for card in run_dir / 'model_card.md', run_dir / 'deployment' / 'hub' / 'README.md':
    assert 'mean absolute error' in card.read_text() and 'distance in classes' not in card.read_text()
  served = tf.saved_model.load(str(run_dir / 'deployment' / 'saved_model' / '1')).signatures['serving_bytes']
  found = served(image_bytes=tf.constant([path.read_bytes() for path in files]))['number'].numpy()
  np.testing.assert_allclose(found[:, 0], numbers, rtol=1e-4)
  done = run_pipeline('train', *flags, '--privacy=client_gaussian', '--sampling=poisson', '--clip_norm=1',
                      '--noise_multiplier=1', f'--run_dir={tmp_path / "private"}')
  assert done.code == 1 and 'target_range is missing' in done.err and 'Traceback' not in done.err


def test_grades_are_learned_and_their_probabilities_predicted(run_pipeline, tmp_path):
  files, run_dir = _images(tmp_path), tmp_path / 'run'
  done = run_pipeline('train', *TINY, '--task=ordinal', f'--run_dir={run_dir}', '--model=linear')
  assert done.code == 0, done.err
  report = json.loads((run_dir / 'report.json').read_text())
  assert not report_paths.undocumented(report)
  assert -1 <= report['evaluation']['quadratic_weighted_kappa'] <= 1 and report['task']['metric'] == 'mae'
  assert len(report['where_it_is_wrong']['confusion']['counts']) == 10
  done = run_pipeline('predict', f'--run_dir={run_dir}', *files, f'--json={tmp_path / "found.json"}')
  assert done.code == 0, done.err
  for shares in json.loads((tmp_path / 'found.json').read_text())['predictions'].values():
    assert list(shares) == [str(digit) for digit in range(10)] and sum(shares.values()) == pytest.approx(1, abs=1e-5)
  done = run_pipeline('export', f'--run_dir={run_dir}', '--format=tflite')
  assert done.code == 0 and 'same decision 1.000' in done.out, done.err
  assert '| mean distance in classes |' in (run_dir / 'model_card.md').read_text()
  done = run_pipeline('train', *TINY, '--task=ordinal', '--class_order=1,2,3', f'--run_dir={tmp_path / "bad"}')
  assert done.code == 1 and 'must name each class once' in done.err and 'Traceback' not in done.err
