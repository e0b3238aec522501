"""Whose folder it is: one comparison, one process."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator

from tff_vision import configs
from tff_vision.hospitals import study_config
from tff_vision.program import json_file, run_directory


def check(run_dir: pathlib.Path, config: configs.ExperimentConfig, study: study_config.StudyConfig) -> None:
  """Refuses a folder that this comparison must not write to; changes nothing.

  Raises:
    ValueError: It holds something else.
  """
  if _file(run_dir).exists():
    there, here = (_settings(content) for content in (json_file.read(_file(run_dir)), _content(config, study)))
    if not there:
      raise ValueError(f'{_file(run_dir)} holds no settings of a comparison.')
    if there != here:
      differing = '; '.join(f'{name} is {there.get(name)!r} there and {here.get(name)!r} here'
                            for name in {**there, **here} if there.get(name) != here.get(name))
      raise ValueError(f'run_dir={str(run_dir)!r} holds a comparison with other settings: {differing}.')
  elif run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
    raise ValueError(f'run_dir={str(run_dir)!r} is not an empty folder and holds no comparison.')


@contextlib.contextmanager
def claimed(run_dir: pathlib.Path, config: configs.ExperimentConfig, study: study_config.StudyConfig) -> Iterator[None]:
  """Makes `run_dir` this comparison's own for the `with` block.

  Raises:
    ValueError: It holds something else, another process is writing to it, or it cannot be written.
  """
  check(run_dir, config, study)
  if not _file(run_dir).exists():
    json_file.write(_file(run_dir), _content(config, study))
  with run_directory.exclusive(_file(run_dir)):
    yield


def _file(run_dir):
  return run_dir / 'comparison.json'


def _settings(content):
  """Returns the settings in a file by name; of what is no such file, none."""
  if not isinstance(content, dict) or not isinstance(content.get('config'), dict):
    return {}
  return {name: value for section in (*content['config'].values(), content.get('study')) if isinstance(section, dict)
          for name, value in section.items()}


def _content(config, study):
  """Returns the settings as they come back from the file."""
  return json.loads(json.dumps({'config': dataclasses.asdict(config), 'study': dataclasses.asdict(study)}))
