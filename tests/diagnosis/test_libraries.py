"""Trials of libraries: real ones in child interpreters, and what broken ones look like."""

import pytest

from tff_vision.diagnosis import libraries
from tff_vision.diagnosis.finding import Status


@pytest.mark.parametrize('code, output, error', [
    ('print("fine")', 'fine', ''),
    ('print("half"); raise ImportError("no runtime_version")', 'half', 'ImportError: no runtime_version'),
    ('import os, signal; os.kill(os.getpid(), signal.SIGILL)', '', 'ended by SIGILL'),
    ('import sys; sys.exit(3)', '', 'no message'),
])
def test_a_trial_tells_how_it_ended(code, output, error):
  assert libraries.try_code(code) == libraries.Trial(output=output, error=error)


def test_a_trial_that_hangs_is_ended():
  trial = libraries.try_code('import time; time.sleep(60)', limit_seconds=0.5)
  assert trial.error == 'no answer within 0.5 s'


@pytest.mark.parametrize('output, error, status, told', [
    ('4.25.9 upb', '', Status.OK, '4.25.9 (upb)'),
    ('5.29.0 upb', '', Status.FAIL, 'needs protobuf 4'),
    ('3.20.3 cpp', '', Status.FAIL, 'needs protobuf 4'),
    ('4.25.9 python', '', Status.WARN, '4.25.9 (python)'),
    ('4.25.9 upb', "ImportError: cannot import name 'runtime_version'", Status.FAIL, 'runtime_version'),
    ('', "ModuleNotFoundError: No module named 'google'", Status.FAIL, 'google'),
])
def test_protobuf(output, error, status, told):
  finding = libraries.protobuf_finding(libraries.Trial(output=output, error=error))
  assert finding.status is status and told in finding.message


def test_the_python_protobuf_runtime_is_seen_for_real(monkeypatch):
  assert libraries.protobuf_finding(libraries.try_code(libraries.PROTOBUF)).status is Status.OK
  monkeypatch.setenv('PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION', 'python')
  finding = libraries.protobuf_finding(libraries.try_code(libraries.PROTOBUF))
  assert finding.status is Status.WARN and 'unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION' in finding.mend


def test_a_tensorflow_datasets_without_load_fails(tmp_path, monkeypatch):
  assert libraries.try_code(libraries.TENSORFLOW_DATASETS).error == ''
  (tmp_path / 'tensorflow_datasets.py').write_text('__version__ = "4.9.10"\n')
  monkeypatch.setenv('PYTHONPATH', str(tmp_path))
  finding = libraries.import_finding('tfds', libraries.try_code(libraries.TENSORFLOW_DATASETS))
  assert finding.status is Status.FAIL and 'load' in finding.message


def test_an_illegal_instruction_points_at_the_processor():
  finding = libraries.import_finding('tensorflow', libraries.Trial(output='', error='ended by SIGILL'))
  assert finding.status is Status.FAIL and 'AVX' in finding.mend
