"""Locks the folder of a comparison for one process, and says what in it is secret."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator

from tff_vision import configs, secret_files
from tff_vision.program import json_file, run_directory
from tff_vision.studies.hospitals import study_config


def check(run_dir: pathlib.Path, config: configs.ExperimentConfig, study: study_config.StudyConfig) -> None:
  """Refuses a folder that this comparison must not write to; changes nothing.

  Raises:
    ValueError: The folder holds something else.
  """
  if _file(run_dir).exists():
    there, here = (_settings(content) for content in (json_file.read(_file(run_dir)), _content(config, study)))
    if not there:
      raise ValueError(f'{_file(run_dir)} holds no settings of a comparison.')
    if differing := [name for name in {**there, **here} if there.get(name) != here.get(name)]:
      said = '; '.join(f'{name} is {there.get(name)!r} there and {here.get(name)!r} here' for name in differing)
      raise ValueError(f'run_dir={str(run_dir)!r} holds a comparison with other settings: {said}.')
  elif run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
    raise ValueError(f'run_dir={str(run_dir)!r} is not an empty folder and holds no comparison.')


@contextlib.contextmanager
def claimed(run_dir: pathlib.Path, config: configs.ExperimentConfig, study: study_config.StudyConfig) -> Iterator[None]:
  """Locks `run_dir` for this comparison during the `with` block.

  Raises:
    ValueError: The folder holds something else, another process is writing to it, or it cannot be written.
  """
  check(run_dir, config, study)
  if not _file(run_dir).exists():
    json_file.write(_file(run_dir), _content(config, study))
  with run_directory.exclusive(_file(run_dir)):
    yield


def secrets(run_dir: pathlib.Path) -> pathlib.Path:
  """Returns the folder of finished models, open only to its owner; models of earlier versions are moved there."""
  folder = run_dir / 'secret'
  secret_files.make_folder(folder)
  if (run_dir / 'models').exists():
    secret_files.move(run_dir / 'models', folder / 'models')
    secret_files.close_to_others(folder)
  return folder


def wipe(run_dir: pathlib.Path) -> None:
  """Overwrites and deletes all models together; completes a wipe that was interrupted.

  Raises:
    OSError: A file could be neither overwritten nor deleted.
  """
  doomed = run_dir / 'secret.wiped'
  secret_files.wipe(doomed)
  if (run_dir / 'secret').exists():
    secret_files.move(run_dir / 'secret', doomed)
    secret_files.wipe(doomed)


def is_finished(run_dir: pathlib.Path) -> bool:
  """Returns whether the report exists and no model is left from which to make it again."""
  return (run_dir / 'report.json').exists() and not any((run_dir / name).exists() for name in ('secret', 'models'))


def _file(run_dir):
  return run_dir / 'comparison.json'


def _settings(content):
  """Returns the settings in a file by name; none if it is not a file of settings."""
  if not isinstance(content, dict) or not isinstance(content.get('config'), dict):
    return {}
  return {name: value for section in (*content['config'].values(), content.get('study')) if isinstance(section, dict)
          for name, value in section.items()}


def _content(config, study):
  """Returns the settings as they are read back from the file."""
  return json.loads(json.dumps({'config': dataclasses.asdict(config), 'study': dataclasses.asdict(study)}))
