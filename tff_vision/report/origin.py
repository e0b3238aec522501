"""Where a report comes from: date, command, code version, host and folder.

Nothing here depends on clients' data: the date is that of the beginning of the process, and a command holds settings
and paths, never a secret.
"""

import datetime
import os
import pathlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping

import tff_vision

_SOURCE = pathlib.Path(tff_vision.__file__).resolve().parent.parent
_GIT_SECONDS = 5
_OURS = ('pipelines', 'tff_vision', 'benchmarks')


def describe(run_dir: os.PathLike | str, started: datetime.datetime) -> Mapping[str, str | None]:
  """Returns the section `origin` of report.json.

  Args:
    run_dir: The folder of the run.
    started: When the process began.
  """
  return {'date': started.astimezone(datetime.UTC).strftime('%Y-%m-%d %H:%M UTC'), 'command': command(),
          'code_version': code_version(), 'host': platform.node() or None, 'run_dir': str(run_dir)}


def command() -> str | None:
  """Returns the command line of a pipeline as one would type it; None in other programs, such as notebooks."""
  main = sys.modules.get('__main__')
  spec = getattr(main, '__spec__', None)
  if spec is not None and spec.name.split('.')[0] in _OURS:
    return shlex.join(['python', '-m', spec.name.removesuffix('.__main__'), *sys.argv[1:]])
  if pathlib.Path(sys.argv[0]).name == 'tff-vision':
    return shlex.join(['tff-vision', *sys.argv[1:]])
  return None


def code_version() -> str:
  """Returns the version of this package; in a checkout, also the commit and whether files differ from it."""
  def git(*words):
    return subprocess.run(['git', '-C', str(_SOURCE), *words], capture_output=True, text=True, timeout=_GIT_SECONDS,
                          check=True, stdin=subprocess.DEVNULL).stdout.strip()
  version = tff_vision.__version__
  try:
    # An installed package may lie in a folder of somebody else's repository.
    if pathlib.Path(git('rev-parse', '--show-toplevel')).resolve() != _SOURCE:
      return version
    return f'{version}, commit {git("describe", "--always", "--dirty", "--abbrev=10", "--exclude=*")}'
  except (OSError, subprocess.SubprocessError):
    return version
