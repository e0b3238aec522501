"""The nginx in front of a worker: passes one TCP port to the executor after mutual TLS.

The executor itself has neither encryption nor authentication. nginx's `stream` module terminates TLS and forwards
bytes, so that HTTP/2 and its deadlines remain end to end. (stunnel cannot be used here: as a server it selects no ALPN
protocol, and gRPC refuses such a connection.)
"""

import dataclasses
import glob
import os
import pathlib
import pwd
import re
import shutil

from tff_vision.runtime.worker import signatures

_MODULES = ('/usr/lib/nginx/modules/ngx_stream_module.so', '/usr/lib64/nginx/modules/ngx_stream_module.so')


@dataclasses.dataclass(frozen=True, kw_only=True)
class DoorTls:
  """Mutual TLS; the files fit together.

  Attributes:
    client_name: The only accepted certificate name; the subject must be exactly CN=client_name.
  """
  cert: str
  key: str
  client_ca: str
  client_name: str

  def __post_init__(self):
    _check_paths(tls_cert=self.cert, tls_key=self.key, tls_client_ca=self.client_ca)
    signatures.check_pair(pathlib.Path(self.cert), pathlib.Path(self.key))
    signatures.check_authority(pathlib.Path(self.client_ca), 'tls_client_ca')
    if not re.fullmatch(r'[\w.-]+', self.client_name):
      raise ValueError(f'tls_client_name={self.client_name!r} may have letters, digits, dots and hyphens only.')


def _check_paths(**named):
  for name, path in named.items():
    if not re.fullmatch(r'[\w./:+@%=-]+', path):
      raise ValueError(f'{name}={path!r} has characters that the configuration of nginx cannot hold.')


def command(folder: pathlib.Path, *, host: str, port: int, executor: str, tls: DoorTls | None) -> list[str]:
  """Writes nginx's configuration into `folder` and returns the command that serves it in the foreground.

  Args:
    executor: Where connections go: unix:/path or host:port.
    tls: None: everyone who can reach the port has access.

  Raises:
    ValueError: nginx or its stream module is not installed.
  """
  (folder / 'refused.sock').unlink(missing_ok=True)  # A master that was killed leaves it, and nobody could bind it.
  return _serving(folder, _configuration(folder, host, port, executor, tls))


def terminating(folder: pathlib.Path, *, host: str, port: int, behind: str, cert: str, key: str) -> list[str]:
  """Returns the command that ends TLS at host:port for everybody, and passes the bytes on to `behind`, host:port.

  Raises:
    ValueError: nginx or its stream module is not installed, or a path cannot stand in its configuration.
  """
  _check_paths(tls_cert=cert, tls_key=key)
  return _serving(folder, f'''{_head(folder, 'warn')}
stream {{
  server {{
    listen {_listen(host, port)} ssl so_keepalive=on;
    ssl_certificate {cert}; ssl_certificate_key {key};
    ssl_protocols TLSv1.3; ssl_session_cache off; ssl_session_tickets off;
    proxy_pass {behind};
    proxy_connect_timeout 5s;
    proxy_buffer_size 64k;  # Models pass through; in its usual 16k they cost more calls of the system.
    proxy_timeout 24h;
  }}
}}
''')


def serves(folder: pathlib.Path, pid: int) -> bool:
  """Returns whether the nginx with this process id, configured in `folder`, has opened its port.

  To knock at the port would not tell: another program may listen there.
  """
  try:
    return _pid_file(folder).read_text().strip() == str(pid)  # It is written when all ports are open.
  except FileNotFoundError:
    return False


def _pid_file(folder):
  return folder / 'nginx.pid'


def _serving(folder, configuration):
  nginx = shutil.which('nginx') or shutil.which('/usr/sbin/nginx')
  if nginx is None:
    raise ValueError('nginx is not installed; on Debian: apt-get install nginx-light libnginx-mod-stream.')
  file = folder / 'nginx.conf'
  file.write_text(configuration)
  return [nginx, '-c', str(file), '-p', str(folder), '-e', 'stderr']


def _head(folder, level):
  # As root, nginx would serve as another user, who may not be allowed to open the executor's socket.
  user = f'user {pwd.getpwuid(0).pw_name};' if os.getuid() == 0 else ''
  module = next((f'load_module {path};' for path in _MODULES if glob.glob(path)), '')
  return f'''{module} {user}
daemon off; worker_processes 1; pid {_quoted(_pid_file(folder))}; error_log stderr {level};
events {{ worker_connections 256; }}'''


def _quoted(text):
  """Returns a text as one word of the configuration; the folder for temporary files may have a space in its name."""
  if any(sign in str(text) for sign in '$"\\\n'):
    raise ValueError(f'{str(text)!r} has characters that the configuration of nginx cannot hold; give TMPDIR, the '
                     'folder for temporary files, another path.')
  return f'"{text}"'


def _listen(host, port):
  return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def _configuration(folder, host, port, executor, tls):
  return f'''{_head(folder, 'info' if tls else 'warn')}
stream {{
  {_guard(folder, executor, tls)}
  server {{
    listen {_listen(host, port)} {'ssl' if tls else ''} so_keepalive=on;
    {_secrets(tls)}
    proxy_pass {'$behind' if tls else _quoted(executor)};
    proxy_connect_timeout 5s;
    proxy_buffer_size 64k;  # Models pass through; in its usual 16k they cost more calls of the system.
    proxy_timeout 24h;  # A round may be silent for long; the coordinator has deadlines of its own.
  }}
}}
'''


def _guard(folder, executor, tls):
  if tls is None:
    return ''
  refused = _quoted(f'unix:{folder}/refused.sock')
  return f'''map $ssl_client_s_dn $behind {{ "CN={tls.client_name}" {_quoted(executor)}; default {refused}; }}
  server {{
    listen {refused};
    return "refused: this worker serves the certificate name {tls.client_name} only\\n";
  }}'''


def _secrets(tls):
  if tls is None:
    return ''
  return f'''ssl_certificate {tls.cert}; ssl_certificate_key {tls.key};
    ssl_client_certificate {tls.client_ca}; ssl_verify_client on; ssl_verify_depth 2;
    ssl_protocols TLSv1.3; ssl_alpn h2; ssl_session_cache off; ssl_session_tickets off;'''
