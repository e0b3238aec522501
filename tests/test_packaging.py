"""The lock, the set-up script and the files around them, as a user meets them."""

import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tff_vision.diagnosis import lock

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_NAME = re.compile(r'^[A-Za-z0-9][A-Za-z0-9._-]*')


def _requirements(name):
  """(line above, line) of each requirement in a file."""
  lines = (_ROOT / name).read_text().splitlines()
  return [(before, line) for before, line in zip(['', *lines], lines, strict=False) if _NAME.match(line)]


def _run_setup(folder, python=sys.executable):
  """Runs setup.py in an environment of its own, which holds what lies in `folder`; builds nothing."""
  environment = {'PATH': os.environ['PATH'], 'PYTHONPATH': str(folder), 'PYTHONDONTWRITEBYTECODE': '1'}
  return subprocess.run([python, str(_ROOT / 'setup.py'), '--name'], cwd=folder, env=environment, text=True,
                        capture_output=True, stdin=subprocess.DEVNULL, timeout=120)


@pytest.fixture(scope='module')
def bare_python(tmp_path_factory):
  """An environment with nothing in it, not even pip."""
  folder = tmp_path_factory.mktemp('bare')
  subprocess.run([sys.executable, '-m', 'venv', '--without-pip', str(folder)], check=True, timeout=120)
  return str(folder / 'bin' / 'python')


def _pretend_installed(folder, versions):
  """Lays down the metadata of packages, which is all that setup.py looks at."""
  for name, version in versions.items():
    info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')


def test_every_locked_line_is_one_version():
  lines = [line for line in (_ROOT / 'requirements.txt').read_text().splitlines() if line.strip()]
  pins = [line for line in lines if not line.lstrip().startswith('#')]
  assert len(pins) > 100
  assert all(re.fullmatch(r'[a-z0-9][a-z0-9.-]*==[\w.+!-]+', pin) for pin in pins)
  assert len(lock.exact_pins('\n'.join(pins))) == len(pins), 'a package is locked twice'


def test_lock_names_its_command_and_neither_host_nor_machine():
  text = (_ROOT / 'requirements.txt').read_text()
  assert '#    make lock' in text.splitlines()[:3]
  assert not re.search(r'://|--(extra-)?index-url|--find-links|/(home|root|work|tmp)/', text)


def test_everything_asked_for_is_locked_within_its_bounds():
  from packaging.requirements import Requirement
  locked = lock.exact_pins((_ROOT / 'requirements.txt').read_text())
  for name in lock.DEMANDS:
    for _, line in _requirements(name):
      requirement = Requirement(line)
      assert requirement.specifier.contains(locked[lock.canonical(requirement.name)]), line


def test_each_extra_pin_has_its_reason_above_it():
  extra = [('overrides', *pin) for pin in _requirements('requirements.overrides.txt')[:1]]
  in_file = _requirements('requirements.in')
  extra += [('in', before, line) for before, line in in_file if '<' in line]
  names = ('tensorflow-metadata', 'importlib-resources', 'tenseal')
  extra += [('in', before, line) for before, line in in_file if line.startswith(names)]
  assert len(extra) >= 8
  for _, before, line in extra:
    assert before.startswith('# ') and len(before) > 40, f'{line} has no reason'


def test_setup_in_an_empty_environment_says_what_to_type(tmp_path, bare_python):
  done = _run_setup(tmp_path, bare_python)
  assert done.returncode == 1
  assert lock.INSTALL_LOCK in done.stderr and lock.INSTALL_PROJECT in done.stderr
  assert 'absl-py==' in done.stderr and 'Traceback' not in done.stderr
  assert 'jaxlib' not in done.stderr, 'the riddle'


def test_setup_names_the_version_that_the_project_chose_itself(tmp_path, bare_python):
  locked = lock.exact_pins((_ROOT / 'requirements.txt').read_text())
  _pretend_installed(tmp_path, locked | {'tensorflow': '2.15.0', 'zipp': '1.0'})
  done = _run_setup(tmp_path, bare_python)
  assert done.returncode == 1
  assert 'wrong version: tensorflow==2.14.1 (has 2.15.0)' in done.stderr
  assert 'not the tested version: zipp' in done.stderr


def test_setup_goes_on_when_only_an_unchosen_version_differs(tmp_path):
  locked = lock.exact_pins((_ROOT / 'requirements.txt').read_text())
  _pretend_installed(tmp_path, locked | {'zipp': '1.0'})
  done = _run_setup(tmp_path)
  assert (done.returncode, done.stdout.strip()) == (0, 'tff_vision')


def test_the_library_and_the_pipelines_are_packed(tmp_path):
  """With every file in them, and nothing else."""
  source = tmp_path / 'source'
  source.mkdir()
  for name in ('setup.py', 'requirements.txt', 'requirements.in', 'requirements.overrides.txt'):
    shutil.copy(_ROOT / name, source)
  for name in ('tff_vision', 'flags', 'pipelines'):
    shutil.copytree(_ROOT / name, source / name, ignore=shutil.ignore_patterns('__pycache__'))
  subprocess.run([sys.executable, 'setup.py', '-q', 'build', '--build-lib', str(tmp_path / 'out')], cwd=source,
                 check=True, timeout=120, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
  packed = {path.relative_to(tmp_path / 'out') for path in (tmp_path / 'out').rglob('*') if path.is_file()}
  expected = {path.relative_to(source) for top in (source / 'tff_vision', source / 'flags', source / 'pipelines')
              for path in top.rglob('*') if path.is_file()}
  assert packed == expected


def test_a_pipeline_without_packages_says_what_to_type(bare_python):
  done = subprocess.run([bare_python, '-m', 'pipelines.doctor'], cwd=_ROOT, text=True, capture_output=True,
                        env={'PATH': os.environ['PATH'], 'PYTHONDONTWRITEBYTECODE': '1'}, timeout=120)
  assert done.returncode == 1
  assert 'make train' in done.stderr and lock.INSTALL_LOCK in done.stderr and 'Traceback' not in done.stderr


def test_this_environment_is_the_lock():
  """What the suite shows, it shows for the locked versions."""
  locked = lock.exact_pins((_ROOT / 'requirements.txt').read_text())
  assert {name: importlib.metadata.version(name) for name in locked} == locked


def test_the_libraries_for_gpus_are_those_that_tensorflow_asks_for():
  """But for TensorRT, whose release is gone from the package index."""
  from packaging.requirements import Requirement
  extra = [Requirement(line) for line in importlib.metadata.requires('tensorflow') if 'and-cuda' in line]
  asked = {lock.canonical(one.name): str(one.specifier).removeprefix('==') for one in extra}
  assert asked.pop('tensorrt') == '8.5.3.1'
  assert lock.exact_pins((_ROOT / 'requirements-gpu.txt').read_text()) == asked
  assert lock.exact_pins((_ROOT / 'requirements-gpu.in').read_text()) == asked


def test_make_train_installs_the_libraries_for_gpus_only_when_asked(tmp_path):
  make = lambda *options: subprocess.run(
      ['make', '-n', 'train', f'VENV={tmp_path}/venv', f'PYTHON={sys.executable}', *options], cwd=_ROOT, text=True,
      capture_output=True, check=True).stdout
  for plain in make(), make('GPU=0'):
    assert 'requirements-gpu' not in plain and '--runtime' not in plain
  asked = make('GPU=1')
  order = ['-r requirements.txt', '-r requirements-gpu.txt', 'pipelines.train --runtime=device']
  assert sorted(order, key=asked.index) == order
