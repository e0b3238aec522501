"""Where the files of one run are.

    config.json  metrics.csv  logdir/  report.json  report.html  model_card.md  model_card.json
    export/                                                                        released
    secret/      server_secret  data_fingerprint.json  journal.jsonl  checkpoints/  client_states/     for the server

In folders of earlier versions, the secret files are next to the released files; they are read from there.
"""

import dataclasses
import pathlib

SECRETS = ('server_secret', 'data_fingerprint.json', 'journal.jsonl', 'checkpoints', 'client_states', 'canaries.jsonl')


@dataclasses.dataclass(frozen=True)
class RunPaths:
  """Paths in the folder of a run; they need not exist."""
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
    """Returns the path of one of `SECRETS`: in the run folder if an earlier version put it there, else in secret/."""
    earlier = self.path / name
    return earlier if earlier.exists() else self.secrets / name
