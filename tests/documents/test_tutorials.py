"""Each tutorial works as it is typed, from its first block to its last, in one folder.

A block of Python with a title is saved as that file; one without is run as a program; lines that start with `python`
are commands, those that end with & in the background. `test_commands.py` types the other documents.
"""

import contextlib
import getpass
import os
import pathlib
import re
import shlex

import pytest

from tests import forked
from tests.documents import commands
from tests.runtime import workers

_BLOCK = re.compile(r'^```([^\n]*)\n(.*?)^```', re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r'title="([^"]+)"')
# Of what a reader waits for: appended, so that they win.
_SHORT = {'pipelines.train': ['--rounds=2', '--rounds_per_evaluation=2']}


def _steps(text):
  """Yields (file to save or None, arguments of python) of each block."""
  for info, body in _BLOCK.findall(text):
    if title := _TITLE.search(info):
      yield title.group(1), body
    elif info.startswith('python'):
      yield None, ['-c', body]
    elif not info:
      for line in body.replace('\\\n', ' ').splitlines():
        if line.startswith('python '):
          yield None, shlex.split(line.replace('$USER', getpass.getuser()), comments=True)[1:]


def test_every_tutorial_has_steps():
  assert len(commands.TUTORIALS) == 6
  assert all(list(_steps(path.read_text())) for path in commands.TUTORIALS)


@contextlib.contextmanager
def _in_background(tmp_path, environment):
  """Yields what begins a command that ends with this context, and a list of the commands and their logs."""
  begun = []

  def begin(arguments):
    log = tmp_path / f'background_{len(begun)}'
    begun.append((forked.Process(arguments, cwd=tmp_path, env=environment, out=log, err=log), arguments, log))

  try:
    yield begin, begun
  finally:
    for process, _, _ in reversed(begun):
      process.terminate()
    for process, _, _ in begun:
      process.wait(30)


# One of its own needs programs that a machine may lack.
_OF_SITES = (workers.needs_nginx, workers.needs_sandbox, workers.needs_ssh)
_PAGES = [pytest.param(path, marks=_OF_SITES if path.stem == 'three_institutions' else (), id=path.stem)
          for path in commands.TUTORIALS]


@pytest.mark.ci
@pytest.mark.parametrize('path', _PAGES)
def test_the_tutorial_works_as_typed(path, tmp_path):
  environment = {'PATH': os.environ['PATH'], 'HOME': str(tmp_path), 'TF_CPP_MIN_LOG_LEVEL': '3',
                 'PYTHONPATH': f'{commands.ROOT}{os.pathsep}{tmp_path}'}
  with _in_background(tmp_path, environment) as (begin, begun):
    for name, content in _steps(path.read_text()):
      if name is not None:
        pathlib.Path(tmp_path, name).write_text(content)
        continue
      if content[-1] == '&':
        begin(content[:-1])
        continue
      # A plan says how many rounds there are.
      is_short = content[0] == '-m' and not any(argument.startswith('--plan=') for argument in content)
      done = forked.run([*content, *(_SHORT.get(content[1], []) if is_short else [])], cwd=tmp_path, env=environment,
                        timeout=300)
      told = ''.join(other.read_text()[-1000:] for _, _, other in begun) + done.stdout + done.stderr
      # The bound of an audit is above the theory in one of 1,000 runs, and ends with 3; see tests/privacy/audit.
      rings = content[1:2] == ['pipelines.audit'] and done.returncode == 3 and 'BROKEN: canaries:' in done.stderr
      assert (rings or done.returncode == 0) and 'Traceback' not in told, f'{shlex.join(content)[:300]}\n{told[-5000:]}'
    for process, arguments, log in begun:
      assert process.poll() is None, f'{shlex.join(arguments)[:300]}\n{log.read_text()[-3000:]}'
