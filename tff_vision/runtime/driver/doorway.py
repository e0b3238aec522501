"""The coordinator's side of connections that sites open: nginx ends TLS, OpenSSH lets each site's key take one address.

A site can do nothing here but be called at its address: no command, no file, no other address.
"""

import ipaddress
import os
import pathlib
import pwd
import shutil
import signal
import socket
import sys
import tempfile

from tff_vision.configs import validate
from tff_vision.runtime.worker import dial_keys, nginx, processes, signatures

_START_TIMEOUT = 20.0
_LISTENING = '0A'


class Doorway:
  """Serves inside the context."""

  def __init__(self, *, host: str, port: int, cert: str, key: str, host_key: str, sites: dict[str, str]):
    """Initializes the doorway.

    Args:
      host, port: Where sites dial to.
      cert, key: PEM files of the TLS certificate for this host's name.
      host_key: File of the private key by which sites recognise the doorway.
      sites: Loopback address host:port at which a site is called -> the file of its public key.

    Raises:
      ValueError: An address or a file is not usable.
    """
    signatures.check_pair(pathlib.Path(cert), pathlib.Path(key))
    dial_keys.check_private(host_key, 'host_key')
    if not sites:
      raise ValueError('sites is missing: name ADDRESS=KEYFILE for each site, such as '
                       '127.0.0.2:8443=pki/hospital-a.dial.pub.')
    for address, path in sites.items():
      if not _is_loopback(address):
        raise ValueError(f'sites: {address!r} must be an address of the loopback interface and a port, such as '
                         '127.0.0.2:8443.')
      if not path:
        raise ValueError(f'sites: {address} has no file; name ADDRESS=KEYFILE for each site.')
    self._host, self._port = host, port
    self._sites = {address: dial_keys.public_line(path, f'sites: {address}') for address, path in sites.items()}
    for address, public in self._sites.items():
      # OpenSSH reads the first line of a key only, so the second site could never be called.
      if twin := [other for other in self._sites if other != address and self._sites[other] == public]:
        raise ValueError(f'sites gives {address} and {twin[0]} one key; each site has its own.')
    self._cert, self._key, self._host_key = map(os.path.abspath, (cert, key, host_key))
    self._sshd = self._door = None

  def __enter__(self) -> 'Doorway':
    """Raises: ValueError: A program is not installed, or the port taken; RuntimeError: A process does not start."""
    sshd = shutil.which('sshd') or shutil.which('/usr/sbin/sshd')
    if sshd is None:
      raise ValueError('sshd is not installed; on Debian: apt-get install openssh-server.')
    processes.check_free(self._host, self._port)
    self._folder = pathlib.Path(tempfile.mkdtemp(prefix='tff_vision-doorway-'))
    environment = processes.executor_environment(None)
    try:
      if os.getuid() == 0:
        os.makedirs('/run/sshd', exist_ok=True)
      inner = processes.free_port()
      self._sshd = processes.Process([sshd, '-D', '-e', '-f', str(self._configured(inner))],
                                     log=self._folder / 'sshd.log', environment=environment)
      processes.wait_until(lambda: processes.listens(('127.0.0.1', inner)), self._sshd, _START_TIMEOUT)
      self._door = processes.Process(
          nginx.terminating(self._folder, host=self._host, port=self._port, behind=f'127.0.0.1:{inner}',
                            cert=self._cert, key=self._key), log=None, environment=environment,
          ended_by=signal.SIGTERM)  # Its workers would go on if their master were killed.
      processes.wait_until(lambda: nginx.serves(self._folder, self._door.pid), self._door, _START_TIMEOUT)
    except BaseException:
      self.__exit__()
      raise
    return self

  def __exit__(self, *_) -> None:
    for process in (self._door, self._sshd):
      if process is not None:
        process.close()
    shutil.rmtree(self._folder, ignore_errors=True)

  def look(self) -> None:
    """Raises RuntimeError if a process has ended."""
    for process in (self._door, self._sshd):
      if process.exit_code is not None:
        raise RuntimeError(f'{process.name} ended with code {process.exit_code}. {process.last_words()}')

  def present(self) -> list[str]:
    """Returns the addresses at which a site can be called now; nothing is sent to find out."""
    listening = {line.split()[1] for line in pathlib.Path('/proc/net/tcp').read_text().splitlines()[1:]
                 if line.split()[3] == _LISTENING}
    return [address for address in self._sites if _as_in_proc(address) in listening]

  def _configured(self, port):
    """Writes the keys and the configuration of sshd, and returns the file of the latter."""
    keys = self._folder / 'authorized_keys'
    lines = []
    for address, public in self._sites.items():
      lines.append(f'restrict,port-forwarding,permitlisten="{address}",command="/bin/false" {public}')
    keys.write_text('\n'.join(lines) + '\n')
    keys.chmod(0o600)
    # sshd insists on a private key that nobody else can read.
    host_key = self._folder / 'host_key'
    with open(os.open(host_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as file:
      file.write(pathlib.Path(self._host_key).read_bytes())
    config = self._folder / 'sshd_config'
    config.write_text(f'''ListenAddress 127.0.0.1:{port}
HostKey {dial_keys.quoted(host_key, tokens=False)}
AuthorizedKeysFile {dial_keys.quoted(keys)}
AllowUsers {pwd.getpwuid(os.getuid()).pw_name}
PermitRootLogin prohibit-password
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
AllowTcpForwarding remote
GatewayPorts clientspecified
AllowStreamLocalForwarding no
AllowAgentForwarding no
X11Forwarding no
PermitTunnel no
PermitTTY no
PermitUserRC no
PermitUserEnvironment no
StrictModes no
PidFile none
ClientAliveInterval 15
ClientAliveCountMax 3
LogLevel ERROR
''')
    return config


def _is_loopback(address):
  try:
    validate.address(address=address)
    return ipaddress.IPv4Address(address.rpartition(':')[0]).is_loopback
  except ValueError:
    return False


def _as_in_proc(address):
  host, _, port = address.rpartition(':')
  return f'{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{int(port):04X}'
