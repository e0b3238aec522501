"""Where the files of one run are.

    config.json  metrics.csv  logdir/  report.json  report.html  export/          released
    secret/      server_secret  data_fingerprint.json  journal.jsonl  checkpoints/  client_states/     for the server

Folders of earlier versions hold the secret files beside the others; they are read where they are.
"""

import dataclasses
import pathlib

SECRETS = ('server_secret', 'data_fingerprint.json', 'journal.jsonl', 'checkpoints', 'client_states', 'canaries.jsonl')


@dataclasses.dataclass(frozen=True)
class RunPaths:
  """Paths in the folder of a run, whether they exist or not."""
  path: pathlib.Path

  @property
  def config(self) -> pathlib.Path:
    return self.path / 'config.json'

  @property
  def secrets(self) -> pathlib.Path:
    return self.path / 'secret'

  @property
  def server_secret(self) -> pathlib.Path:
    return self.secret_file('server_secret')

  @property
  def data_fingerprint(self) -> pathlib.Path:
    return self.secret_file('data_fingerprint.json')

  @property
  def journal(self) -> pathlib.Path:
    return self.secret_file('journal.jsonl')

  @property
  def checkpoints(self) -> pathlib.Path:
    return self.secret_file('checkpoints')

  @property
  def canaries(self) -> pathlib.Path:
    return self.secret_file('canaries.jsonl')

  @property
  def client_states(self) -> pathlib.Path:
    return self.secret_file('client_states')

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

  def secret_file(self, name: str) -> pathlib.Path:
    """Returns where one of `SECRETS` is: beside the others if an earlier version put it there."""
    earlier = self.path / name
    return earlier if earlier.exists() else self.secrets / name
