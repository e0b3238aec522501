"""Every process of a federation is killed with SIGKILL during a run, one after the other: the weights stay the same."""

import contextlib
import dataclasses
import getpass
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.documents import commands
from tests.federation import guarded
from tests.runtime import workers
from tff_vision import configs, experiment
from tff_vision.federation import approval, rehearsal
from tff_vision.federation import plan as plan_lib
from tff_vision.runtime.worker import certificate_authority, processes

ROUNDS = 20
_HOSTS = {'north': '127.0.0.2', 'south': '127.0.0.3', 'west': '127.0.0.4'}
_RESTART_SECONDS = 0.5


class Service:
  """A command that is started again when it ends, as systemd does with Restart=always."""

  def __init__(self, folder, name, module, *options):
    self.name = name
    self.starts = 0
    self.log = folder / f'{name}.log'
    self._folder = folder
    self._command = [sys.executable, '-m', module, *map(str, options)]
    self._process, self._ended = None, 0.0
    self.tend()

  def tend(self):
    """Starts it if it does not run."""
    if self._process is not None:
      if self._process.poll() is None:
        return
      if not self._ended:
        self._ended = time.monotonic()
      if time.monotonic() < self._ended + _RESTART_SECONDS:
        return
    self.starts, self._ended = self.starts + 1, 0.0
    with open(self.log, 'ab') as log:
      self._process = subprocess.Popen(
          ['setpriv', '--pdeathsig', 'TERM', '--', *self._command], cwd=self._folder, stdin=subprocess.DEVNULL,
          stdout=log, stderr=log, env=os.environ | {'PYTHONPATH': str(commands.ROOT)})

  @property
  def exit_code(self):
    return self._process.poll()

  def pid(self, *program):
    """Returns the process of this program, below another one and so on, among those that the service has started."""
    found = [self._process.pid]
    for name in program:
      found = [below for pid in found for below in _below(pid) if _name(below) == name]
      if not found:
        return None
    return found[0]

  def stop(self):
    if self._process.poll() is None:
      self._process.terminate()
    self._process.wait(20)


def _below(pid):
  """Returns all processes that `pid` and those that it started have started."""
  found = [pid]
  for one in found:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
      for children in pathlib.Path(f'/proc/{one}/task').glob('*/children'):
        found.extend(int(child) for child in children.read_text().split())
  return found[1:]


def _name(pid):
  try:
    return pathlib.Path(f'/proc/{pid}/comm').read_text().strip()
  except (FileNotFoundError, ProcessLookupError):
    return None


def _finished(journal):
  """Returns the last round that is on disk."""
  if not journal.exists():
    return 0
  lines = [json.loads(line) for line in journal.read_text().splitlines(keepends=True) if line.endswith('\n')]
  return max([line['end'] for line in lines if 'end' in line], default=0)


@pytest.fixture(name='plan')
def _plan(tmp_path):
  """The plan, the sites' records and approvals, and everybody's keys, in `tmp_path`."""
  boxed = not workers.needs_sandbox.args[0]
  data = tmp_path / 'data'
  data.mkdir()
  guarded.write_files(data)
  port = {site: processes.free_port() for site in _HOSTS}
  base = guarded.plan('/data' if boxed else data, rounds=ROUNDS)
  plan = dataclasses.replace(
      base, runtime={**base.runtime, 'reconnect_timeout': 120.0},
      sites=tuple(plan_lib.Site(name=site, address=f'{host}:{port[site]}', clients=(f'{site}-1',))
                  for site, host in _HOSTS.items()))
  (tmp_path / 'plan.json').write_text(plan.to_json())
  certificate_authority.make_authority(tmp_path)
  certificate_authority.make_coordinator(tmp_path)
  certificate_authority.make_worker(tmp_path, 'localhost')
  certificate_authority.make_dial_key(tmp_path, 'doorway')
  rehearsed = rehearsal.rehearse(plan)
  for site, host in _HOSTS.items():
    certificate_authority.make_worker(tmp_path, host)
    certificate_authority.make_dial_key(tmp_path, f'{host}.dial')
    approval.write(approval.of(plan, site, rehearsed, spare_rounds=60, days=1), tmp_path / f'{site}.json',
                   tmp_path / f'{host}.key')
  return plan


def _worker(folder, site, address, door):
  host, port = address.split(':')
  boxed = not workers.needs_sandbox.args[0]
  return Service(
      folder, site, 'pipelines.worker', f'--port={port}', *(
          (f'--data_root={folder}/data',) if boxed else ('--sandbox=none',)),
      f'--tls_cert={host}.crt', f'--tls_key={host}.key', '--tls_client_ca=ca.crt', f'--approved={site}.json',
      f'--audit_log={site}.jsonl', f'--dial={getpass.getuser()}@localhost:{door}', f'--dial_as={address}',
      f'--dial_key={host}.dial', '--dial_host_key=doorway.pub', '--dial_ca=ca.crt')


def _kills(services, train):
  """Returns (name, function to the process) of everything that is killed, in order."""
  boxed = not workers.needs_sandbox.args[0]
  executor = 'executor' if boxed else 'worker_binary'
  return [
      ('a site\'s executor', lambda: services['north'].pid(executor)),
      ('a site\'s guard and supervisor', lambda: services['south'].pid()),
      ('a site\'s door', lambda: services['west'].pid('nginx')),
      ('the process of a site\'s door that has the connection', lambda: services['north'].pid('nginx', 'nginx')),
      ('a site\'s connection', lambda: services['north'].pid('ssh')),
      ('the TLS of a site\'s connection', lambda: services['south'].pid('openssl')),
      ('the coordinator\'s own executor', lambda: train.pid('worker_binary')),
      ('the doorway', lambda: services['doorway'].pid()),
      ('the door of the doorway', lambda: services['doorway'].pid('nginx')),
      ('sshd of the doorway', lambda: services['doorway'].pid('sshd')),
      ('the coordinator', lambda: train.pid()),
      *([('a sandbox', lambda: services['west'].pid('bwrap'))] if boxed else []),
  ]


@pytest.mark.ci
@workers.needs_nginx
@workers.needs_ssh
def test_whatever_is_killed_the_weights_are_those_of_an_undisturbed_run(plan, tmp_path):
  door, run = processes.free_port(), tmp_path / 'run'
  with contextlib.ExitStack() as stack:
    keys = ','.join(f'{site.address}={_HOSTS[site.name]}.dial.pub' for site in plan.sites)
    services = {'doorway': Service(
        tmp_path, 'doorway', 'pipelines.doorway', '--host=127.0.0.1', f'--port={door}', '--tls_cert=localhost.crt',
        '--tls_key=localhost.key', '--host_key=doorway', f'--sites={keys}')}
    for site in plan.sites:
      services[site.name] = _worker(tmp_path, site.name, site.address, door)
    train = Service(tmp_path, 'coordinator', 'pipelines.train', '--plan=plan.json', '--run_dir=run', '--tls_ca=ca.crt',
                    '--tls_cert=coordinator.crt', '--tls_key=coordinator.key', '--keep_secrets')
    for service in (*services.values(), train):
      stack.callback(service.stop)
    kills, killed, began = _kills(services, train), [], time.monotonic()
    while not (run / 'report.json').exists():
      assert time.monotonic() < began + 400, ''.join(one.log.read_text()[-1500:] for one in (*services.values(), train))
      for service in services.values():
        service.tend()
      if train.exit_code is not None:
        assert train.exit_code == -signal.SIGKILL, train.log.read_text()[-3000:]
        train._command += ['--resume'] * ('--resume' not in train._command)  # The report says: continue with --resume.
        train.tend()
      # One of them after each round or two, and the next when the run has gone on.
      if kills and _finished(run / 'secret' / 'journal.jsonl') > len(killed) * ROUNDS // (len(killed) + len(kills)):
        name, find = kills[0]
        if (pid := find()) is not None:
          os.kill(pid, signal.SIGKILL)
          killed.append(name)
          del kills[0]
      time.sleep(0.02)
    assert not kills, [name for name, _ in kills]
    assert services['south'].starts > 1 and services['doorway'].starts > 1
  report = json.loads((run / 'report.json').read_text())
  assert report['rounds'] == ROUNDS and all(record['cohort_size'] == 3 for record in report['history'])
  assert any('faults' in record for record in report['history'])
  theirs = experiment.run(
      plan.experiment(tmp_path / 'plan.json'), configs.LaunchConfig(run_dir=str(tmp_path / 'undisturbed')),
      runtime=dataclasses.replace(plan.run_by(local_workers=3), worker_data_dir=str(tmp_path / 'data')))
  import tensorflow as tf
  ours = tf.keras.models.load_model(run / 'export' / 'model.keras')
  for mine, yours in zip(ours.get_weights(), theirs.model.get_weights(), strict=True):
    np.testing.assert_array_equal(mine, yours)
