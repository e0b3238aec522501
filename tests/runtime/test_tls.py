"""Mutual TLS as an outsider meets it."""

import socket
import ssl
import threading

import pytest
from cryptography.hazmat.primitives import serialization

from tests.runtime import workers
from tff_vision.configs import runtime_config
from tff_vision.runtime.driver import doorway, fleet, remote
from tff_vision.runtime.worker import certificate_authority, nginx, tls

pytestmark = [workers.needs_nginx, workers.needs_sandbox]


@pytest.fixture(scope='module')
def pki(tmp_path_factory):
  """Folders with certificates: of the federation, and of a stranger who made the same for himself."""
  folders = {name: tmp_path_factory.mktemp(name) for name in ('federation', 'stranger')}
  for folder in folders.values():
    certificate_authority.make_authority(folder)
    certificate_authority.make_worker(folder, '127.0.0.1')
    certificate_authority.make_worker(folder, 'elsewhere.example')
    certificate_authority.make_coordinator(folder)
    certificate_authority.make_coordinator(folder, 'somebody')
  return folders


def _worker_options(folder, host='127.0.0.1'):
  return (f'--tls_cert={folder / host}.crt', f'--tls_key={folder / host}.key', f'--tls_client_ca={folder / "ca.crt"}')


@pytest.fixture(scope='module')
def secured(pki, tmp_path_factory):
  """Three workers behind TLS."""
  folder = tmp_path_factory.mktemp('workers')
  started = [workers.Worker(folder, *_worker_options(pki['federation'])) for _ in range(3)]
  try:
    yield [worker.wait_until_healthy() for worker in started]
  finally:
    for worker in started:
      worker.stop()


def _config(addresses, folder, name='coordinator', ca='ca'):
  return runtime_config.RuntimeConfig(
      runtime='workers', workers=tuple(addresses), tls_ca=f'{folder / ca}.crt', tls_cert=f'{folder / name}.crt',
      tls_key=f'{folder / name}.key', reconnect_timeout=5.0)


def test_the_same_bits_through_tls(secured, pki, federation, local_digest):
  for fleet_size in (1, 3):
    addresses = [worker.address for worker in secured[:fleet_size]]
    with remote.remote_runtime(_config(addresses, pki['federation'])):
      assert federation.digest(federation.clients[:3]) == local_digest[3]


def test_a_certificate_of_another_authority_gets_nowhere(secured, pki, tmp_path):
  mixed = tmp_path
  for name in ('coordinator.crt', 'coordinator.key'):
    (mixed / name).write_bytes((pki['stranger'] / name).read_bytes())
  (mixed / 'ca.crt').write_bytes((pki['federation'] / 'ca.crt').read_bytes())
  with pytest.raises(fleet.TooFewWorkers, match='does not accept our certificate'):
    with remote.remote_runtime(_config([secured[0].address], mixed)):
      pass
  assert 'client SSL certificate verify error' in secured[0].log.read_text()


@pytest.mark.parametrize('name', ['somebody', '127.0.0.1'])
def test_another_certificate_of_our_authority_gets_nowhere(secured, pki, name):
  """Neither another client's nor another hospital's."""
  with pytest.raises((tls.TlsRefused, fleet.TooFewWorkers), match='coordinator only|does not accept our certificate'):
    with remote.remote_runtime(_config([secured[0].address], pki['federation'], name)):
      pass


def test_no_certificate_or_no_tls_gets_not_one_byte(secured, pki):
  context = ssl.create_default_context(cafile=pki['federation'] / 'ca.crt')
  with socket.create_connection(('127.0.0.1', secured[0].port), 5) as raw:
    with context.wrap_socket(raw, server_hostname='127.0.0.1') as bare:
      assert bare.recv(1) == b''
  with socket.create_connection(('127.0.0.1', secured[0].port), 5) as plain:
    plain.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    assert plain.recv(1) == b''


def test_a_worker_that_our_authority_has_not_signed_is_refused_at_once(secured, pki, tmp_path):
  for name in ('coordinator.crt', 'coordinator.key'):
    (tmp_path / name).write_bytes((pki['federation'] / name).read_bytes())
  (tmp_path / 'ca.crt').write_bytes((pki['stranger'] / 'ca.crt').read_bytes())
  with pytest.raises(tls.TlsRefused, match='its certificate is not accepted here: .*signature failure|self.signed'):
    with remote.remote_runtime(_config([secured[0].address], tmp_path)):
      pass


def test_a_worker_with_another_name_is_refused_at_once(pki, tmp_path):
  with workers.running(tmp_path, *_worker_options(pki['federation'], 'elsewhere.example')) as worker:
    with pytest.raises(tls.TlsRefused, match="not valid for '127.0.0.1'"):
      with remote.remote_runtime(_config([worker.address], pki['federation'])):
        pass


_WRONG = [
    ('ca', 'nowhere', 'cannot be read: No such file'), ('ca', 'garbage', 'holds no certificate'),
    ('ca', 'folder', 'cannot be read: Is a directory'), ('ca', 'empty', 'holds no certificate'),
    ('cert', 'garbage', 'holds no certificate'), ('cert', 'folder', 'cannot be read: Is a directory'),
    ('key', 'garbage', 'holds no private key'), ('key', 'nowhere', 'cannot be read: No such file'),
    ('key', 'secured', 'holds no private key in PEM format without a password'),
    ('key', 'somebody.key', 'is not the key of tls_cert=')]


def _made(folder, authority, name):
  """Returns the path of a wrong file."""
  path = folder / name
  if name == 'folder':
    path.mkdir(exist_ok=True)
  elif name == 'secured':
    key = serialization.load_pem_private_key((authority / 'coordinator.key').read_bytes(), None)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.BestAvailableEncryption(b'secret')))
  elif name == 'somebody.key':
    return str(authority / name)
  elif name != 'nowhere':
    path.write_bytes(b'' if name == 'empty' else b'no PEM')
  return str(path)


def test_files_that_do_not_fit_are_named(pki, tmp_path):
  folder = pki['federation']
  right = {name: str(folder / file) for name, file in (
      ('ca', 'ca.crt'), ('cert', 'coordinator.crt'), ('key', 'coordinator.key'))}
  for name, file, said in _WRONG:
    path = _made(tmp_path, folder, file)
    with pytest.raises(tls.TlsRefused, match=f'^tls_{name}={path} {said}'):
      tls.TlsFiles(**right | {name: path}).client_context()


def test_a_worker_and_a_doorway_name_files_that_do_not_fit_by_their_flags(pki, tmp_path):
  folder = pki['federation']
  right = {name: str(folder / file) for name, file in (
      ('ca', 'ca.crt'), ('cert', 'coordinator.crt'), ('key', 'coordinator.key'))}
  certificate_authority.make_dial_key(tmp_path, 'doorway')
  sites = {'127.0.0.2:8443': str(tmp_path / 'doorway.pub')}
  for name, file, said in _WRONG:
    path = _made(tmp_path, folder, file)
    files = right | {name: path}
    flag = 'tls_client_ca' if name == 'ca' else f'tls_{name}'
    with pytest.raises(ValueError, match=f'^{flag}={path} {said}'):
      nginx.DoorTls(cert=files['cert'], key=files['key'], client_ca=files['ca'], client_name='coordinator')
    if name != 'ca':
      with pytest.raises(ValueError, match=f'^{flag}={path} {said}'):
        doorway.Doorway(host='127.0.0.1', port=1, cert=files['cert'], key=files['key'],
                        host_key=str(tmp_path / 'doorway'), sites=sites)


@pytest.mark.parametrize('name', ['a file.crt', 'a;b.crt'])
def test_a_path_that_nginx_cannot_read_is_named_for_workers_and_doorways(pki, tmp_path, name):
  path = tmp_path / name
  path.write_bytes((pki['federation'] / 'coordinator.crt').read_bytes())
  key = str(pki['federation'] / 'coordinator.key')
  with pytest.raises(ValueError, match=f'^tls_cert=.*{name}.* has characters'):
    nginx.DoorTls(cert=str(path), key=key, client_ca=str(path), client_name='coordinator')
  with pytest.raises(ValueError, match=f'^tls_cert=.*{name}.* has characters'):
    nginx.terminating(tmp_path, host='127.0.0.1', port=1, behind='127.0.0.1:1', cert=str(path), key=key)


def test_keys_are_private_and_nothing_is_overwritten(pki):
  folder = pki['federation']
  assert all(path.stat().st_mode & 0o77 == 0 for path in folder.glob('*.key'))
  with pytest.raises(ValueError, match='exists'):
    certificate_authority.make_coordinator(folder)


@pytest.mark.parametrize(('answer', 'refused'), [(b'', False), (b'SSH-2.0-OpenSSH_9.2\r\n', True)])
def test_a_connection_that_is_closed_is_waited_for_and_another_protocol_is_not(pki, answer, refused):
  """The first is a tunnel whose site is away: the doorway listens, and nothing is behind it."""
  folder = pki['federation']
  files = tls.TlsFiles(ca=str(folder / 'ca.crt'), cert=str(folder / 'coordinator.crt'),
                       key=str(folder / 'coordinator.key'))
  with socket.create_server(('127.0.0.1', 0)) as listener:
    def serve():
      connection, _ = listener.accept()
      with connection:
        connection.recv(1 << 16)
        connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    address = f'127.0.0.1:{listener.getsockname()[1]}'
    if refused:
      with pytest.raises(tls.TlsRefused, match='TLS failed: WRONG_VERSION_NUMBER'):
        tls.check(address, files)
    else:
      assert tls.check(address, files) == f'{address}: the connection is closed before TLS is up: nothing answers ' \
                                          'behind it.'
    thread.join()
