"""The speed benchmark's own parts: workloads, turns, the table, and a system that fails."""

import json
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.peers import running, workload


def test_workloads_by_name():
  work = workload.parse('10x100')
  assert (work.kind, work.images, work.name) == ('emnist', 1000, '10x100')
  assert workload.parse('cifar:10x50').shape == (32, 32, 3) and workload.parse('dp:3x7').name == 'dp:3x7'
  x, y = work.data()
  assert np.array_equal(np.concatenate([c for c, _ in work.clients_data()]), x.astype(np.float32) / 255)
  assert x.shape == (1000, 28, 28, 1) and y.max() < 62
  for wrong in ('10', 'x5', '0x5', 'mnist:1x1', '3x-1'):
    with pytest.raises(ValueError, match=wrong):
      workload.parse(wrong)


def test_a_system_counts_whole_rounds_until_the_time_is_over():
  script = ('import time\nfrom benchmarks.peers import protocol\n'
            'print("noise")\nprotocol.serve(lambda: (print("noise"), time.sleep(0.05)))')
  done = subprocess.run([sys.executable, '-c', script], input='0.2\n0\n', capture_output=True, text=True, check=True,
                        cwd=running.ROOT)
  first, timed, one = (json.loads(line) for line in done.stdout.splitlines() if line != 'noise')
  assert first['rounds'] == one['rounds'] == 1
  assert timed['seconds'] >= 0.2 and 1 <= timed['rounds'] <= 4


def test_a_system_that_does_not_start_is_said_and_the_others_go_on():
  found = running.measure(workload.parse('1x1'), {'no_such_system': sys.executable}, repetitions=1, seconds=0.0)
  assert 'No module named benchmarks.peers.no_such_system' in found['no_such_system']['error']
