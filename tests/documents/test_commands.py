"""What the documents tell the reader to type works as it stands, with fewer rounds."""

import io
import json
import os
import re
import shutil
import tarfile

import nibabel as nib
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from tests import forked
from tests.documents import commands

# Flags that make a command short; appended, so that they win.
SHORT = {
    'pipelines.train': ['--rounds=2', '--rounds_per_evaluation=2'],
    'pipelines.sweep': ['--rounds=2', '--rounds_per_evaluation=2'],
    'pipelines.control': ['--rounds=2', '--rounds_per_evaluation=2', '--environments=2', '--cohort_size=2'],
    'pipelines.hospitals': ['--dataset=synthetic_chest', '--rounds=1', '--private_rounds=1', '--bootstraps=20'],
}
PLACEHOLDER = re.compile(r'(?!CPU)[A-Z]{2,}|…|\.\.\.')  # CPU is a device.
ALL = [command for document in commands.DOCUMENTS for command in commands.commands(document)]


def test_commands_are_found():
  assert len({command.module for command in ALL}) > 8
  assert any(command.document == 'index.md' and command.whole for command in ALL)


@pytest.mark.parametrize('module', sorted({command.module for command in ALL if command.module != 'pipelines.NAME'}))
def test_every_module_and_flag_that_a_document_names_exists(module):
  source = commands.ROOT / (module.replace('.', '/') + '.py')
  assert source.is_file(), module
  if not any(command.arguments for command in ALL if command.module == module):
    return
  told = forked.run(['-m', module, '--helpfull'], timeout=120).stdout
  known = set(re.findall(r'^\s*--(?:\[no\])?([a-z_0-9]+)', told, re.MULTILINE)) | {'help', 'helpfull', 'flagfile'}
  for command in ALL:
    if command.module == module:
      named = {name for argument in command.arguments for name in re.findall(r'^--([a-z_0-9]+)', argument)}
      unknown = {name for name in named if not {name, name.removeprefix('no')} & known}
      assert not unknown, f'{command}: no flag {unknown}'


@pytest.fixture(scope='module')
def checkout(tmp_path_factory):
  """A folder in which a reader could sit: the recipes of the checkout, and the files that the documents mention."""
  folder = tmp_path_factory.mktemp('reader')
  shutil.copytree(commands.ROOT / 'pipelines' / 'recipes', folder / 'pipelines' / 'recipes')
  shade = np.random.default_rng(0)
  Image.fromarray(shade.integers(0, 256, (28, 28), np.uint8)).save(folder / 'photo.png')
  for hospital in ('east', 'north', 'west'):
    for finding in ('healthy', 'ill'):
      images = folder / 'home' / 'xrays' / hospital / finding
      images.mkdir(parents=True)
      for i in range(12):
        Image.fromarray(shade.integers(0, 256, (64, 64), np.uint8)).save(images / f'{i}.png')
  _write_tables(folder / 'home', shade)
  return folder


def _write_tables(home, shade):
  """Writes the data sets that documents mention and that are a file of many images."""
  for name in ('cats', 'shards', 'leaf/data/femnist'):
    (home / name).mkdir(parents=True)
  pictures = []
  for _ in range(60):
    out = io.BytesIO()
    Image.fromarray(shade.integers(0, 256, (32, 32, 3), np.uint8)).save(out, 'PNG')
    pictures.append(out.getvalue())
  parquet.write_table(pa.table({'image': [{'bytes': picture, 'path': None} for picture in pictures],
                                'label': ['cat', 'dog'] * 30}), home / 'cats' / 'train-00000-of-00001.parquet')
  with tarfile.open(home / 'shards' / 'train-000000.tar', 'w') as shard:
    for number, picture in enumerate(pictures):
      for suffix, content in (('png', picture), ('cls', str(number % 2).encode())):
        member = tarfile.TarInfo(f'{number:06d}.{suffix}')
        member.size = len(content)
        shard.addfile(member, io.BytesIO(content))
  for place in range(6):  # Volumes with masks, of two hospitals.
    for name, values in (('images', shade.normal(0, 1, (12, 12, 8))), ('masks', shade.integers(0, 2, (12, 12, 8)))):
      folder = home / 'scans' / f'hospital_{place % 2}' / name
      folder.mkdir(parents=True, exist_ok=True)
      nib.save(nib.Nifti1Image(values.astype(np.int16), np.eye(4)), folder / f'{place}.nii.gz')
  users = {f'f{user}': {'x': (shade.integers(0, 256, (6, 784)) / 255).tolist(), 'y': [0, 1] * 3} for user in range(12)}
  (home / 'leaf' / 'data' / 'femnist' / 'all_data.json').write_text(json.dumps({'users': list(users),
                                                                                'user_data': users}))


@pytest.mark.ci
@pytest.mark.parametrize('document', commands.TYPED, ids=lambda path: path.name)
def test_every_command_of_a_document_runs(document, checkout):
  environment = os.environ | {'PYTHONPATH': str(commands.ROOT), 'TF_CPP_MIN_LOG_LEVEL': '3',
                              'HOME': str(checkout / 'home')}
  shutil.rmtree(checkout / 'runs', ignore_errors=True)
  shown = commands.commands(document)
  for position, command in enumerate(shown):
    if not command.whole or not command.module.startswith('pipelines.'):
      continue  # Mentioned, or a benchmark: its module and flags are checked above.
    if _is_typed_for_another(document, command, shown[position + 1:]):
      continue
    assert not any(PLACEHOLDER.fullmatch(part) for argument in command.arguments
                   for part in argument.split('=')[1:]), f'{command} stands in a block and cannot be typed as it is'
    arguments = [argument.replace('~', str(checkout / 'home')) for argument in command.arguments]
    # Halving compares cells after rounds that a short run does not have.
    short = [] if any('--halving' in argument for argument in arguments) else SHORT.get(command.module, [])
    done = forked.run(['-m', command.module, *arguments, *short], cwd=checkout, env=environment, timeout=600)
    told = done.stdout + done.stderr
    if done.returncode and _cannot_be_fetched(told):
      continue
    assert done.returncode == 0, f'{command}\n{told[-3000:]}'
    assert 'Traceback' not in told, f'{command}\n{told[-3000:]}'


def _is_typed_for_another(document, command, later) -> bool:
  """Whether another document has the same command and nothing in this one reads its run."""
  runs = [argument.partition('=')[2] for argument in command.arguments if argument.startswith('--run_dir=')]
  if any(run in argument for run in runs for other in later for argument in other.arguments):
    return False
  same = [path for path in commands.TYPED for other in commands.commands(path)
          if other.whole and (other.module, other.arguments) == (command.module, command.arguments)]
  return same[-1] != document


def _cannot_be_fetched(told: str) -> bool:
  """Whether a command ended with the one sentence that says which data or optional package is missing."""
  lines = told.strip().splitlines()
  return len(lines) <= 2 and 'Traceback' not in told and (
      'not on this machine' in lines[-1] or 'is not installed: pip install' in lines[-1])
