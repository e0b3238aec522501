"""pipelines.hospitals: every way at every hospital, epsilon of each, continued after a stop; mistakes in a sentence."""

import json

import numpy as np
import pytest

from tff_vision.hospitals import ways

SMALL = ('--dataset=synthetic_chest', '--rounds=1', '--private_rounds=2', '--personal_epochs=1', '--bootstraps=20')


@pytest.mark.ci
def test_all_ways_are_measured_and_a_second_run_trains_nothing_again(run_pipeline, tmp_path):
  folder = tmp_path / 'run'
  budget = (f'--budget_file={tmp_path / "budget"}', '--budget_epsilon=7', '--budget_delta=0.002')
  done = run_pipeline('hospitals', *SMALL, *budget, f'--run_dir={folder}', timeout=500)
  assert done.code == 0, done.err
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
  with np.load(folder / 'models/fedavg.npz') as plain, np.load(folder / 'models/encrypted.npz') as encrypted:
    off = max(np.abs(plain[name] - encrypted[name]).max() for name in plain.files if name != 'split')
  assert 0 < off < 3 * report['secure_sum']['encrypted']['step']
  for ledger in report['privacy'].values():
    epsilons = [one['epsilon'] for one in ledger['per_client']]
    assert max(epsilons) == pytest.approx(4.0, rel=0.03) and min(epsilons) < 0.9 * max(epsilons)
  assert report['secure_sum']['encrypted']['mode' if 'mode' in report['secure_sum']['encrypted'] else 'scheme']
  assert (folder / 'report.html').exists() and 'epsilon coast' in done.out
  before = {path: path.stat().st_mtime_ns for path in (folder / 'models').iterdir()}
  # Both private ways, hospital by hospital: more than one of them, less than their sum.
  assert report['budget_file']['runs'] == 2 and report['budget_file']['unit'] == 'example'
  assert 4.2 < report['budget_file']['epsilon'] < 7 and 'budget: 2 runs on this data cost epsilon' in done.out
  charged = (tmp_path / 'budget').read_text()
  done = run_pipeline('hospitals', *SMALL, *budget, f'--run_dir={folder}', timeout=500)
  assert (tmp_path / 'budget').read_text() == charged
  assert done.code == 0 and before == {path: path.stat().st_mtime_ns for path in (folder / 'models').iterdir()}
  assert json.loads((folder / 'report.json').read_text())['ways'] == report['ways']
  done = run_pipeline('hospitals', *SMALL, *budget, f'--run_dir={tmp_path / "again"}')
  assert done.code == 1 and 'does not fit: other runs on this data (2)' in done.err, done.err
  assert 'alone' not in done.out
  done = run_pipeline('hospitals', *SMALL, '--seed=1', f'--run_dir={folder}')
  assert done.code == 1 and 'seed is 0 there and 1 here' in done.err, done.err
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
