"""Worker processes: a real one once, broken ones, and leftovers."""

import os
import shutil
import subprocess

from tff_vision.diagnosis import workers
from tff_vision.diagnosis.finding import Status


class _Fake:
  """A worker that does not answer, or does not end."""
  pid = 4321

  def __init__(self, *, answers: bool, ends: bool):
    self._answers, self._ends, self._alive = answers, ends, True

  def wait_until_serving(self):
    if not self._answers:
      raise RuntimeError('The TFF executor on port 1 does not answer.')

  def alive(self):
    return self._alive

  def stop(self):
    self._alive = not self._ends


def test_the_installed_worker_starts_answers_and_ends():
  started = []

  def start():
    started.append(workers.start_worker())
    return started[0]

  finding = workers.worker_finding(start)
  assert finding.status is Status.OK, finding
  assert not os.path.exists(f'/proc/{started[0].pid}')


def test_a_silent_worker_fails_and_is_stopped():
  fake = _Fake(answers=False, ends=True)
  finding = workers.worker_finding(lambda: fake)
  assert finding.status is Status.FAIL and 'does not answer' in finding.message
  assert not fake.alive()


def test_a_worker_that_does_not_end_fails():
  finding = workers.worker_finding(lambda: _Fake(answers=True, ends=False))
  assert finding.status is Status.FAIL and '4321' in finding.mend


def test_a_worker_that_cannot_start_fails():
  def start():
    raise PermissionError(13, 'Permission denied', 'worker_binary')
  assert 'Permission denied' in workers.worker_finding(start).message


def test_leftovers_are_the_workers_without_a_python_program():
  found = [workers.Worker(pid=10, parent='python3.11', resident=10**9),
           workers.Worker(pid=11, parent='systemd', resident=5 * 10**8),
           workers.Worker(pid=12, parent='tini', resident=10**9)]
  finding = workers.leftovers_finding(found)
  assert finding.status is Status.WARN
  assert 'pid 11 holds 500 MB under systemd' in finding.message and 'pid 12' in finding.message
  assert finding.mend.startswith('kill 11 12 ')
  assert workers.leftovers_finding(found[:1]).status is Status.OK
  assert workers.leftovers_finding([]).status is Status.OK


def test_a_process_of_that_name_is_found_with_its_parent(tmp_path):
  fake = tmp_path / 'worker_binary'
  shutil.copy('/bin/sleep', fake)
  process = subprocess.Popen([str(fake), '60'])
  try:
    [found] = [worker for worker in workers.running_workers() if worker.pid == process.pid]
    assert 'python' in found.parent and found.resident > 0
  finally:
    process.kill()
    process.wait()
  assert process.pid not in [worker.pid for worker in workers.running_workers()]
