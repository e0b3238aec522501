"""Checks libraries that can fail silently; each is tried in its own interpreter.

Each trial runs in a child interpreter, because it may end with a signal (a processor without AVX), and because its
imports must not stay in the calling program.
"""

import dataclasses
import os
import signal
import subprocess
import sys

from tff_vision.diagnosis import lock
from tff_vision.diagnosis.finding import Finding, Status

PROTOBUF = """
import google.protobuf
from google.protobuf.internal import api_implementation
print(google.protobuf.__version__, api_implementation.Type())
from tensorflow_metadata.proto.v0 import schema_pb2
"""
TENSORFLOW_DATASETS = 'import tensorflow_datasets; tensorflow_datasets.load; print(tensorflow_datasets.__version__)'
TENSORFLOW_FEDERATED = """
import tensorflow, tensorflow_privacy, tensorflow_federated
print('TensorFlow', tensorflow.__version__, 'and TensorFlow Federated', tensorflow_federated.__version__)
"""
_PROTOBUF_MAJOR = '4'
_LIMIT_SECONDS = 180


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
  """What a child interpreter printed, and why it failed (empty if it did not)."""
  output: str
  error: str = ''


def try_code(code: str, limit_seconds: float = _LIMIT_SECONDS, *, with_devices: bool = False) -> Trial:
  """Runs `code` in a new interpreter of the same environment, with TensorFlow's log turned off.

  Args:
    with_devices: Whether the code may use GPUs; starting them takes seconds, and may fail.
  """
  environment = {**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'} | ({} if with_devices else {'CUDA_VISIBLE_DEVICES': ''})
  try:
    done = subprocess.run([sys.executable, '-c', code], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=limit_seconds, env=environment, check=False)
  except subprocess.TimeoutExpired:
    return Trial(output='', error=f'no answer within {limit_seconds:g} s')
  if done.returncode < 0:
    return Trial(output=done.stdout.strip(), error=f'ended by {signal.Signals(-done.returncode).name}')
  if done.returncode:
    return Trial(output=done.stdout.strip(), error=(done.stderr.strip().splitlines() or ['no message'])[-1])
  return Trial(output=done.stdout.strip())


def protobuf_finding(trial: Trial) -> Finding:
  """Checks the trial of `PROTOBUF`: the runtime's major version, implementation, and reading of generated code."""
  version, _, implementation = trial.output.partition(' ')
  told = f'{version} ({implementation})'
  if not implementation:
    return Finding(name='protobuf', status=Status.FAIL, message=trial.error, mend=lock.INSTALL_LOCK)
  if version.split('.')[0] != _PROTOBUF_MAJOR:
    return Finding(name='protobuf', status=Status.FAIL, message=f'{told}: TensorFlow 2.14 needs protobuf 4',
                   mend=lock.INSTALL_LOCK)
  if trial.error:
    return Finding(name='protobuf', status=Status.FAIL, message=f'{told}, tensorflow-metadata: {trial.error}',
                   mend=lock.INSTALL_LOCK)
  if implementation == 'python':
    return Finding(name='protobuf', status=Status.WARN, message=f'{told}: about a hundred times slower than upb',
                   mend='unset PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION')
  return Finding(name='protobuf', status=Status.OK, message=told)


def import_finding(name: str, trial: Trial) -> Finding:
  """Checks the trial of an import; any error means that a run would fail."""
  if not trial.error:
    return Finding(name=name, status=Status.OK, message=trial.output)
  mend = lock.INSTALL_LOCK
  if trial.error.endswith('SIGILL'):
    mend = 'TensorFlow needs a processor (or an emulator) with AVX instructions: use another machine'
  return Finding(name=name, status=Status.FAIL, message=trial.error, mend=mend)
