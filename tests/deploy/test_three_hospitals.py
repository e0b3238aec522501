"""deploy/three_hospitals.sh as it stands: a coordinator without data, hospitals that approve and dial outwards."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.runtime import workers
from tff_vision import configs

ROOT = pathlib.Path(__file__).parents[2]
SITES = ('north', 'south', 'west')
WAYS = {
    'masks': ('--secure_sum=masks', '--private_counts', '--most_examples=3000', '--select_best=auc'),
    'he': ('--secure_sum=he', '--privacy=example_dp_sgd', '--clip_norm=1', '--noise_multiplier=1', '--delta=1e-4')}
_DATA = re.compile(r'"[^"]*(\.png|\.tfrecord|/films|/prepared|manifest\.csv|site\.json)[^"]*"')


@pytest.mark.ci
@workers.needs_nginx
@workers.needs_ssh
@pytest.mark.parametrize('way', WAYS)
def test_three_hospitals_train_for_a_coordinator_without_data(way, tmp_path):
  out, trace = tmp_path / 'out', tmp_path / 'opened'
  traced = {'TRACE': str(trace)} if _can_trace() else {}
  port = next(port for port in range(18443, 19443, 7) if not any(workers.listening(port + i) for i in range(4)))
  with open(tmp_path / 'log', 'w') as log:
    done = subprocess.run(
        [ROOT / 'deploy' / 'three_hospitals.sh', out, '--rounds=2', '--rounds_per_evaluation=1', *WAYS[way]],
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=900, check=False,
        env=os.environ | {'PYTHON': sys.executable, 'PORT': str(port), **traced})
  said = (tmp_path / 'log').read_text()
  assert done.returncode == 0, said[-3000:] + ''.join(path.read_text()[-1000:] for path in out.glob('*.log'))
  report = json.loads((out / 'coordinator' / 'run' / 'report.json').read_text())
  assert report['rounds'] == 2 and report['secure_sum']['mode'] == way
  assert all('faults' not in record for record in report['history'])
  if way == 'he':
    _check_ledger(report, out)
  else:
    assert report['evaluation']['auc'] > 0.5 and report['federated']['examples'] == 1200
    assert all(record['cohort_size'] == 3 for record in report['history'])
    assert all('validation' in record for record in report['history'])
    _check_weights(out, tmp_path)
  # The coordinator's folder holds no image and no record, and its training opened none.
  mine = {path.suffix for path in (out / 'coordinator').rglob('*') if path.is_file()}
  assert not mine & {'.png', '.tfrecord', '.npz.gz'}
  if traced:
    opened = trace.read_text()
    assert 'plan.json' in opened and opened.count('openat(') > 1000
    assert not (found := _DATA.findall(opened)), found[:5]
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


def _can_trace():
  """Whether strace is installed, and the machine lets it follow a process."""
  if shutil.which('strace') is None:
    return False
  tried = subprocess.run(['strace', '-f', '--seccomp-bpf', '-o', os.devnull, 'true'], capture_output=True, check=False)
  return tried.returncode == 0


def _check_ledger(report, out):
  """What each hospital approved is what the run cost it, or more."""
  assert report['privacy']['unit'] == 'example' and len(report['privacy']['per_client']) == 3
  for site, cost in zip(SITES, report['privacy']['per_client'], strict=True):
    approved = float(re.search(r'epsilon ([\d.]+) after 2 rounds', (out / f'{site}.approval.txt').read_text()).group(1))
    assert 0 < cost['epsilon'] <= approved + 1e-3


def _check_weights(out, tmp_path):
  """The weights are those of the same rounds on this machine, with nothing hidden, up to the fixed point."""
  import tensorflow as tf

  from tff_vision import experiment
  from tff_vision.federation import plan as plan_lib
  together = tmp_path / 'together'
  together.mkdir()
  for site in SITES:
    for path in (out / site / 'prepared').glob('*.tfrecord'):
      shutil.copy(path, together)
  path = out / 'coordinator' / 'plan.json'
  plan = plan_lib.read(path)
  config = dataclasses.replace(plan.experiment(path), secure=configs.SecureConfig())
  here = dataclasses.replace(plan.run_by(local_workers=3), worker_data_dir=str(together))
  theirs = experiment.run(config, configs.LaunchConfig(run_dir=str(tmp_path / 'simulated')), runtime=here)
  ours = tf.keras.models.load_model(out / 'coordinator' / 'run' / 'export' / 'model.keras')
  for mine, yours in zip(ours.get_weights(), theirs.model.get_weights(), strict=True):
    np.testing.assert_allclose(mine, yours, atol=1e-3)


def test_a_folder_that_exists_is_not_overwritten(tmp_path):
  done = subprocess.run([ROOT / 'deploy' / 'three_hospitals.sh', tmp_path], capture_output=True, text=True, check=False)
  assert done.returncode == 1 and str(tmp_path) in done.stderr
