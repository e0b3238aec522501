"""TensorBoard events that do not say when: a round's time tells how many clients took part, and with how much data.

TensorFlow's own writer stamps each event and names the file by time and host. Here every event is of second 0; its
round is its step.
"""

import pathlib

import tensorflow as tf
import tensorflow_federated as tff
import tree


class TimelessEvents(tff.program.ReleaseManager):
  """Writes the numbers of each round to one file of events for each process of a run."""

  def __init__(self, folder: pathlib.Path):
    """Args: folder: TensorBoard's log directory; made when there is something to write."""
    self._folder = folder
    self._writer = None

  async def release(self, value: tff.program.ReleasableStructure, key: int) -> None:
    """Writes nested numbers under the names of their parts, joined by slashes, as step `key`."""
    if self._writer is None:
      self._folder.mkdir(parents=True, exist_ok=True)
      number = sum(1 for _ in self._folder.glob('*.tfevents.*'))
      self._writer = tf.io.TFRecordWriter(str(self._folder / f'events.out.tfevents.{number}'))
      self._writer.write(tf.compat.v1.Event(file_version='brain.Event:2').SerializeToString())
    summary = tf.compat.v1.Summary(value=[
        tf.compat.v1.Summary.Value(tag='/'.join(map(str, path)), simple_value=float(number))
        for path, number in tree.flatten_with_path(value)])
    self._writer.write(tf.compat.v1.Event(step=key, summary=summary).SerializeToString())
    self._writer.flush()
