"""The doctor as a whole: what it prints, what it returns, and that one broken check does not silence the others."""

import json
import pathlib
import subprocess
import sys

import pytest

from pipelines import doctor
from tff_vision.diagnosis.finding import Finding, Status

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_FINE = Finding('fine', Status.OK, 'as it should be')
_POOR = Finding('poor', Status.WARN, 'slow', 'wait')


def _breaks():
  raise ModuleNotFoundError("No module named 'psutil'")


def test_a_check_that_breaks_is_a_finding_and_the_rest_still_speak():
  found = list(doctor.run_checks({'first': lambda: [_FINE, _POOR], 'second': _breaks, 'third': lambda: _FINE}))
  assert [finding.status for finding in found] == [Status.OK, Status.WARN, Status.FAIL, Status.OK]
  assert 'psutil' in found[2].message and found[2].name == 'second'


@pytest.mark.parametrize('findings, fit', [([_FINE, _POOR], True), ([], True),
                                           ([_FINE, Finding('bad', Status.FAIL, 'gone', 'fetch it')], False)])
def test_warnings_are_fit_and_failures_are_not(findings, fit):
  assert doctor.as_json(findings)['fit'] is fit


def test_a_line_holds_the_mend_beside_what_is_wrong():
  assert _POOR.line().split() == ['warn', 'poor', 'slow', '->', 'wait']
  assert '->' not in _FINE.line()


def test_an_absent_dataset_is_no_fault_and_says_how_to_get_it(monkeypatch):
  from tff_vision.data.sources import installed
  monkeypatch.setattr(installed, 'report', lambda: [('digits', True, 'here'), ('emnist', False, 'fetch it')])
  here, absent = doctor.dataset_findings()
  assert (here.status, here.message, here.mend) == (Status.OK, 'here', '')
  assert (absent.status, absent.mend) == (Status.INFO, 'fetch it')
  assert doctor.as_json([here, absent])['fit']


def test_the_real_doctor_on_this_machine(tmp_path):
  numbers, output = tmp_path / 'findings.json', tmp_path / 'output'
  with output.open('w') as stream:
    done = subprocess.run([sys.executable, '-m', 'pipelines.doctor', f'--json={numbers}'], cwd=_ROOT, stdout=stream,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=300)
  lines = output.read_text().splitlines()
  report = json.loads(numbers.read_text())
  assert done.returncode == 0 and report['fit'], output.read_text()
  assert len(lines) == len(report['findings'])
  names = [finding['name'] for finding in report['findings']]
  assert names[:10] == ['platform', 'interpreter', 'lock', 'protobuf', 'tfds', 'tensorflow', 'worker', 'leftovers',
                        'cores', 'memory']
  assert 'data digits' in names
  for line, finding in zip(lines, report['findings'], strict=True):
    assert line.startswith(finding['status']) and finding['message'] in line and finding['mend'] in line


def test_an_argument_is_refused_in_one_sentence():
  done = subprocess.run([sys.executable, '-m', 'pipelines.doctor', 'digits'], cwd=_ROOT, capture_output=True, text=True,
                        stdin=subprocess.DEVNULL, timeout=60)
  assert done.returncode == 1 and "'digits'" in done.stderr and len(done.stderr.splitlines()) == 1
