"""A site's side of a connection that it opens outwards: OpenSSH inside of TLS, kept open until the worker stops.

OpenSSH's reverse forwarding lets the coordinator call the worker; the doorway permits this key one address only. TLS
around it looks like any other connection to port 443, also through an HTTP proxy. The worker's own mutual TLS and its
guard stay end to end: the doorway sees ciphertext.
"""

import logging
import os
import pathlib
import shlex
import shutil
import tempfile
import time

from tff_vision.configs import dial_config
from tff_vision.runtime.worker import dial_keys, processes, signatures

_AGAIN_AFTER = (1.0, 2.0, 5.0, 10.0, 30.0)  # Seconds before the next attempt; the last one repeats.
_HELD = 60.0  # A connection that lasted this long was a success.
_log = logging.getLogger(__name__)


class Dial:
  """Keeps the connection open inside the context."""

  def __init__(self, config: dial_config.DialConfig, port: int):
    """Args: `port` is the worker's, at the loopback interface."""
    self._config = config
    self._port = port
    self._process: processes.Process | None = None
    self._failures = 0
    self._next = self._since = 0.0

  def __enter__(self) -> 'Dial':
    """Raises: ValueError: OpenSSH or OpenSSL is not installed, or a file is not what its flag says."""
    for program in ('ssh', 'openssl'):
      if shutil.which(program) is None:
        raise ValueError(f'dial needs {program}; on Debian: apt-get install openssh-client openssl.')
    self._folder = pathlib.Path(tempfile.mkdtemp(prefix='tff_vision-dial-'))
    self._start()
    return self

  def __exit__(self, *_) -> None:
    if self._process is not None:
      self._process.close()
    shutil.rmtree(self._folder, ignore_errors=True)

  def look(self) -> None:
    """Opens the connection again if it has ended; to be called about twice a second."""
    if self._process is not None and self._process.exit_code is not None:
      lasted = time.monotonic() - self._since
      self._failures = 0 if lasted > _HELD else self._failures + 1
      wait = _AGAIN_AFTER[min(self._failures, len(_AGAIN_AFTER)) - 1] if self._failures else 0.0
      _log.error('the connection to %s ended: %s; again in %g s', self._config.dial, self._reason(), wait)
      self._next, self._process = time.monotonic() + wait, None
    if self._process is None and time.monotonic() >= self._next:
      self._start()

  @property
  def pids(self) -> list[int]:
    """The processes that this object has started."""
    return [] if self._process is None else [self._process.pid]

  def _start(self):
    log = self._folder / 'log'
    log.write_text('')
    self._since = time.monotonic()
    self._process = processes.Process(command(self._config, self._port, self._folder), log=log,
                                      environment=processes.executor_environment(None))
    _log.info('dialling %s as %s', self._config.dial, self._config.dial_as)

  def _reason(self):
    lines = [line for line in self._process.last_words().splitlines() if line.strip()]
    return lines[-1] if lines else f'exit code {self._process.exit_code}'


def command(config: dial_config.DialConfig, port: int, folder: pathlib.Path) -> list[str]:
  """Returns the command that holds the connection, and writes what it reads into `folder`.

  Args:
    port: The worker's port, at the loopback interface.

  Raises:
    ValueError: A file is not what its flag says.
  """
  user, host, doorway = config.place
  dial_keys.check_private(config.dial_key, 'dial_key')
  signatures.check_authority(pathlib.Path(config.dial_ca).expanduser(), 'dial_ca')
  known = folder / 'known_hosts'
  known.write_text(f'doorway {dial_keys.public_line(config.dial_host_key, "dial_host_key")}\n')
  path = lambda name: os.path.abspath(os.path.expanduser(name))
  bare = host.strip('[]')
  name = config.dial_name or bare
  verified = ['-verify_ip' if name.replace('.', '').isdigit() or ':' in name else '-verify_hostname', name]
  # It ends with ssh (-quiet alone would wait for the doorway to hang up), and no byte is a command to it.
  tunnel = ['openssl', 's_client', '-quiet', '-no_ign_eof', '-nocommands', '-verify_quiet', '-verify_return_error',
            '-tls1_3', '-connect',
            f'{host}:{doorway}', '-CAfile', path(config.dial_ca), '-no-CApath', '-no-CAstore', *verified,
            *(['-proxy', config.dial_proxy] if config.dial_proxy else [])]
  options = {
      'BatchMode': 'yes', 'ExitOnForwardFailure': 'yes', 'StrictHostKeyChecking': 'yes',
      'UserKnownHostsFile': dial_keys.quoted(known),
      'GlobalKnownHostsFile': '/dev/null', 'HostKeyAlias': 'doorway', 'IdentitiesOnly': 'yes', 'IdentityAgent': 'none',
      'IdentityFile': dial_keys.quoted(path(config.dial_key)),
      'PreferredAuthentications': 'publickey', 'ServerAliveInterval': '15',
      'ServerAliveCountMax': '3', 'ConnectTimeout': '20', 'LogLevel': 'ERROR', 'UpdateHostKeys': 'no',
      # The first costs three quarters of the second, which OpenSSH would take, and processors of sites are busy.
      'Ciphers': 'aes128-gcm@openssh.com,chacha20-poly1305@openssh.com',
      'ProxyCommand': shlex.join(tunnel).replace('%', '%%')}
  return ['ssh', '-F', 'none', '-N', '-T', *(f'-o{name}={value}' for name, value in options.items()),
          '-R', f'{config.dial_as}:127.0.0.1:{port}', f'{user}@{bare}']
