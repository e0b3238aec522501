"""Where a run's state and metrics go: TFF's managers, made for a run's folder."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff
import tree

from tff_vision.program import board, run_directory
from tff_vision.program import checkpoints as checkpoints_lib


@dataclasses.dataclass(frozen=True, kw_only=True)
class Managers:
  """The managers that save the state and release the metrics."""
  checkpoints: tff.program.ProgramStateManager
  releases: Sequence[tff.program.ReleaseManager]

  @classmethod
  def in_directory(cls, directory: run_directory.RunDirectory, *, wiped: bool = False, timeless: bool = False,
                   settings: Mapping[str, Any] | None = None) -> 'Managers':
    """Returns the managers of a run that is written to a folder, which is open.

    Args:
      directory: The folder of the run.
      wiped: Whether old checkpoints are overwritten before they are deleted.
      timeless: Whether TensorBoard events are written without times.
      settings: With `timeless`, settings for TensorBoard's table of runs: name -> Boolean, number or text.
    """
    shown = None if settings is None else board.settings_summary(settings, directory.path.name)
    events = _TimelessEvents(directory.logdir, shown) if timeless else tff.program.TensorBoardReleaseManager(
        str(directory.logdir))
    return cls(checkpoints=checkpoints_lib.Checkpoints(directory.checkpoints, wiped=wiped),
               releases=(tff.program.CSVFileReleaseManager(str(directory.metrics), key_fieldname='round_num'), events))


async def release(managers: Managers, record: Mapping[str, Any]) -> None:
  """Releases the numbers of a round."""
  for manager in managers.releases:
    await manager.release(_nested_numbers(record), record['round'])


def _nested_numbers(record):
  """Returns the numbers of a record, nested. Strings and missing values are left out; only the report has them."""
  kept = {}
  for name, value in record.items():
    if isinstance(value, dict):
      kept[name] = _nested_numbers(value)
    elif isinstance(value, (int, float)):
      kept[name] = value
  return kept


class _TimelessEvents(tff.program.ReleaseManager):
  """Writes TensorBoard events without times.

  The time of a round reveals how many clients took part and how much data they had. TensorFlow's own writer adds the
  time to each event, and the time and host to the file name. Here every event has time 0, the step is the round, and
  each process of a run writes one file.
  """

  def __init__(self, folder: pathlib.Path, first: bytes | None = None):
    """Initializes it.

    Args:
      folder: TensorBoard's log directory; created when there is something to write.
      first: A serialized summary that each file begins with; None: there is none.
    """
    self._folder = folder
    self._first = first
    self._writer: tf.io.TFRecordWriter | None = None

  async def release(self, value: tff.program.ReleasableStructure, key: int) -> None:
    """Writes nested numbers at step `key`; each tag is the path of the number, joined by slashes."""
    if self._writer is None:
      self._folder.mkdir(parents=True, exist_ok=True)
      number = sum(1 for _ in self._folder.glob('*.tfevents.*'))
      self._writer = tf.io.TFRecordWriter(str(self._folder / f'events.out.tfevents.{number}'))
      self._writer.write(tf.compat.v1.Event(file_version='brain.Event:2').SerializeToString())
      if self._first is not None:
        self._writer.write(tf.compat.v1.Event(
            summary=tf.compat.v1.Summary.FromString(self._first)).SerializeToString())
    summary = tf.compat.v1.Summary(value=[
        tf.compat.v1.Summary.Value(tag='/'.join(map(str, path)), simple_value=float(number))
        for path, number in tree.flatten_with_path(value)])
    self._writer.write(tf.compat.v1.Event(step=key, summary=summary).SerializeToString())
    self._writer.flush()
