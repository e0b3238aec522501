"""Training on examples that lie on the workers: the driver sends names, the worker's graph reads the files."""

import dataclasses
import posixpath

import numpy as np
import tensorflow_federated as tff

from tff_vision import tasks
from tff_vision.data import records


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerData:
  """Where the workers keep the examples of a task.

  Attributes:
    folder: As the executors see it, the same on every worker.
  """
  task: tasks.Task
  folder: str

  def request(self, client: int, round_num: int) -> tuple[str, int]:
    """Returns what the driver sends instead of the examples: (path, seed)."""
    return posixpath.join(self.folder, records.file_name(client)), self.task.round_seed(client, round_num)

  def read_on_workers(self, process: tff.learning.templates.LearningProcess) -> tff.learning.templates.LearningProcess:
    """Returns a process whose `next` takes a `request` for each client; same weights as with the examples sent."""

    @tff.tensorflow.computation(np.str_, np.int64)
    def batches(path, seed):
      return self.task.training_batches(*records.read(path, self.task.images.test.examples), seed=seed)

    return tff.simulation.compose_dataset_computation_with_learning_process(batches, process)
