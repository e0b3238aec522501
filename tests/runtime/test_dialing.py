"""Sites that open one connection outwards: called through it, through a proxy too, again after a loss, and no more."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.runtime import workers
from tff_vision.configs import dial_config, runtime_config
from tff_vision.runtime.driver import doorway, remote
from tff_vision.runtime.worker import certificate_authority, dialing, processes

ROOT = pathlib.Path(__file__).parents[2]


@tff.tensorflow.computation(np.int32)
def double(x):
  return 2 * x


@tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
def doubled(values):
  return tff.federated_sum(tff.federated_map(double, values))


@pytest.fixture(scope='module')
def pki(tmp_path_factory):
  folder = tmp_path_factory.mktemp('pki')
  certificate_authority.make_authority(folder)
  certificate_authority.make_coordinator(folder)
  for host in ('127.0.0.2', '127.0.0.3', 'localhost'):
    certificate_authority.make_worker(folder, host)
    certificate_authority.make_dial_key(folder, f'{host}.dial')
  certificate_authority.make_dial_key(folder, 'doorway')
  return folder


@contextlib.contextmanager
def served(pki, port, sites):
  """The coordinator's doorway in a process of its own."""
  process = subprocess.Popen(
      ['setpriv', '--pdeathsig', 'TERM', '--', sys.executable, '-m', 'pipelines.doorway', '--host=127.0.0.1',
       f'--port={port}', f'--tls_cert={pki}/localhost.crt', f'--tls_key={pki}/localhost.key',
       f'--host_key={pki}/doorway', f'--sites={",".join(f"{address}={key}" for address, key in sites.items())}'],
      cwd=ROOT, stdin=subprocess.DEVNULL, stderr=open(pki / f'doorway-{port}.log', 'wb'))
  try:
    workers.wait_until(lambda: processes.listens(('127.0.0.1', port)) or process.poll() is not None)
    assert process.poll() is None, (pki / f'doorway-{port}.log').read_text()
    yield process
  finally:
    process.terminate()
    process.wait(10)


def options(pki, port, site, worker_port, **more):
  found = {'dial': f'{_user()}@localhost:{port}', 'dial_as': f'{site}:{worker_port}', 'dial_key': f'{pki}/{site}.dial',
           'dial_host_key': f'{pki}/doorway.pub', 'dial_ca': f'{pki}/ca.crt', **more}
  return [f'--{name}={value}' for name, value in found.items()]


def _user():
  import getpass
  return getpass.getuser()


def _children_named(name):
  """Returns the processes of this name that this process, or init in its place, is the parent of."""
  found = subprocess.run(['pgrep', '-x', name], capture_output=True, text=True, check=False).stdout.split()
  return [pid for pid in found if b'localhost' in _command(pid)]


def _command(pid):
  try:
    return pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()
  except (FileNotFoundError, ProcessLookupError):  # It has ended meanwhile.
    return b''


class Proxy:
  """An HTTP proxy that knows CONNECT; `asked` has the places to which it was asked to connect."""

  def __init__(self):
    self.asked = []
    self._listener = socket.create_server(('127.0.0.1', 0))
    self.port = self._listener.getsockname()[1]
    threading.Thread(target=self._serve, daemon=True).start()

  def _serve(self):
    while True:
      client, _ = self._listener.accept()
      head = b''
      while b'\r\n\r\n' not in head:
        head += client.recv(1)
      place = head.split()[1].decode()
      self.asked.append(place)
      host, port = place.rsplit(':', 1)
      upstream = socket.create_connection((host, int(port)))
      client.sendall(b'HTTP/1.1 200 Connection established\r\n\r\n')
      for source, sink in ((client, upstream), (upstream, client)):
        threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

  @staticmethod
  def _pump(source, sink):
    with contextlib.suppress(OSError):
      while data := source.recv(65536):
        sink.sendall(data)
      sink.shutdown(socket.SHUT_WR)


@workers.needs_ssh
@workers.needs_nginx
def test_a_worker_is_called_through_the_connection_that_it_opened(tmp_path, pki):
  """Through a proxy, with mutual TLS end to end; and again after the connection was cut."""
  port, proxy = processes.free_port(), Proxy()
  with contextlib.ExitStack() as stack:
    at = processes.free_port()
    stack.enter_context(served(pki, port, {f'127.0.0.2:{at}': f'{pki}/127.0.0.2.dial.pub'}))
    worker = workers.Worker(
        tmp_path, '--sandbox=none', f'--tls_cert={pki}/127.0.0.2.crt', f'--tls_key={pki}/127.0.0.2.key',
        f'--tls_client_ca={pki}/ca.crt', *options(pki, port, '127.0.0.2', at, dial_proxy=f'127.0.0.1:{proxy.port}'))
    stack.callback(worker.stop)
    worker.wait_until_healthy()
    workers.wait_until(lambda: processes.listens(('127.0.0.2', at)))
    config = runtime_config.RuntimeConfig(
        runtime='workers', workers=(f'127.0.0.2:{at}',), tls_ca=f'{pki}/ca.crt', tls_cert=f'{pki}/coordinator.crt',
        tls_key=f'{pki}/coordinator.key', reconnect_timeout=60.0)
    with remote.remote_runtime(config):
      assert doubled([21]) == 42
      ssh = next(pid for pid in worker.family() if pathlib.Path(f'/proc/{pid}/comm').read_text() == 'ssh\n')
      os.kill(ssh, signal.SIGKILL)
      workers.wait_until(lambda: processes.listens(('127.0.0.2', at)) and ssh not in worker.family())
      assert doubled([4]) == 8
    assert proxy.asked and set(proxy.asked) == {f'localhost:{port}'}
    assert 'again in' in worker.log.read_text()


@workers.needs_ssh
@workers.needs_nginx
def test_folders_may_have_a_space_in_their_names(tmp_path, pki, monkeypatch):
  """That for temporary files, on both sides, and that of the site's key."""
  port, at = processes.free_port(), processes.free_port()
  with contextlib.ExitStack() as stack:
    # That of pytest is too long for the name of a socket.
    apart = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='a 100% space ')))
    monkeypatch.setenv('TMPDIR', str(apart))
    key = shutil.copy(f'{pki}/127.0.0.2.dial', apart)
    stack.enter_context(served(pki, port, {f'127.0.0.2:{at}': f'{pki}/127.0.0.2.dial.pub'}))
    worker = workers.Worker(
        tmp_path, '--sandbox=none', f'--tls_cert={pki}/127.0.0.2.crt', f'--tls_key={pki}/127.0.0.2.key',
        f'--tls_client_ca={pki}/ca.crt', *options(pki, port, '127.0.0.2', at, dial_key=key))
    stack.callback(worker.stop)
    workers.wait_until(lambda: processes.listens(('127.0.0.2', at)))
    assert all(any(path.name.startswith(f'tff_vision-{kind}-') for path in apart.iterdir())
               for kind in ('worker', 'dial', 'doorway'))
    config = runtime_config.RuntimeConfig(
        runtime='workers', workers=(f'127.0.0.2:{at}',), tls_ca=f'{pki}/ca.crt', tls_cert=f'{pki}/coordinator.crt',
        tls_key=f'{pki}/coordinator.key', reconnect_timeout=60.0)
    with remote.remote_runtime(config):
      assert doubled([21]) == 42


@workers.needs_ssh
@workers.needs_nginx
def test_a_site_can_be_called_at_its_own_address_only_and_do_nothing_else(tmp_path, pki):
  port, mine, other = (processes.free_port() for _ in range(3))
  sites = {f'127.0.0.2:{mine}': f'{pki}/127.0.0.2.dial.pub', f'127.0.0.3:{other}': f'{pki}/127.0.0.3.dial.pub'}
  with served(pki, port, sites):
    def tried(site, address, **more):
      """Returns the last line of what ssh says; it ends at once if it is refused."""
      config = dial_config.DialConfig(**dict(
          one[2:].split('=', 1) for one in options(pki, port, site, 0, dial_as=address, **more)))
      folder = tmp_path / f'{time.monotonic_ns()}'
      folder.mkdir()
      done = subprocess.run(dialing.command(config, 9, folder), stdin=subprocess.DEVNULL, capture_output=True,
                            text=True, timeout=60, check=False)
      assert done.returncode != 0
      # It ends with ssh, and does not wait for the doorway.
      workers.wait_until(lambda: not _children_named('openssl'), timeout=10)
      return done.stderr

    assert 'remote port forwarding failed' in tried('127.0.0.2', f'127.0.0.3:{other}')  # Another site's address.
    assert 'remote port forwarding failed' in tried('127.0.0.2', f'127.0.0.2:{mine + 1}')
    certificate_authority.make_dial_key(tmp_path, 'stranger')
    assert 'Permission denied' in tried('127.0.0.2', f'127.0.0.2:{mine}', dial_key=tmp_path / 'stranger')
    # A doorway with another key, or another certificate, is not talked to.
    assert 'Host key verification failed' in tried('127.0.0.2', f'127.0.0.2:{mine}',
                                                   dial_host_key=tmp_path / 'stranger.pub')
    certificate_authority.make_authority(tmp_path / 'theirs')
    assert tried('127.0.0.2', f'127.0.0.2:{mine}', dial_ca=tmp_path / 'theirs' / 'ca.crt')
    # No command and no forwarding into the coordinator's network.
    config = dial_config.DialConfig(**dict(
        one[2:].split('=', 1) for one in options(pki, port, '127.0.0.2', mine)))
    command = dialing.command(config, 9, tmp_path)
    into = [*command[:command.index('-R')], '-L', '18999:127.0.0.1:22', *command[-1:]]
    into.remove('-N')
    done = subprocess.run([*into, 'id'], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 1 and 'uid=' not in done.stdout  # /bin/false ran instead.


@pytest.mark.parametrize(('change', 'said'), [
    ({'dial': None}, 'dial_as=127.0.0.2:8443 has no effect without dial'),
    ({'dial_key': None}, 'dial_key is missing: dial=a@host:443 needs it'),
    ({'dial': 'host'}, "dial must be host:port, found 'host'"),
    ({'dial_as': 'x@127.0.0.2:1'}, "dial_as must be host:port, found 'x@127.0.0.2:1'"),
    ({'dial': 'a b@host:1'}, r"dial='a b@host:1' must be \[user@\]host:port"),
    ({'dial_proxy': 'p:99999'}, "dial_proxy must be host:port, found 'p:99999'"),
    ({'dial_ca': '/nowhere'}, 'dial_ca=/nowhere: cannot read it')])
def test_settings_that_cannot_dial_are_refused(pki, change, said):
  with pytest.raises(ValueError, match=said):
    dial_config.DialConfig(**({
        'dial': 'a@host:443', 'dial_as': '127.0.0.2:8443', 'dial_key': f'{pki}/127.0.0.2.dial',
        'dial_host_key': f'{pki}/doorway.pub', 'dial_ca': f'{pki}/ca.crt'} | change))


@pytest.mark.parametrize(('sites', 'said'), [
    ({}, 'sites is missing'), ({'10.0.0.2:8443': 'key'}, r"'10.0.0.2:8443' must be an address of the loopback"),
    ({'127.0.0.2:8443': '/nowhere'}, 'sites: 127.0.0.2:8443=/nowhere cannot be read: No such file'),
    ({'127.0.0.2:8443': ''}, 'sites: 127.0.0.2:8443 has no file'),
    ({'127.999.0.2:8443': 'key'}, "'127.999.0.2:8443' must be an address of the loopback"),
    ({'127.0.0.02:8443': 'key'}, "'127.0.0.02:8443' must be an address of the loopback"),
    ({'127.0.0.2:0': 'key'}, "'127.0.0.2:0' must be an address of the loopback interface and a port"),
    ({'127.0.0.2:99999': 'key'}, "'127.0.0.2:99999' must be an address of the loopback interface and a port"),
    ({'127.0.0.2:8443': 'key', '127.0.0.3:8443': 'key'}, 'sites gives 127.0.0.2:8443 and 127.0.0.3:8443 one key')])
def test_a_doorway_that_cannot_serve_is_refused(pki, sites, said):
  sites = {address: f'{pki}/doorway.pub' if key == 'key' else key for address, key in sites.items()}
  with pytest.raises(ValueError, match=said):
    doorway.Doorway(host='127.0.0.1', port=1, cert=f'{pki}/localhost.crt', key=f'{pki}/localhost.key',
                    host_key=f'{pki}/doorway', sites=sites)


@pytest.mark.parametrize('content', [None, b'', b'\xff\xfe', b'ssh-ed25519 AAAA'])
def test_a_file_that_is_no_public_key_is_refused_at_both_ends(pki, tmp_path, content):
  path = tmp_path / 'key.pub'
  path.write_bytes((pki / 'doorway').read_bytes() if content is None else content)  # A private key by mistake.
  with pytest.raises(ValueError, match='sites: 127.0.0.2:8443=.*key.pub holds no public key'):
    doorway.Doorway(host='127.0.0.1', port=1, cert=f'{pki}/localhost.crt', key=f'{pki}/localhost.key',
                    host_key=f'{pki}/doorway', sites={'127.0.0.2:8443': str(path)})
  config = dial_config.DialConfig(
      dial='a@host:443', dial_as='127.0.0.2:8443', dial_key=f'{pki}/127.0.0.2.dial', dial_host_key=str(path),
      dial_ca=f'{pki}/ca.crt')
  with pytest.raises(ValueError, match='dial_host_key=.*key.pub holds no public key'):
    dialing.command(config, 1, tmp_path)


@pytest.mark.parametrize('content', [None, b'', b'\xff\xfe', b'-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA'])
def test_a_file_that_is_no_private_key_is_refused_at_both_ends(pki, tmp_path, content):
  path = tmp_path / 'key'
  path.write_bytes((pki / 'doorway.pub').read_bytes() if content is None else content)  # A public key by mistake.
  with pytest.raises(ValueError, match='host_key=.*key holds no private key'):
    doorway.Doorway(host='127.0.0.1', port=1, cert=f'{pki}/localhost.crt', key=f'{pki}/localhost.key',
                    host_key=str(path), sites={'127.0.0.2:8443': f'{pki}/doorway.pub'})
  right = {'dial': 'a@host:443', 'dial_as': '127.0.0.2:8443', 'dial_key': f'{pki}/127.0.0.2.dial',
           'dial_host_key': f'{pki}/doorway.pub', 'dial_ca': f'{pki}/ca.crt'}
  with pytest.raises(ValueError, match='dial_key=.*key holds no private key'):
    dialing.command(dial_config.DialConfig(**right | {'dial_key': str(path)}), 1, tmp_path)
  with pytest.raises(ValueError, match='dial_ca=.*key holds no certificate'):
    dialing.command(dial_config.DialConfig(**right | {'dial_ca': str(path)}), 1, tmp_path)
