"""The how-to guides of federations: what one machine can type of them works as it stands, in the order of the pages.

Workers, doorways and trainings over several machines are typed by the tutorial on three institutions.
"""

import csv
import os
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from tests import forked
from tests.documents import commands
from tff_vision.federation import site_manifest
from tff_vision.runtime.worker import certificate_authority

GUIDES = [commands.ROOT / name for name in sorted(commands.OF_SEVERAL)]
# What needs other machines that answer.
_OF_OTHERS = ('pipelines.worker', 'pipelines.doorway', 'pipelines.train', 'pipelines.survey', 'pipelines.key_holder')
# Appended, so that they win: a small model, and no question.
_SHORT = {'pipelines.plan': ['--rounds=2', '--model=linear'], 'pipelines.approve': ['--yes']}
# Made by the first of these pages for the others.
_ORDER = ('federation.md', 'site.md', 'guard.md')


def typed():
  """Returns the commands in the order of the pages."""
  found = [command for guide in sorted(GUIDES, key=lambda path: _ORDER.index(path.name))
           for command in commands.commands(guide)]
  return [command for command in found
          if command.whole and command.module not in _OF_OTHERS and '...' not in command.arguments]


def _films(folder):
  """Writes films of a site whose labels are its own, as its archive would export them."""
  folder.mkdir(parents=True)
  random = np.random.default_rng(0)
  with open(folder / 'manifest.csv', 'w', newline='') as file:
    table = csv.writer(file)
    table.writerow(['path', 'label', 'patient'])
    for patient in range(20):
      Image.fromarray(random.integers(0, 256, (28, 28), np.uint8)).save(folder / f'{patient}.png')
      table.writerow([f'{patient}.png', ('healthy', 'ill')[patient % 2], patient])


def test_what_is_typed_is_most_of_what_there_is():
  modules = {command.module for command in typed()}
  assert modules == {f'pipelines.{name}' for name in ('plan', 'prepare', 'approve', 'certificates', 'site')}
  assert len(typed()) >= 7


@pytest.mark.ci
def test_the_guides_work_as_typed(tmp_path):
  _films(tmp_path / 'srv' / 'films')
  (tmp_path / 'labels.csv').write_text('healthy,normal\nill,abnormal\n')
  certificate_authority.make_authority(tmp_path)
  for site in ('north', 'south', 'west'):
    certificate_authority.make_worker(tmp_path, site)
  (tmp_path / 'audit.jsonl').touch()  # As of the worker, which has not been asked for anything.
  environment = os.environ | {'PYTHONPATH': str(commands.ROOT), 'TF_CPP_MIN_LOG_LEVEL': '3'}
  said = {}
  for command in typed():
    arguments = [re.sub(r'(?<==)/srv/', f'{tmp_path}/srv/', argument) for argument in command.arguments]
    if '--examples=1200,800,950,700' in arguments and 'pipelines.prepare' in said:  # Of these films there are fewer.
      prepared = site_manifest.read(tmp_path / 'srv' / 'prepared').clients[0].counts['train']
      arguments[arguments.index('--examples=1200,800,950,700')] = f'--examples={prepared},800,950,700'
    done = forked.run(['-m', command.module, *arguments, *_SHORT.get(command.module, [])], cwd=tmp_path,
                      env=environment, timeout=200)
    assert done.returncode == 0, f'{command}\n{done.stdout[-1000:]}{done.stderr[-2000:]}'
    said[command.module] = done.stdout
  assert 'site north of 3' in said['pipelines.approve'] and 'paused' in said['pipelines.site']
  assert pathlib.Path(tmp_path, 'site.html').exists() and pathlib.Path(tmp_path, 'approved.json').exists()
