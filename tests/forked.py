"""Programs in a process each, forked from one that has TensorFlow: importing it is what a short program pays most for.

Libraries are imported before the fork, nothing of this project is. What a program imports, and how an interpreter
starts and ends, is not what is tested so: that takes a process of `subprocess`.
"""

import atexit
import ctypes
import gc
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import sysconfig
import tempfile
import types

ROOT = pathlib.Path(__file__).parents[1]
_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload([
    'tensorflow', 'tensorflow_federated', 'dp_accounting.pld', 'dp_accounting.rdp', 'scipy.optimize', 'scipy.stats',
    'cryptography.x509', 'tenseal', 'sklearn.datasets', 'sklearn.metrics', 'matplotlib.figure',
    'matplotlib.projections', 'jinja2', 'PIL.ImageDraw', 'tensorboard.plugins.hparams.api'])
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG: nothing outlives the tests.
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ('stdlib', 'platstdlib', 'purelib', 'platlib'))


def _become(arguments, cwd, environment, out, err):
  """Runs in the new process: makes of it what `python ARGUMENTS` would be."""
  gc.freeze()  # What was imported before the fork stays: a collection need not look at it, and copies no page of it.
  ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGTERM)
  os.chdir(cwd)
  os.environ.clear()
  os.environ.update(environment)
  for number, place in enumerate((os.devnull, out, err)):
    opened = os.open(place, os.O_RDWR if number == 0 else os.O_WRONLY | os.O_APPEND)
    os.dup2(opened, number)
    os.close(opened)
  kind, *rest = arguments
  first = {'-m': str(cwd), '-c': ''}.get(kind, os.path.dirname(kind))
  named = [path for path in environment.get('PYTHONPATH', '').split(os.pathsep) if path]
  sys.path[:] = [first, *named, *(path for path in sys.path if path.startswith(_LIBRARIES))]
  try:
    if kind == '-m':
      sys.argv = rest
      runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
    elif kind == '-c':
      sys.argv = ['-c', *rest[1:]]
      sys.modules['__main__'] = types.ModuleType('__main__')
      exec(compile(rest[0], '<string>', 'exec'), vars(sys.modules['__main__']))
    else:
      sys.argv = [kind, *rest]
      runpy.run_path(kind, run_name='__main__')
  finally:
    atexit._run_exitfuncs()  # multiprocessing ends a process without them.


class Process:
  """A running program; as `subprocess.Popen`, as far as tests need that."""

  def __init__(self, arguments, *, out, err, cwd=ROOT, env=None):
    """Starts `python ARGUMENTS`: -m and a module, -c and a text, or a file, and what follows.

    Args:
      out: Path of the file to which standard output is appended; it is made if it is not there.
      err: The same for standard error.
      env: The whole environment; None for this one.
    """
    for path in (out, err):
      pathlib.Path(path).touch()
    self._process = _CONTEXT.Process(target=_become, args=(
        [*map(str, arguments)], str(cwd), dict(os.environ if env is None else env), str(out), str(err)))
    self._process.start()
    self.args, self.pid = arguments, self._process.pid

  def poll(self) -> int | None:
    return self._process.exitcode

  def wait(self, timeout=None) -> int:
    self._process.join(timeout)
    if self._process.exitcode is None:
      raise subprocess.TimeoutExpired(self.args, timeout)
    return self._process.exitcode

  def send_signal(self, number):
    if self.poll() is None:
      os.kill(self.pid, number)

  def terminate(self):
    self.send_signal(signal.SIGTERM)

  def kill(self):
    self.send_signal(signal.SIGKILL)


def run(arguments, *, timeout, cwd=ROOT, env=None) -> subprocess.CompletedProcess:
  """Returns how `python ARGUMENTS` ended, as `Process` starts it, and what it said, as text."""
  with tempfile.TemporaryDirectory() as folder:
    out, err = pathlib.Path(folder, 'out'), pathlib.Path(folder, 'err')
    process = Process(arguments, out=out, err=err, cwd=cwd, env=env)
    try:
      code = process.wait(timeout)
    except BaseException:
      process.kill()
      raise
    return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())
