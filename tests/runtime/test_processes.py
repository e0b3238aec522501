"""A process that is started here ends with everything that it has started, however it ends."""

import os
import pathlib
import signal

import pytest

from tests.runtime import workers
from tff_vision.runtime.worker import processes

# As nginx: a master, and a worker that would go on without it.
_MASTER = 'sleep 300 & echo $! > child; wait'


@pytest.mark.parametrize('how', ['killed', 'closed', 'ended'])
def test_what_a_process_has_started_ends_with_it(how, tmp_path):
  script = _MASTER if how != 'ended' else 'sleep 300 & echo $! > child; exit 3'
  process = processes.Process(['sh', '-c', f'cd {tmp_path}; {script}'], log=tmp_path / 'log',
                              environment={'PATH': os.environ['PATH']})
  child = tmp_path / 'child'
  workers.wait_until(lambda: child.exists() and child.read_text().strip())
  pid = int(child.read_text())
  assert how == 'ended' or workers.alive(pid) and process.exit_code is None
  if how == 'killed':
    os.kill(process.pid, signal.SIGKILL)
  if how == 'closed':
    process.close()
  workers.wait_until(lambda: process.exit_code is not None)
  assert process.exit_code == {'killed': -signal.SIGKILL, 'closed': -signal.SIGTERM, 'ended': 3}[how]
  workers.wait_until(lambda: not workers.alive(pid))
  process.close()
  assert not pathlib.Path(f'/proc/{process.pid}').exists()
