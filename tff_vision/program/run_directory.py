"""The folder of one run: what is in it, who may read it and write to it, and whether a resumed run is the same run.

    config.json  metrics.csv  logdir/  report.json  report.html  export/          released
    secret/      server_secret  data_fingerprint.json  journal.jsonl  checkpoints/  client_states/  canaries.jsonl

What is released holds nothing that the run's promises do not cover; docs/privacy.md goes through it file by file. What
is secret is its owner's alone, whatever the umask, and is wiped when a run under a promise ends. Folders of earlier
versions hold the secret files beside the others; they are read where they are.
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

from tff_vision import configs, secret_files
from tff_vision.program import json_file, same_data

_SECRETS = ('server_secret', 'data_fingerprint.json', 'journal.jsonl', 'checkpoints', 'client_states', 'canaries.jsonl')
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
  def secrets(self) -> pathlib.Path:
    return self.path / 'secret'

  @property
  def server_secret(self) -> pathlib.Path:
    return self._secret('server_secret')

  @property
  def data_fingerprint(self) -> pathlib.Path:
    return self._secret('data_fingerprint.json')

  @property
  def journal(self) -> pathlib.Path:
    return self._secret('journal.jsonl')

  @property
  def checkpoints(self) -> pathlib.Path:
    return self._secret('checkpoints')

  @property
  def client_states(self) -> pathlib.Path:
    return self._secret('client_states')

  @property
  def audit(self) -> pathlib.Path:
    return self.secrets / 'audit'

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
    # Names may read like numbers.
    return {**json_file.with_numbers(report), 'config': report['config'], 'dataset': report['dataset']}

  def secret(self) -> bytes:
    """Returns the run's 32 bytes that no reader of its results may know: fresh ones until `opened` has kept some.

    Raises:
      ValueError: Rounds have begun under bytes that are lost.
    """
    if self.server_secret.exists():
      return self.server_secret.read_bytes()
    if self.journal.exists() or self.metrics.exists():
      raise ValueError(f'resume is refused: the run in {str(self.path)!r} has begun, and its secrets are lost '
                       f'({self.server_secret} is missing); to train on would release rounds a second time. Start a '
                       'new run.')
    return secrets.token_bytes(32)

  def is_wiped(self) -> bool:
    """Returns whether the run is finished and none of its own secrets is left to go on from."""
    return self.report_json.exists() and not any(self._secret(name).exists() for name in _SECRETS)

  def wipe(self) -> None:
    """Overwrites and deletes what is secret; to be called by who has the folder `opened`, after the report is there.

    All of it goes at once, by a rename: no half of it is ever taken for a run to go on with. A wiping that was cut off
    is finished by the next call.

    Raises:
      OSError: A file could be neither overwritten nor deleted.
    """
    doomed = self.path / 'secret.wiped'
    secret_files.wipe(doomed)
    if not any(self._secret(name).exists() for name in _SECRETS):
      return
    secret_files.make_folder(self.secrets)
    for name in _SECRETS:  # Of earlier versions.
      if (self.path / name).exists():
        secret_files.move(self.path / name, self.secrets / name)
    secret_files.move(self.secrets, doomed)
    secret_files.wipe(doomed)

  def config_at(self, data_dir: str | None) -> Any:
    """Returns the run's config, with its data in `data_dir`; None: they lie where they lay.

    Raises:
      ValueError: As `read_config`; or nothing tells whether the data there are the run's.
    """
    config = self.read_config()
    if data_dir is None:
      return config
    data_dir = os.path.abspath(os.path.expanduser(data_dir))
    self._check_moved(config.data.data_dir, data_dir)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, data_dir=data_dir))

  def _check_moved(self, before, now):
    if before != now and not self.data_fingerprint.exists() and not self.is_wiped():
      raise ValueError(f'data_dir is {before!r} there and {now!r} here, and nothing tells whether the data are the '
                       f'same: the run in {str(self.path)!r} has no {self.data_fingerprint.name}.')

  def check_data(self, fingerprint: Mapping[str, str]) -> None:
    """Refuses data that are not those that the run here began with; one that is wiped or older is not checked.

    Raises:
      ValueError: Names what differs.
    """
    if self.data_fingerprint.exists() and (
        wrong := same_data.differing(self.data_fingerprint, fingerprint, self.secret())):
      raise ValueError(f'the data are not those that the run in {str(self.path)!r} began with: {", ".join(wrong)} '
                       'differ. Bring them back as they were, or start a new run: images that were trained on could be '
                       'tested on.')

  def check_usable(self, config: Any, *, resume: bool) -> None:
    """Refuses a folder that a run with `config` must not write to; changes nothing.

    Raises:
      ValueError: Names the folder or the fields that differ.
    """
    if resume:
      saved = self._description()
      moved = getattr(getattr(config, 'data', None), 'data_dir', None)
      if moved is not None and moved != saved['data']['data_dir']:
        self._check_moved(saved['data']['data_dir'], moved)
        saved['data']['data_dir'] = moved
      if changed := _differences(saved, json.loads(json.dumps(configs.described(config)))):
        raise ValueError(f'resume is refused: the run in {str(self.path)!r} has another config: {changed}.')
    elif self.config.exists():
      raise ValueError(f'run_dir={str(self.path)!r} already holds a run; continue it with --resume or choose another '
                       'folder.')
    elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
      raise ValueError(f'run_dir={str(self.path)!r} exists and is not an empty folder.')

  @contextlib.contextmanager
  def opened(self, config: Any, secret: bytes | None = None, fingerprint: Mapping[str, str] | None = None
             ) -> Iterator[None]:
    """Makes the folder this run's own for the `with` block, and keeps its secret, if it has one.

    The fingerprint of the run's data is kept under the key of that secret: it would tell who has a list of candidates
    which of them were trained on. Where data have moved, the config follows them.

    A run that is refused in the block, before its first round, leaves nothing behind.

    Raises:
      ValueError: Another process is writing to it, or it cannot be written.
    """
    new_run, new_folder = not self.config.exists(), not self.path.exists()
    try:
      self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
      if not self.config.exists():
        part = self.config.with_suffix('.part')
        try:
          part.write_text(configs.to_json(config))
          os.replace(part, self.config)
        finally:
          part.unlink(missing_ok=True)
    except OSError as error:
      raise ValueError(f'run_dir={str(self.path)!r} cannot be written: {error.strerror}.') from None
    with exclusive(self.config):
      if fingerprint and not new_run and self._description() != json.loads(json.dumps(configs.described(config))):
        self.config.write_text(configs.to_json(config))  # In place: the lock is on this very file.
      if not self.is_wiped():
        self._close_secrets(secret)
        if secret is not None and fingerprint and not self.data_fingerprint.exists():
          same_data.write(self.data_fingerprint, fingerprint, self.secret())
      try:
        yield
      except (ValueError, OSError):
        if new_run and self._has_not_begun():
          self.config.unlink()
          secret_files.wipe(self.secrets)
          if new_folder:
            self.path.rmdir()
        raise

  def _secret(self, name):
    """Returns where a secret file is: beside the others if an earlier version put it there."""
    earlier = self.path / name
    return earlier if earlier.exists() else self.secrets / name

  def _close_secrets(self, secret):
    """Keeps the run's secret, if it has one, and everybody else from all that is secret."""
    secret_files.make_folder(self.secrets)
    for name in _SECRETS:
      secret_files.close_to_others(self._secret(name))
    if secret is not None and not self.server_secret.exists():
      part = self.server_secret.with_suffix('.part')
      part.unlink(missing_ok=True)
      with secret_files.opened(part, 'wb') as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
      secret_files.move(part, self.server_secret)

  def _has_not_begun(self):
    return (set(self.path.iterdir()) <= {self.config, self.secrets} and
            set(self.secrets.iterdir()) <= {self.server_secret, self.data_fingerprint})


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
