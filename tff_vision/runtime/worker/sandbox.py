"""The sandbox of an executor, which runs whatever program the coordinator sends.

bubblewrap gives it an empty network, its data folder read-only under /data, the system's libraries, and a small /tmp
in memory. It sees nothing else of the host. Connections enter through one unix socket.
"""

import pathlib
import shutil
from collections.abc import Mapping, Sequence

SOCKET = 'executor.sock'
_TMP_BYTES = 256 * 2**20
_INNER_PORT = 8000
_NEEDED = {'bwrap': 'bubblewrap', 'socat': 'socat', 'sh': 'dash'}


def inner_port() -> int:
  """Returns the port of the executor in its own network."""
  return _INNER_PORT


def command(executor: Sequence[str], *, socket_folder: pathlib.Path, data_root: str | None,
            environment: Mapping[str, str]) -> list[str]:
  """Returns the command that runs `executor` sandboxed, reachable at `socket_folder`/executor.sock.

  Args:
    executor: Program and arguments; the program is the only file of its folder that the sandbox shows.
    socket_folder: Folder of the unix socket.
    data_root: Folder that is visible as /data, read-only; None: there is no /data.
    environment: Environment of the executor; HOME, TMPDIR and LD_LIBRARY_PATH are not passed on.

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
  # The only entrance: from the unix socket to the executor's port, which exists only in the empty network.
  inner = (f'socat -lf /dev/null UNIX-LISTEN:/run/worker/{SOCKET},fork,mode=600,max-children=64 '
           f'TCP4:127.0.0.1:{_INNER_PORT} & exec /executor "$@"')
  return ['bwrap', '--unshare-all', '--die-with-parent', '--new-session', '--cap-drop', 'ALL', '--clearenv',
          *settings, *_system(), '--ro-bind', program, '/executor', *data,
          '--bind', str(socket_folder), '/run/worker', '--proc', '/proc', '--dev', '/dev',
          '--size', str(_TMP_BYTES), '--tmpfs', '/tmp', '--chdir', '/tmp', '/usr/bin/sh', '-c', inner, 'sh', *options]


def _system():
  libraries = [word for name in ('lib', 'lib64') if pathlib.Path('/usr', name).is_dir()
               for word in ('--ro-bind', f'/usr/{name}', f'/usr/{name}', '--symlink', f'usr/{name}', f'/{name}')]
  programs = [word for name in ('socat', 'sh') for word in ('--ro-bind', shutil.which(name), f'/usr/bin/{name}')]
  return [*libraries, *programs]
