"""deploy/three_hospitals.sh as it stands: a coordinator without data, hospitals that approve and dial outwards."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.runtime import workers

ROOT = pathlib.Path(__file__).parents[2]
SITES = ('north', 'south', 'west')


@pytest.mark.ci
@workers.needs_nginx
@workers.needs_ssh
def test_three_hospitals_train_encrypted_for_a_coordinator_without_data(tmp_path):
  out = tmp_path / 'out'
  port = next(port for port in range(18443, 19443, 7) if not any(workers.listening(port + i) for i in range(4)))
  with open(tmp_path / 'log', 'w') as log:
    done = subprocess.run(
        [ROOT / 'deploy' / 'three_hospitals.sh', out, '--rounds=2', '--rounds_per_evaluation=1', '--select_best=auc'],
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=900, check=False,
        env=os.environ | {'PYTHON': sys.executable, 'PORT': str(port)})
  said = (tmp_path / 'log').read_text()
  assert done.returncode == 0, said[-3000:] + ''.join(path.read_text()[-1000:] for path in out.glob('*.log'))
  report = json.loads((out / 'coordinator' / 'run' / 'report.json').read_text())
  assert report['secure_sum']['mode'] == 'he' and report['rounds'] == 2
  assert report['evaluation']['auc'] > 0.5 and report['federated']['examples'] == 1200
  assert all(record['cohort_size'] == 3 and 'faults' not in record for record in report['history'])
  assert all('validation' in record for record in report['history'])
  # The coordinator's folder holds no image and no record.
  mine = {path.suffix for path in (out / 'coordinator').rglob('*') if path.is_file()}
  assert not mine & {'.png', '.tfrecord', '.npz.gz'}
  for number, site in enumerate(SITES):
    prepared = sorted(path.name for path in (out / site / 'prepared').glob('*.tfrecord'))
    assert prepared == sorted(f'client_{number:06d}{split}.tfrecord' for split in ('', '.validation', '.test'))
    assert f'site {site} of 3' in (out / f'{site}.approval.txt').read_text()
    calls = [json.loads(line) for line in (out / site / 'audit.jsonl').read_text().splitlines()]
    assert calls and not any('refused' in json.dumps(call) for call in calls)
    # Nothing listens there but at the loopback interface.
    assert 'serving at 127.0.0.1:' in (out / f'{site}.log').read_text()
  left = subprocess.run(['pgrep', '-f', str(out)], capture_output=True, text=True, check=False).stdout
  assert not left, left
  again = subprocess.run([ROOT / 'deploy' / 'three_hospitals.sh', out], capture_output=True, text=True, check=False)
  assert again.returncode == 1 and str(out) in again.stderr
