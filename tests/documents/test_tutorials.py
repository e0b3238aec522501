"""Each tutorial works as it is typed, from its first block to its last, in one folder.

A block of Python with a title is saved as that file; one without is run as a program; lines that start with `python`
are commands. `test_commands.py` types the other documents.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

from tests.documents import commands

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
          yield None, shlex.split(line, comments=True)[1:]


def test_every_tutorial_has_steps():
  assert len(commands.TUTORIALS) == 5
  assert all(list(_steps(path.read_text())) for path in commands.TUTORIALS)


@pytest.mark.ci
@pytest.mark.parametrize('path', commands.TUTORIALS, ids=lambda path: path.stem)
def test_the_tutorial_works_as_typed(path, tmp_path):
  environment = {'PATH': os.environ['PATH'], 'HOME': str(tmp_path), 'TF_CPP_MIN_LOG_LEVEL': '3',
                 'PYTHONPATH': f'{commands.ROOT}{os.pathsep}{tmp_path}'}
  for name, content in _steps(path.read_text()):
    if name is not None:
      pathlib.Path(tmp_path, name).write_text(content)
      continue
    short = _SHORT.get(content[1], []) if content[0] == '-m' else []
    log = tmp_path / 'log'
    with open(log, 'wb') as output:
      done = subprocess.run([sys.executable, *content, *short], cwd=tmp_path, env=environment, check=False,
                            stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=300)
    told = log.read_text()
    assert done.returncode == 0 and 'Traceback' not in told, f'{shlex.join(content)[:300]}\n{told[-3000:]}'
