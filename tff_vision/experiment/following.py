"""What follows a run while it trains: the live page, the trackers, TensorBoard's histograms and settings.

All of them get released values only, as they stand in report.json. Which rounds they show depends on settings alone,
unless the run promises nothing: the page is then drawn less often if that takes long.
"""

import pathlib
import time
from collections.abc import Mapping
from typing import Any

from tff_vision import configs, trackers
from tff_vision.experiment import definition, training
from tff_vision.program import board, json_file, loop, released, round_record, run_directory
from tff_vision.report import content as content_lib
from tff_vision.report import page

_MOST_PAGES = 20  # Drawn during a run.
_SHARE = 0.05  # Of the time, at most, is spent on drawing.


class LivePage:
  """report.html of a run that is under way."""

  def __init__(self, directory: run_directory.RunDirectory, made: definition.Definition, prepared: training.Training):
    self._directory = directory
    self._made = made
    self._prepared = prepared
    self._shown_round = 0
    self._free_at = 0.0  # When drawing again keeps within its share of the time.
    self._latest: round_record.Standing | None = None

  def show(self, standing: round_record.Standing) -> None:
    """Draws the page, unless it was drawn just before or the run is at its end, which has a page of its own."""
    self._latest, done = standing, len(standing.history)
    if done == standing.last_round or done - self._shown_round < standing.last_round / _MOST_PAGES:
      return
    if self._prepared.plan.releases_exact_metrics and time.monotonic() < self._free_at:
      return
    self._draw(standing, 'training')
    self._shown_round = done

  def stop(self) -> None:
    """Draws the page of a run that was stopped and can go on."""
    if self._latest is not None:
      self._draw(self._latest, 'stopped')

  def _draw(self, standing, state):
    started = time.monotonic()
    task, config = self._prepared.task, self._made.config
    content = {
        **content_lib.described(config, task, self._prepared.evaluator.model), **standing.evaluated,
        'privacy': standing.ledger.to_json(), 'rounds': len(standing.history), 'seconds': {},
        'secure_sum': self._prepared.secure_sum, 'environment': content_lib.environment(),
        'history': standing.history}
    content = released.report(content, config, self._prepared.plan, show_training_data=False)
    page.write_html(self._directory.report_html, content, None,
                    live=page.Live(state=state, done=len(standing.history), rounds=standing.last_round))
    now = time.monotonic()
    self._free_at = now + (now - started) / _SHARE


class Following:
  """Everything that follows one run."""

  def __init__(self, launch: configs.LaunchConfig, directory: run_directory.RunDirectory,
               made: definition.Definition, prepared: training.Training):
    self._directory = directory
    self._launch = launch
    self._settings = settings(made.config)
    self._plan = prepared.plan
    self._promises = made.config.promises
    self._page = LivePage(directory, made, prepared)
    self._tracker: trackers.Tracker | None = None
    self._board: board.Board | None = None
    if not self._plan.releases_exact_metrics:
      return
    if launch.tracker != 'none':
      self._tracker = self._begun()
    self._board = board.Board(directory.logdir, self._settings)
    if not self._promises:
      self._board.images(prepared.task.images)

  def evaluated(self, standing: round_record.Standing) -> None:
    """Takes what is released after an evaluated round."""
    if self._board is not None and not self._promises:
      self._board.clients(standing.evaluated, len(standing.history))
    if self._tracker is not None:
      self._tracker.log(numbers(standing.history))
    self._page.show(standing)

  def interrupted(self, outcome: loop.Outcome) -> None:
    """Takes the end of a run that was stopped; a run whose rounds may not be timed is tracked only when it is done."""
    self._page.stop()
    self._close()
    if self._tracker is not None:
      self._tracker.log(numbers([released.record(record, self._plan) for record in outcome.history]))
      self._tracker.end({}, (), finished=False)

  def finished(self, content: Mapping[str, Any]) -> None:
    """Takes the content of report.json; the files of the report are written."""
    self._close()
    if self._launch.tracker == 'none':
      return
    tracker = self._tracker or self._begun()
    tracker.log(numbers(content['history']))
    tracker.end(trackers.flat({name: content.get(name) or {} for name in ('evaluation', 'per_client', 'privacy')}),
                (self._directory.report_html, self._directory.report_json), finished=True)

  def _close(self):
    if self._board is not None:
      self._board.close()

  def _begun(self):
    """Begins the run in the tracker; a run that is tracked while it trains keeps its identity in its folder."""
    timeless, kept = not self._plan.releases_exact_metrics, self._directory.path / 'tracking.json'
    known = json_file.read(kept) if kept.exists() and not timeless else {}
    folder = pathlib.Path(self._launch.tracker_dir or self._directory.path / 'tracking')
    tracker = trackers.begin(self._launch.tracker, trackers.Tracked(
        name=self._directory.path.name, folder=folder, settings=self._settings, timeless=timeless,
        identity=known.get(self._launch.tracker)))
    if not timeless:
      json_file.write(kept, {**known, self._launch.tracker: tracker.identity})
    return tracker


def settings(config: configs.ExperimentConfig) -> dict[str, Any]:
  """Returns the settings of a run by name, as text, numbers and Booleans."""
  return {name: value if isinstance(value, (bool, int, float, str)) else str(value)
          for section in configs.readable(config).values() for name, value in section.items()}


def numbers(history: Any) -> dict[int, Mapping[str, float]]:
  """Returns round -> its numbers by path."""
  return {record['round']: trackers.flat(record) for record in history}
