"""pipelines.hospitals: every way at every hospital, epsilon of each, continued after a stop; mistakes in a sentence."""

import json

import numpy as np
import pytest

from tff_vision.studies.hospitals import ways

SMALL = ('--dataset=synthetic_chest', '--rounds=1', '--private_rounds=2', '--personal_epochs=1', '--bootstraps=20')


@pytest.mark.ci
def test_all_ways_are_measured_and_a_second_run_trains_nothing_again(run_pipeline, tmp_path):
  folder = tmp_path / 'run'
  budget = (f'--budget_file={tmp_path / "budget"}', '--budget_epsilon=7', '--budget_delta=0.002')
  done = run_pipeline('hospitals', *SMALL, *budget, '--keep_secrets', f'--run_dir={folder}', timeout=500)
  assert done.code == 0, done.err
  models = folder / 'secret' / 'models'
  report = json.loads((folder / 'report.json').read_text())
  names = [one['hospital'] for one in report['hospitals']]
  assert sorted(names) == ['coast', 'metro', 'north']
  assert set(report['ways']) == {*map(ways.alone, names), *ways.WAYS}
  for way in report['ways'].values():
    for found in way['hospitals'].values():
      assert found['auc_interval'][0] <= found['auc'] <= found['auc_interval'][1] + 0.02
      assert 0 <= found['calibration_error'] <= 1 and sum(one['images'] for one in found['reliability']) == 400
  # Encryption changes nothing but rounding: a weight is a sum of three, each less than a step off, over shares of the
  # largest hospital that add up to more than one.
  with np.load(models / 'fedavg.npz') as plain, np.load(models / 'encrypted.npz') as encrypted:
    off = max(np.abs(plain[name] - encrypted[name]).max() for name in plain.files if name != 'split')
  assert 0 < off < 3 * report['secure_sum']['encrypted']['step']
  for ledger in report['privacy'].values():
    epsilons = [one['epsilon'] for one in ledger['per_client']]
    assert max(epsilons) == pytest.approx(4.0, rel=0.03) and min(epsilons) < 0.9 * max(epsilons)
  assert report['secure_sum']['encrypted']['mode' if 'mode' in report['secure_sum']['encrypted'] else 'scheme']
  assert (folder / 'report.html').exists() and 'epsilon coast' in done.out
  # Both private ways, hospital by hospital: more than one of them, less than their sum.
  assert report['budget_file']['runs'] == 2 and report['budget_file']['unit'] == 'example'
  assert 4.2 < report['budget_file']['epsilon'] < 7 and 'budget: 2 runs on this data cost epsilon' in done.out
  charged = (tmp_path / 'budget').read_text()
  assert all('share_of_second_class' not in one for one in report['hospitals'])
  before = {path: path.stat() for path in models.iterdir()}
  assert {found.st_mode & 0o777 for found in before.values()} == {0o600} and models.stat().st_mode & 0o777 == 0o700
  models.rename(folder / 'models')  # As earlier versions had it.
  done = run_pipeline('hospitals', *SMALL, *budget, '--keep_secrets', f'--run_dir={folder}', timeout=500)
  assert done.code == 0, done.err
  assert {path: found.st_mtime_ns for path, found in before.items()} == {
      path: path.stat().st_mtime_ns for path in models.iterdir()}
  assert (tmp_path / 'budget').read_text() == charged
  assert json.loads((folder / 'report.json').read_text())['ways'] == report['ways']
  done = run_pipeline('hospitals', *SMALL, *budget, f'--run_dir={tmp_path / "again"}')
  # By dp-accounting alone, 2 to 4 such runs cost 4.88, 6.15 and 7.28: one more would fit, and two do not.
  assert done.code == 1 and 'does not fit: other runs on this data (3) cost epsilon 6.1' in done.err, done.err
  assert 'alone' not in done.out
  done = run_pipeline('hospitals', *SMALL, '--seed=1', f'--run_dir={folder}')
  assert done.code == 1 and 'seed is 0 there and 1 here' in done.err, done.err
  for _ in range(2):  # Wipes the models; then there is nothing to do.
    done = run_pipeline('hospitals', *SMALL, f'--run_dir={folder}', timeout=500)
    assert done.code == 0 and 'epsilon coast' in done.out and not (folder / 'secret').exists(), done.err
  (folder / 'models' / 'any').mkdir(parents=True)
  for other in (folder / 'models', folder / 'report.json'):
    done = run_pipeline('hospitals', *SMALL, f'--run_dir={other}')
    assert done.code == 1 and str(other) in done.err and len(done.err.strip().splitlines()) == 1, done.err


@pytest.mark.parametrize(('flags', 'named'), [
    (['--algorithm=fedprox'], 'algorithm'), (['--privacy=local_dp'], 'privacy'),
    (['--private_epsilon=0'], 'private_epsilon'),
    (['--dataset=digits'], 'two classes'), (['--validation_share=1'], 'validation_share')])
def test_a_mistake_is_one_sentence(run_pipeline, tmp_path, flags, named):
  done = run_pipeline('hospitals', *flags, f'--run_dir={tmp_path / "run"}')
  assert done.code == 1 and named in done.err and len(done.err.strip().splitlines()) == 1, done.err
  assert not (tmp_path / 'run').exists()
