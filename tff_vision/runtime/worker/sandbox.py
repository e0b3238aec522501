"""The sandbox of an executor, which runs whatever program the coordinator sends.

bubblewrap gives it an empty network, its data folder read-only under /data, the system's libraries, and a small /tmp
in memory. It sees nothing else of the host. Connections enter through one unix socket.
"""

import glob
import pathlib
import shutil
from collections.abc import Mapping, Sequence

SOCKET = 'executor.sock'
_TMP_BYTES = 256 * 2**20
_INNER_PORT = 8000
# Of NVIDIA's driver; /dev/dxg is that of Windows.
_DEVICES = ('/dev/nvidia*', '/dev/dxg')
_NEEDED = {'bwrap': 'bubblewrap', 'socat': 'socat', 'sh': 'dash'}


def inner_port() -> int:
  """Returns the port of the executor in its own network."""
  return _INNER_PORT


def command(executor: Sequence[str], *, socket_folder: pathlib.Path, data_root: str | None,
            environment: Mapping[str, str], shown: Sequence[str] | None = None) -> list[str]:
  """Returns the command that runs `executor` sandboxed, reachable at `socket_folder`/executor.sock.

  Args:
    executor: Program and arguments.
    socket_folder: Folder of the unix socket.
    data_root: Folder that is visible as /data, read-only; None: there is no /data.
    environment: Environment of the executor; HOME, TMPDIR and LD_LIBRARY_PATH are not passed on.
    shown: Files and folders that the sandbox shows where they are, read-only, and with them the devices of NVIDIA's
      driver; the program is in one of them. None: the program is the only file that it shows, as /executor.

  Raises:
    ValueError: A required program is not installed, or `data_root` does not exist.
  """
  for program, package in _NEEDED.items():
    if shutil.which(program) is None:
      raise ValueError(f'{program} is not installed; on Debian: apt-get install {package}. '
                       'Or choose sandbox=none and shut the worker in otherwise.')
  if data_root is not None and not pathlib.Path(data_root).is_dir():
    raise ValueError(f'data_root={data_root!r} is no folder.')
  settings = [word for name, value in environment.items() if name not in ('HOME', 'TMPDIR', 'LD_LIBRARY_PATH')
              for word in ('--setenv', name, value)]
  data = [] if data_root is None else ['--ro-bind', data_root, '/data']
  program, *options = executor
  if shown is None:
    programs, run = ['--ro-bind', program, '/executor'], '/executor'
  else:
    programs, run = _shown(shown), program
  # The only entrance: from the unix socket to the executor's port, which exists only in the empty network.
  inner = (f'socat -lf /dev/null UNIX-LISTEN:/run/worker/{SOCKET},fork,mode=600,max-children=64 '
           f'TCP4:127.0.0.1:{_INNER_PORT} & exec "$0" "$@"')
  return ['bwrap', '--unshare-all', '--die-with-parent', '--new-session', '--cap-drop', 'ALL', '--clearenv',
          *settings, *_system(), *data,
          '--bind', str(socket_folder), '/run/worker', '--proc', '/proc', '--dev', '/dev',
          '--size', str(_TMP_BYTES), '--tmpfs', '/tmp', *programs, '--chdir', '/tmp', '/usr/bin/sh', '-c', inner, run,
          *options]


def _shown(paths):
  """Returns options that show files, NVIDIA's devices, and what libraries are found by; absent ones are left out."""
  read = [*paths, '/etc/ld.so.cache', '/sys/devices/system']
  devices = [path for pattern in _DEVICES for path in sorted(glob.glob(pattern))]
  return [*(word for path in read for word in ('--ro-bind-try', path, path)),
          *(word for path in devices for word in ('--dev-bind-try', path, path)), '--setenv', 'HOME', '/tmp']


def _system():
  libraries = [word for name in ('lib', 'lib64') if pathlib.Path('/usr', name).is_dir()
               for word in ('--ro-bind', f'/usr/{name}', f'/usr/{name}', '--symlink', f'usr/{name}', f'/{name}')]
  programs = [word for name in ('socat', 'sh') for word in ('--ro-bind', shutil.which(name), f'/usr/bin/{name}')]
  return [*libraries, *programs]
