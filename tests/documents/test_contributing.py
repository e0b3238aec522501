"""Does what CONTRIBUTING.md says: writes its files, runs their checks, names them by flags, and makes them built in."""

import json
import os
import pathlib
import re
import shutil

import pytest

from tests import forked

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGE = (ROOT / 'CONTRIBUTING.md').read_text()
FILES = {re.match(r'# (\w+)\.py\n', block)[1]: block for block in re.findall(r'```python\n(.*?)```', PAGE, re.S)}
DIFFS = re.findall(r'```diff\n(.*?)```', PAGE, re.S)
# Where the files belong once they are built in.
PACKAGES = {'my_algorithm': 'algorithms', 'my_data': 'data/sources', 'my_mechanism': 'privacy/mechanisms'}
_TINY = ['--rounds=1', '--num_clients=3', '--cohort_size=3', '--client_epochs=1']

pytestmark = pytest.mark.ci


def applied(root, diff):
  """Types a diff of this page: after the only line that begins as a line of context does, the lines that follow it."""
  path = None
  for line in diff.splitlines():
    if line.startswith('--- '):
      path = root / line.removeprefix('--- ')
      continue
    text = path.read_text()
    if line.startswith(' '):
      places = [match for match in re.finditer(f'^{re.escape(line[1:])}', text, re.M)]
      assert len(places) == 1, f'{path}: {len(places)} lines begin with {line[1:]!r}'
      # Behind an opening bracket, or at the end of the line.
      at = places[0].end() if line.endswith(('{', '(')) else text.index('\n', places[0].end())
      continue
    assert line.startswith('+'), line
    added = f'\n{line[1:]}'
    if text[at:at + 1] != '\n':
      added += '\n    '
    path.write_text(text[:at] + added + text[at:])
    at += len(added)


def python(*arguments, root):
  done = forked.run(arguments, cwd=root, timeout=400, env={**os.environ, 'PYTHONPATH': str(root)})
  assert done.returncode == 0, f'{arguments}: {done.stderr[-3000:]}'
  return done.stdout


@pytest.fixture(name='copy', scope='module')
def _copy(tmp_path_factory):
  """A copy of the repository's code, with the page's files beside it."""
  root = tmp_path_factory.mktemp('copy')
  for package in ('tff_vision', 'flags', 'pipelines'):
    shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns('__pycache__'))
  for name, text in FILES.items():
    (root / f'{name}.py').write_text(text)
  return root


def test_every_part_has_a_file_a_check_and_a_flag():
  checked = {name for name in FILES if "__name__ == '__main__'" in FILES[name]}
  assert checked == set(FILES) - {'my_mechanism'}
  assert {name for name in FILES if f'={name}:' in PAGE} == checked
  from tff_vision import testing
  checks = {name for name in vars(testing) if name.startswith('check_')} - {'check_images'}
  assert checks == set(re.findall(r'tv\.testing\.(check_\w+)', PAGE))


def test_files_of_ones_own_pass_their_checks_and_train(copy):
  checks = ''.join(f'runpy.run_path({name + ".py"!r}, run_name="__main__")\n' for name in FILES)
  python('-c', f'import runpy\n{checks}', root=copy)
  flags = [flag for command in re.findall(r'^python -m pipelines\.train (.*)$', PAGE, re.M) for flag in command.split()]
  assert len(flags) == 6, flags
  python('-m', 'pipelines.train', *_TINY, '--run_dir=own', *flags, root=copy)
  report = json.loads((copy / 'own' / 'report.json').read_text())
  assert report['config']['algorithm']['algorithm'] == 'my_algorithm:SignSgd' and report['rounds'] == 1
  assert report['dataset']['class_names'] == ['across', 'along']


def test_built_in_they_have_names(copy):
  for name, package in PACKAGES.items():
    shutil.copy(copy / f'{name}.py', copy / 'tff_vision' / package)
  for diff in DIFFS:
    applied(copy, diff)
  python('-m', 'pipelines.train', *_TINY, '--run_dir=named', '--dataset=stripes', '--model=linear',
         '--algorithm=sign_sgd', root=copy)
  assert json.loads((copy / 'named' / 'report.json').read_text())['dataset']['name'] == 'stripes'
  python('-m', 'pipelines.train', *_TINY, '--run_dir=private', '--dataset=stripes', '--model=linear',
         '--privacy=my_gaussian', '--sampling=poisson', '--cohort_size=2', '--clip_norm=1', '--noise_multiplier=1',
         '--delta=0.01', root=copy)
  report = json.loads((copy / 'private' / 'report.json').read_text())
  assert report['config']['privacy']['privacy'] == 'my_gaussian' and report['privacy']['epsilon'] > 0
