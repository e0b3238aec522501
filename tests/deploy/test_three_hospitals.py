"""deploy/three_hospitals.sh as it stands: three addresses, three folders, encrypted, nothing left behind."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.runtime import workers

ROOT = pathlib.Path(__file__).parents[2]
HOSTS = ('127.0.0.1', '127.0.0.2', '127.0.0.3')


@pytest.mark.ci
@workers.needs_nginx
def test_three_hospitals_train_encrypted_on_data_of_their_own(tmp_path):
  out = tmp_path / 'out'
  port = next(port for port in range(18443, 19443, 7) if not workers.listening(port))
  with open(tmp_path / 'log', 'w') as log:
    done = subprocess.run([ROOT / 'deploy' / 'three_hospitals.sh', out, '--rounds=2', '--rounds_per_evaluation=1'],
                          cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=400, check=False,
                          env=os.environ | {'PYTHON': sys.executable, 'PORT': str(port), 'TF_CPP_MIN_LOG_LEVEL': '3'})
  said = (tmp_path / 'log').read_text()
  assert done.returncode == 0, said[-3000:] + ''.join(path.read_text()[-1000:] for path in out.glob('*.log'))
  report = json.loads((out / 'run' / 'report.json').read_text())
  assert report['secure_sum']['mode'] == 'he' and report['rounds'] == 2 and report['evaluation']['auc'] > 0.5
  assert all(record['cohort_size'] == 3 and 'faults' not in record for record in report['history'])
  for i in range(3):
    assert [path.name for path in (out / 'shards' / f'worker_{i}').iterdir()] == [f'client_{i:06d}.tfrecord']
  again = subprocess.run([ROOT / 'deploy' / 'three_hospitals.sh', out], capture_output=True, text=True, check=False)
  assert again.returncode == 1 and str(out) in again.stderr
