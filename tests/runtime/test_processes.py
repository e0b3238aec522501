"""A process that is started here ends with everything that it has started, however it ends."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.runtime import workers
from tff_vision.runtime.driver import doorway
from tff_vision.runtime.worker import certificate_authority, nginx, processes, supervisor

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


def test_no_two_that_start_at_once_are_given_one_port():
  # Of the 14,000 ports that the kernel draws from, two times 250 draws hold about 9 pairs.
  script = ('from tff_vision.runtime.worker import processes\n'
            'print(*(processes.free_port() for _ in range(250)), flush=True)\ninput()')
  with subprocess.Popen([sys.executable, '-c', script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                        text=True) as other:
    theirs = {int(port) for port in other.stdout.readline().split()}
    ours = {processes.free_port() for _ in range(250)}
    other.stdin.write('\n')
  assert len(theirs) == len(ours) == 250 and not theirs & ours


def _is_there(pid):
  """Returns whether a process, perhaps an ended one, still has this number: nobody has waited for it."""
  return pathlib.Path(f'/proc/{pid}').exists()


def _started(tmp_path):
  return processes.Process(['true'], log=tmp_path / 'log', environment={'PATH': os.environ['PATH']})


def test_no_group_is_killed_whose_number_may_be_another_s(tmp_path, monkeypatch):
  """Several threads see the end at once; the slowest has looked long before it acts."""
  process, killed, slow = _started(tmp_path), [], threading.local()
  waitid = os.waitid

  def late(*arguments):
    found = waitid(*arguments)
    time.sleep(getattr(slow, 'seconds', 0))
    return found

  monkeypatch.setattr(os, 'waitid', late)
  monkeypatch.setattr(os, 'killpg', lambda pid, number: killed.append(_is_there(pid)))
  workers.wait_until(lambda: waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None)

  def look(seconds):
    slow.seconds = seconds
    assert process.exit_code == 0

  threads = [threading.Thread(target=look, args=[0.1 * number]) for number in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert killed == [True]


def test_a_process_that_another_has_waited_for_is_sent_nothing(tmp_path, monkeypatch):
  process, sent = _started(tmp_path), []
  workers.wait_until(lambda: pathlib.Path(f'/proc/{process.pid}/stat').read_text().split()[2] == 'Z')
  os.waitpid(process.pid, 0)
  for name in ('kill', 'killpg'):
    monkeypatch.setattr(os, name, lambda *given: sent.append(given))
  process.close()
  assert process.exit_code is not None and not sent


def test_a_signal_goes_to_no_number_that_another_has_waited_for(tmp_path, monkeypatch):
  process, sent = _started(tmp_path), []
  os.waitpid(process.pid, 0)
  monkeypatch.setattr(os, 'kill', lambda *given: sent.append(given))
  process._send(signal.SIGTERM)
  assert not sent


@pytest.fixture
def taken():
  """A port of the loopback interface where another program listens."""
  with socket.create_server(('127.0.0.1', 0)) as other:
    yield other.getsockname()[1]


@pytest.mark.parametrize(('host', 'said'), [
    ('127.0.0.1', 'Address already in use'), ('192.0.2.1', 'Cannot assign requested address'),
    ('a..b', 'this is no name of a host')])
def test_where_nothing_can_listen_is_named(host, said, taken):
  with pytest.raises(ValueError, match=f'port={taken} at host={host} cannot be listened at: {said}'):
    processes.check_free(host, taken)


def test_a_free_port_is_one():
  for host in ('127.0.0.1', 'localhost', '0.0.0.0'):
    processes.check_free(host, processes.free_port())


@workers.needs_nginx
@workers.needs_sandbox
def test_a_worker_does_not_take_another_program_at_its_port_for_itself(taken):
  with (pytest.raises(ValueError, match=f'port={taken} at host=127.0.0.1 cannot be listened at'),
        supervisor.Supervisor(supervisor.WorkerConfig(port=taken))):
    pass


@workers.needs_nginx
@workers.needs_ssh
def test_nor_does_a_doorway(taken, tmp_path):
  certificate_authority.make_authority(tmp_path)
  certificate_authority.make_worker(tmp_path, 'localhost')
  certificate_authority.make_dial_key(tmp_path, 'doorway')
  with (pytest.raises(ValueError, match=f'port={taken} at host=127.0.0.1 cannot be listened at'),
        doorway.Doorway(host='127.0.0.1', port=taken, cert=f'{tmp_path}/localhost.crt', key=f'{tmp_path}/localhost.key',
                        host_key=f'{tmp_path}/doorway', sites={'127.0.0.2:8443': f'{tmp_path}/doorway.pub'})):
    pass


@workers.needs_nginx
def test_nginx_serves_when_its_own_port_is_open(taken, tmp_path):
  (tmp_path / 'nginx.pid').write_text('1\n')  # Of one that was killed.
  command = nginx.command(tmp_path, host='127.0.0.1', port=taken, executor='127.0.0.1:1', tls=None)
  door = processes.Process(command, log=tmp_path / 'log', environment={'PATH': os.environ['PATH']})
  workers.wait_until(lambda: 'Address already in use' in door.last_words())
  assert not nginx.serves(tmp_path, door.pid)
  door.close()
  command = nginx.command(tmp_path, host='127.0.0.1', port=processes.free_port(), executor='127.0.0.1:1', tls=None)
  door = processes.Process(command, log=tmp_path / 'log', environment={'PATH': os.environ['PATH']})
  processes.wait_until(lambda: nginx.serves(tmp_path, door.pid), door, 30)
  door.close()
