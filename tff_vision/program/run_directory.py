"""The folder of one run: what is in it, who may write to it, and whether a resumed run is the same run.

    config.json  server_secret  journal.jsonl  checkpoints/  client_states/  metrics.csv  logdir/
    report.json  report.html  export/
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from tff_vision import configs
from tff_vision.program import json_file

_IN_EVERY_REPORT = {'config', 'dataset', 'model', 'evaluation', 'per_client', 'privacy', 'rounds', 'environment'}


@dataclasses.dataclass(frozen=True)
class RunDirectory:
  """Paths of a run.

  Attributes:
    kind: The class of its config, whose fields are sections.
  """
  path: pathlib.Path
  kind: type = configs.ExperimentConfig

  @property
  def config(self) -> pathlib.Path:
    return self.path / 'config.json'

  @property
  def server_secret(self) -> pathlib.Path:
    return self.path / 'server_secret'

  @property
  def journal(self) -> pathlib.Path:
    return self.path / 'journal.jsonl'

  @property
  def checkpoints(self) -> pathlib.Path:
    return self.path / 'checkpoints'

  @property
  def client_states(self) -> pathlib.Path:
    return self.path / 'client_states'

  @property
  def metrics(self) -> pathlib.Path:
    return self.path / 'metrics.csv'

  @property
  def logdir(self) -> pathlib.Path:
    return self.path / 'logdir'

  @property
  def report_json(self) -> pathlib.Path:
    return self.path / 'report.json'

  @property
  def report_html(self) -> pathlib.Path:
    return self.path / 'report.html'

  @property
  def export(self) -> pathlib.Path:
    return self.path / 'export'

  def read_config(self) -> Any:
    """Returns the config of the run that is here.

    Raises:
      ValueError: There is no run here, or its config is unreadable.
    """
    return self._read(configs.from_json)

  def _description(self):
    return json.loads(json.dumps(self._read(configs.read_description)))

  def _read(self, parse):
    try:
      return parse(self.config.read_text(), self.kind)
    except FileNotFoundError:
      raise ValueError(f'run_dir={str(self.path)!r} holds no run: {self.config} is missing.') from None
    except (ValueError, TypeError, OSError) as error:
      raise ValueError(f'{self.config} is no config of a run: {error}') from None

  def read_report(self) -> Mapping[str, Any]:
    """Returns what the finished run here reported.

    Raises:
      ValueError: The run is not finished, or its report is unreadable.
    """
    if not self.report_json.exists():
      raise ValueError(f'the run in {str(self.path)!r} is not finished: it has no report.json.')
    report = json_file.read(self.report_json)
    if not isinstance(report, dict) or (missing := _IN_EVERY_REPORT - set(report)):
      lacks = f', it lacks {", ".join(sorted(missing))}' if isinstance(report, dict) else ''
      raise ValueError(f'{self.report_json} is no report of a run{lacks}.')
    return report

  def secret(self) -> bytes:
    """Returns the run's 32 bytes that no reader of its results may know: fresh ones until `opened` has kept some."""
    return self.server_secret.read_bytes() if self.server_secret.exists() else secrets.token_bytes(32)

  def check_usable(self, config: Any, *, resume: bool) -> None:
    """Refuses a folder that a run with `config` must not write to; changes nothing.

    Raises:
      ValueError: Names the folder or the fields that differ.
    """
    if resume:
      if changed := _differences(self._description(), json.loads(json.dumps(configs.described(config)))):
        raise ValueError(f'resume is refused: the run in {str(self.path)!r} has another config: {changed}.')
    elif self.config.exists():
      raise ValueError(f'run_dir={str(self.path)!r} already holds a run; continue it with --resume or choose another '
                       'folder.')
    elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
      raise ValueError(f'run_dir={str(self.path)!r} exists and is not an empty folder.')

  @contextlib.contextmanager
  def opened(self, config: Any, secret: bytes | None = None) -> Iterator[None]:
    """Makes the folder this run's own for the `with` block, and keeps its secret, if it has one.

    A run that is refused in the block, before its first round, leaves nothing behind.

    Raises:
      ValueError: Another process is writing to it, or it cannot be written.
    """
    new_run, new_folder = not self.config.exists(), not self.path.exists()
    try:
      self.path.mkdir(parents=True, exist_ok=True)
      if not self.config.exists():
        part = self.config.with_suffix('.part')
        part.write_text(configs.to_json(config))
        os.replace(part, self.config)
    except OSError as error:
      raise ValueError(f'run_dir={str(self.path)!r} cannot be written: {error.strerror}.') from None
    with exclusive(self.config):
      if secret is not None and not self.server_secret.exists():
        part = self.server_secret.with_suffix('.part')
        part.touch(mode=0o600)
        part.write_bytes(secret)
        os.replace(part, self.server_secret)
      try:
        yield
      except (ValueError, OSError):
        if new_run and set(self.path.iterdir()) <= {self.config, self.server_secret}:
          self.config.unlink()
          self.server_secret.unlink(missing_ok=True)
          if new_folder:
            self.path.rmdir()
        raise


@contextlib.contextmanager
def exclusive(path: pathlib.Path) -> Iterator[None]:
  """Keeps every other process out of the folder of `path`, a file that is there, for the `with` block.

  Raises:
    ValueError: Another process is writing to the folder, or the file cannot be read.
  """
  try:
    lock = path.open()
  except OSError as error:
    raise ValueError(f'run_dir={str(path.parent)!r} cannot be used: {error.strerror}.') from None
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ValueError(f'run_dir={str(path.parent)!r} is in use by another process.') from None
    yield


def _differences(saved, wanted):
  return '; '.join(f'{name} is {saved[section][name]!r} there and {value!r} here'
                   for section, fields in wanted.items() for name, value in fields.items()
                   if saved[section][name] != value)
