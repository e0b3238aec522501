"""Checkpoints of a run: readable by their owner only, overwritten when they are no longer needed."""

import asyncio
import pathlib
import shutil

import tensorflow_federated as tff

from tff_vision import secret_files

PREFIX = 'program_state_'
_KEPT = 2


def versions(folder: pathlib.Path) -> list[int]:
  """Returns the rounds whose complete state is saved in `folder`, in increasing order."""
  names = [path.name.removeprefix(PREFIX) for path in folder.glob(PREFIX + '*')]
  return sorted(int(name) for name in names if name.isdigit())


class Checkpoints(tff.program.FileProgramStateManager):
  """Keeps the state of the last two rounds.

  A state may hold the noise's key, the buffers of correlated noise, and the times and faults of rounds. These are as
  sensitive as the raw updates: only the owner may read them, and under a privacy promise they are overwritten before
  they are deleted.
  """

  def __init__(self, folder: pathlib.Path, *, wiped: bool):
    """Args: wiped: Whether states that are no longer needed are overwritten before they are deleted."""
    secret_files.make_folder(folder)
    super().__init__(str(folder), prefix=PREFIX, keep_total=0, keep_first=False)
    self._folder = folder
    self._forget = secret_files.wipe if wiped else shutil.rmtree

  async def save(self, program_state: tff.program.ProgramStateStructure, version: int) -> None:
    """Saves a state atomically; see the base class."""
    with secret_files.made_within():
      await super().save(program_state, version)
    for outlived in versions(self._folder)[:-_KEPT]:
      await asyncio.to_thread(self._forget, self._folder / f'{PREFIX}{outlived}')
