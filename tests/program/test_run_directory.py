"""The run directory: one run, one process, one config; JSON files that are whole or absent."""

import dataclasses
import json
import math
import multiprocessing
import os
import shutil

import pytest

from tff_vision import configs
from tff_vision.configs import validate
from tff_vision.program import json_file, run_directory, whole_file

CONFIG = configs.ExperimentConfig()


def test_a_fresh_folder_is_taken_and_keeps_its_config(tmp_path):
  directory = run_directory.RunDirectory(tmp_path / 'a' / 'b')
  directory.check_usable(CONFIG, resume=False)
  assert not directory.path.exists(), 'checking must not write'
  with directory.opened(CONFIG):
    assert directory.read_config() == CONFIG
  directory.check_usable(CONFIG, resume=True)
  with pytest.raises(ValueError, match='already holds a run'):
    directory.check_usable(CONFIG, resume=False)


def test_the_first_secret_stays_and_only_its_owner_reads_it(tmp_path):
  directory = run_directory.RunDirectory(tmp_path)
  first = directory.secret()
  assert len(first) == 32 and first != directory.secret(), 'nothing is kept before the folder is opened'
  for secret in (first, b'1' * 32):
    with directory.opened(CONFIG, secret):
      assert directory.secret() == first
  assert directory.server_secret.stat().st_mode & 0o077 == 0


def test_another_config_is_refused_naming_every_field(tmp_path):
  directory = run_directory.RunDirectory(tmp_path)
  with directory.opened(CONFIG):
    pass
  other = dataclasses.replace(CONFIG, program=configs.ProgramConfig(rounds=7, seed=9))
  with pytest.raises(ValueError, match='rounds is 80 there and 7 here; seed is 0 there and 9 here'):
    directory.check_usable(other, resume=True)


def _open(path, answers):
  try:
    with run_directory.RunDirectory(path).opened(CONFIG):
      answers.put('opened')
  except ValueError as error:
    answers.put(str(error))


def test_two_processes_never_write_to_one_folder(tmp_path):
  context = multiprocessing.get_context('spawn')
  answers = context.Queue()
  with run_directory.RunDirectory(tmp_path).opened(CONFIG):
    process = context.Process(target=_open, args=(tmp_path, answers))
    process.start()
    assert 'in use by another process' in answers.get(timeout=60)
    process.join()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='file/run'):
    with run_directory.RunDirectory(tmp_path / 'file' / 'run').opened(CONFIG):
      pass


@pytest.mark.parametrize('folder_there', [True, False])
def test_a_run_refused_before_its_first_round_leaves_nothing(tmp_path, folder_there):
  directory = run_directory.RunDirectory(tmp_path / 'run')
  if folder_there:
    directory.path.mkdir()
  with pytest.raises(ValueError, match='no room'), directory.opened(CONFIG, b'1' * 32):
    raise ValueError('no room')
  assert directory.path.exists() == folder_there and not list(tmp_path.rglob('run/*'))
  for refused_at_once in False, True:  # A run that has begun stays, and so does one that is refused on resume.
    with pytest.raises(ValueError), directory.opened(CONFIG, b'1' * 32):
      if not refused_at_once:
        directory.journal.write_text('')
      raise ValueError
    assert directory.config.exists() and directory.server_secret.exists()
    directory.journal.unlink(missing_ok=True)


def test_json_files_are_whole_and_hold_what_json_cannot(tmp_path):
  path = tmp_path / 'deep' / 'numbers.json'
  json_file.write(path, {'a': math.inf, 'b': [-math.inf, math.nan, 1.5], 3: (1, None)})
  assert json.loads(path.read_text()) == {'a': 'inf', 'b': ['-inf', 'nan', 1.5], '3': [1, None]}
  before = path.read_text()
  with pytest.raises(TypeError):
    json_file.write(path, {'a': object()})
  assert path.read_text() == before and [p.name for p in path.parent.iterdir()] == ['numbers.json']
  path.write_text('{')
  with pytest.raises(ValueError, match='numbers.json'):
    json_file.read(path)
  with pytest.raises(ValueError, match='nothing.json'):
    json_file.read(tmp_path / 'nothing.json')
  (tmp_path / 'binary.json').write_bytes(b'\xff\xfe')
  (tmp_path / 'list.json').write_text('[1]')
  for unreadable in 'binary.json', 'list.json', 'deep':
    with pytest.raises(ValueError, match=unreadable):
      json_file.read(tmp_path / unreadable)


def test_what_is_no_ordinary_file_is_written_to_and_a_link_stays_one(tmp_path):
  terminal, end = os.openpty()
  place = os.ttyname(end)
  whole_file.write(place, 'said')
  assert os.read(terminal, 4) == b'said' and os.isatty(end)
  os.close(terminal)
  os.close(end)
  (tmp_path / 'link').symlink_to('target')
  whole_file.write(tmp_path / 'link', 'text')
  assert (tmp_path / 'link').is_symlink() and (tmp_path / 'target').read_text() == 'text'


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
  (tmp_path / 'file').write_text('')
  for path, said in ((tmp_path, 'is a folder'), (tmp_path / 'file' / 'a' / 'b.json', 'file is no folder')):
    with pytest.raises(ValueError, match=f'json=.*{said}'):
      validate.writable_file(json=str(path))
    with pytest.raises(ValueError, match='cannot be written'):
      whole_file.write(path, 'text')
  assert [path.name for path in tmp_path.iterdir()] == ['file']
  assert not tmp_path.with_name(tmp_path.name + '.part').exists()
  validate.writable_file(json=str(tmp_path / 'new' / 'folder' / 'numbers.json'))


def test_the_secrets_of_an_earlier_version_are_read_closed_and_wiped_where_they_are(tmp_path):
  directory = run_directory.RunDirectory(tmp_path / 'run')
  with directory.opened(CONFIG, b'1' * 32):
    directory.journal.write_text('')
    directory.checkpoints.mkdir()
    (directory.checkpoints / 'state').write_bytes(b'key')
  for path in directory.secrets.iterdir():
    path.rename(directory.path / path.name)
    (directory.path / path.name).chmod(0o755)
  directory.secrets.rmdir()
  assert directory.secret() == b'1' * 32
  assert directory.journal == directory.path / 'journal.jsonl' and not directory.is_wiped()
  with directory.opened(CONFIG, b'2' * 32):
    assert directory.secret() == b'1' * 32
    for path in directory.server_secret, directory.journal, directory.checkpoints / 'state':
      assert path.stat().st_mode & 0o777 == 0o600
    json_file.write(directory.report_json, {})
    directory.wipe()
  assert directory.is_wiped() and {path.name for path in directory.path.iterdir()} == {'config.json', 'report.json'}
  with directory.opened(CONFIG, b'3' * 32):  # A finished run gets no secrets again.
    assert not directory.secrets.exists()


def test_a_run_without_its_secrets_does_not_go_on(tmp_path):
  directory = run_directory.RunDirectory(tmp_path)
  with directory.opened(CONFIG, b'1' * 32):
    directory.metrics.write_text('round_num\n1\n')
  shutil.rmtree(directory.secrets)
  with pytest.raises(ValueError, match='its secrets are lost'):
    directory.secret()
