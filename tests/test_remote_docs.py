"""docs/how-to/remote.md and deploy/ can be followed as they stand."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest

from tests.runtime import workers
from tff_vision.runtime.worker import processes

ROOT = pathlib.Path(__file__).parents[1]
BLOCK = re.compile(r'<!-- run -->\n```sh\n(.*?)```', re.DOTALL)


@pytest.mark.ci
@workers.needs_nginx
@workers.needs_sandbox
def test_the_page_can_be_copied_into_a_shell(tmp_path):
  blocks = BLOCK.findall((ROOT / 'docs' / 'how-to' / 'remote.md').read_text())
  assert len(blocks) == 6
  ports = next(base for base in range(1100, 3200, 7) if not any(workers.listening(10 * base + i) for i in range(3)))
  environment = os.environ | {'PYTHONPATH': str(ROOT), 'PORT': str(ports), 'TF_CPP_MIN_LOG_LEVEL': '3',
                              'PATH': f'{pathlib.Path(sys.executable).parent}:{os.environ["PATH"]}'}
  script = 'set -euo pipefail\n' + '\n'.join(blocks)
  log = tmp_path / 'log'
  with open(log, 'wb') as output:
    shell = subprocess.Popen(['bash', '-c', script], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
                             stdout=output, stderr=output, start_new_session=True)
    try:
      assert shell.wait(400) == 0, log.read_text()[-3000:]
    finally:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGTERM)
  workers.wait_until(lambda: not any(workers.listening(10 * ports + i) for i in range(3)))


def test_the_page_names_flags_and_files_that_exist():
  from absl import flags

  from flags import experiment_flags, groups, runtime_flags
  groups.define((*experiment_flags.GROUPS, *runtime_flags.GROUPS, *runtime_flags.WORKER))
  text = (ROOT / 'docs' / 'how-to' / 'remote.md').read_text()
  scripts = {'dir', 'hosts', 'num_workers', 'out', 'json', 'no'}
  named = set(re.findall(r'--([a-z_]+)', text)) - scripts
  assert named and named <= set(flags.FLAGS), named - set(flags.FLAGS)
  for path in re.findall(r'`(deploy/[\w./-]+)`', text):
    assert (ROOT / path).exists(), path


@workers.needs_sandbox
def test_the_bubblewrap_line_serves_and_ends(tmp_path):
  for name in ('data', 'run'):
    (tmp_path / name).mkdir()
  process = processes.Process(
      [str(ROOT / 'deploy' / 'bubblewrap.sh'), processes.executor_binary(), str(tmp_path / 'data'),
       str(tmp_path / 'run')], log=tmp_path / 'log', environment=processes.executor_environment(1))
  try:
    processes.wait_until(lambda: processes.serves(str(tmp_path / 'run' / 'executor.sock')), process, 30)
  finally:
    process.close()
  workers.wait_until(lambda: not processes.listens(str(tmp_path / 'run' / 'executor.sock')))


@workers.needs_nginx
def test_the_container_door_is_a_configuration_that_nginx_takes(tmp_path):
  from tff_vision.runtime.worker import certificate_authority
  certificate_authority.make_authority(tmp_path)
  certificate_authority.make_worker(tmp_path, 'worker')
  text = (ROOT / 'deploy' / 'nginx.conf').read_text()
  (tmp_path / 'nginx.conf').write_text(text.replace('/tmp/', f'{tmp_path}/').replace('/run/secrets', str(tmp_path)))
  nginx = shutil.which('nginx') or '/usr/sbin/nginx'
  done = subprocess.run([nginx, '-t', '-e', 'stderr', '-p', str(tmp_path), '-c', str(tmp_path / 'nginx.conf')],
                        capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
