"""The folder of one run: who may read it and write to it, and whether a resumed run is the same run.

`run_paths` lists its files. The released files hold nothing that the run's promises do not cover;
docs/explanation/privacy.md explains each file. Only the owner can read the secret files, whatever the umask. They are
wiped when a run under a promise ends.
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
from tff_vision.program import json_file, run_paths, same_data

_IN_EVERY_REPORT = {'config', 'dataset', 'model', 'evaluation', 'per_client', 'privacy', 'rounds', 'environment'}


@dataclasses.dataclass(frozen=True)
class RunDirectory(run_paths.RunPaths):
  """The folder of a run.

  Attributes:
    kind: The class of its config; each field of the class is one section.
  """
  kind: type = configs.ExperimentConfig

  def read_config(self) -> Any:
    """Returns the config of the run in this folder.

    Raises:
      ValueError: The folder holds no run, or its config is unreadable.
    """
    return self._read(configs.from_json)

  def description(self) -> Mapping[str, Any]:
    """Returns the content of config.json, also if the config has objects. Raises: As `read_config`."""
    return json.loads(json.dumps(self._read(configs.read_description)))

  def _read(self, parse):
    try:
      return parse(self.config.read_text(), self.kind)
    except FileNotFoundError:
      raise ValueError(f'run_dir={str(self.path)!r} holds no run: {self.config} is missing.') from None
    except (ValueError, TypeError, OSError) as error:
      raise ValueError(f'{self.config} is no config of a run: {error}') from None

  def read_report(self) -> Mapping[str, Any]:
    """Returns the report of the finished run in this folder.

    Raises:
      ValueError: The run is not finished, or its report is unreadable.
    """
    if not self.report_json.exists():
      raise ValueError(f'the run in {str(self.path)!r} is not finished: it has no report.json.')
    report = json_file.read(self.report_json)
    if not isinstance(report, dict) or (missing := _IN_EVERY_REPORT - set(report)):
      lacks = f', it lacks {", ".join(sorted(missing))}' if isinstance(report, dict) else ''
      raise ValueError(f'{self.report_json} is no report of a run{lacks}.')
    # In these two sections, strings such as a name may look like numbers and must stay strings.
    return {**json_file.with_numbers(report), 'config': report['config'], 'dataset': report['dataset']}

  def secret(self) -> bytes:
    """Returns the run's 32 secret bytes, which no reader of its results may know; new ones until `opened` saves some.

    Raises:
      ValueError: Rounds have begun, and the bytes that they used are lost.
    """
    if self.server_secret.exists():
      return self.server_secret.read_bytes()
    if self.journal.exists() or self.metrics.exists():
      raise ValueError(f'resume is refused: the run in {str(self.path)!r} has begun, and its secrets are lost '
                       f'({self.server_secret} is missing); to train on would release rounds a second time. Start a '
                       'new run.')
    return secrets.token_bytes(32)

  def is_wiped(self) -> bool:
    """Returns whether the run is finished and has no secret files left, so that it cannot be continued."""
    return self.report_json.exists() and not any(self.secret_file(name).exists() for name in run_paths.SECRETS)

  def wipe(self) -> None:
    """Overwrites and deletes the secret files; the caller has the folder `opened`, and the report exists.

    One rename first moves all secret files away, so that a half-wiped folder is never taken for a run to continue. If
    wiping was interrupted, the next call finishes it.

    Raises:
      OSError: A file could be neither overwritten nor deleted.
    """
    doomed = self.path / 'secret.wiped'
    secret_files.wipe(doomed)
    if not any(self.secret_file(name).exists() for name in run_paths.SECRETS):
      return
    secret_files.make_folder(self.secrets)
    for name in run_paths.SECRETS:  # Earlier versions kept them in the run folder itself.
      if (self.path / name).exists():
        secret_files.move(self.path / name, self.secrets / name)
    secret_files.move(self.secrets, doomed)
    secret_files.wipe(doomed)

  def config_at(self, data_dir: str | None) -> Any:
    """Returns the run's config with `data_dir` replaced; None: the data have not moved.

    Raises:
      ValueError: As `read_config`; or it cannot be checked whether the data there are the data of the run.
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
    """Refuses data that differ from the data at the beginning of the run.

    A run that is wiped, or of an earlier version without a fingerprint, is not checked.

    Raises:
      ValueError: The data differ; the message names the parts that differ.
    """
    if self.data_fingerprint.exists() and (
        wrong := same_data.differing(self.data_fingerprint, fingerprint, self.secret())):
      raise ValueError(f'the data are not those that the run in {str(self.path)!r} began with: {", ".join(wrong)} '
                       'differ. Bring them back as they were, or start a new run: images that were trained on could be '
                       'tested on.')

  def check_usable(self, config: Any, *, resume: bool) -> None:
    """Refuses a folder that a run with `config` must not write to; changes nothing.

    Raises:
      ValueError: The folder must not be used; the message names the folder or the fields that differ.
    """
    if resume:
      saved = self.description()
      moved = getattr(getattr(config, 'data', None), 'data_dir', None)
      if moved is not None and moved != saved['data']['data_dir']:
        self._check_moved(saved['data']['data_dir'], moved)
        saved['data']['data_dir'] = moved
      if changed := _differences(saved, json.loads(json.dumps(configs.described(config)))):
        raise ValueError(f'resume is refused: the run in {str(self.path)!r} has another config: {changed}.')
    elif self.config.exists():
      raise ValueError(f'run_dir={str(self.path)!r} already holds a run; continue it with --resume or choose another '
                       'folder.')
    elif self.path.exists() and (not self.path.is_dir() or self._files()):
      raise ValueError(f'run_dir={str(self.path)!r} exists and is not an empty folder.')

  def _files(self):
    """Returns what the folder holds, but for the half-written config of a run that was killed at once."""
    return set(self.path.iterdir()) - {self.config.with_suffix('.part')}

  @contextlib.contextmanager
  def opened(self, config: Any, secret: bytes | None = None, fingerprint: Mapping[str, str] | None = None
             ) -> Iterator[None]:
    """Reserves the folder for this run in the `with` block, and saves the run's secret, if it has one.

    The fingerprint of the run's data is keyed with that secret. Without the key, anyone with a list of candidate images
    could tell which of them were trained on. If the data have moved, the saved config is updated.

    A run that is refused in the block before its first round leaves no files.

    Raises:
      ValueError: Another process is writing to the folder, or it cannot be written.
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
      if fingerprint and not new_run and self.description() != json.loads(json.dumps(configs.described(config))):
        self.config.write_text(configs.to_json(config))  # Written in place, because the lock is on this file.
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

  def _close_secrets(self, secret):
    """Saves the run's secret, if it has one, and closes all secret files to other users."""
    secret_files.make_folder(self.secrets)
    for name in run_paths.SECRETS:
      secret_files.close_to_others(self.secret_file(name))
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
  """Locks the folder of `path`, an existing file, against other processes in the `with` block.

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
