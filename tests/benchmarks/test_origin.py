"""What benchmarks say of their numbers."""

import os
import pathlib
import re

from benchmarks import origin

ROOT = pathlib.Path(__file__).parent.parent.parent


def test_mean_and_deviation_by_hand():
  assert origin.spread([1.0, 2.0, 6.0]) == {'mean': 3.0, 'sd': 7 ** 0.5, 'values': [1.0, 2.0, 6.0]}
  assert origin.spread([5.0]) == {'mean': 5.0, 'sd': 0.0, 'values': [5.0]}


def test_machine_and_code_are_said():
  found = origin.measurement()
  assert found['cores'] == os.cpu_count() == origin.machine()['cores'] and found['processor']
  assert origin.commit().startswith(found['commit']) and re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ', found['time'])


def test_no_benchmark_says_it_in_another_way():
  for path in (ROOT / 'benchmarks').rglob('*.py'):
    if path.name != 'origin.py':
      assert not re.search(r'rev-parse|platform\.platform|/proc/cpuinfo|statistics\.stdev', path.read_text()), path.name
