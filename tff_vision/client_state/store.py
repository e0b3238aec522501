"""Stores client states as files: a folder for each client, an immutable file for each changed version.

    client_states/000012/000007.npz      the state of client 12 since round 7

The files are as sensitive as a client's update without noise, and their names show who took part when. So only their
owner can read them.

A round reads the version before it and writes its own, so a round that is run again after a kill reads the same version
as the first time. Clients that do not take part are not touched. Only the clients of one round are ever in memory.
"""

import copy
import os
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tree

from tff_vision import secret_files


class Store:
  """The versions of every client's state."""

  def __init__(self, folder: pathlib.Path, initial: Any, *, wiped: bool = False):
    """Initializes the store; writes nothing.

    Args:
      folder: Created when the first state is written; its parent folder must exist.
      initial: Structure of arrays: the state of a client that never took part.
      wiped: Whether deleted versions are overwritten first.
    """
    self._folder = folder
    self._initial = initial
    self._forget = secret_files.wipe if wiped else pathlib.Path.unlink

  def moved(self, folder: pathlib.Path) -> 'Store':
    """Returns a store of the same kind in another folder."""
    made = copy.copy(self)
    made._folder = folder
    return made

  def read(self, client: int, round_num: int | None) -> Any:
    """Returns the state of `client` at the start of round `round_num`: its newest version from an earlier round.

    Args:
      client: The client's number.
      round_num: None: after all rounds.

    Raises:
      ValueError: The file is damaged, or holds another model's state.
    """
    earlier = [version for version in self._versions(client) if round_num is None or version < round_num]
    if not earlier:
      return self._initial
    path = self._path(client, max(earlier))
    try:
      with np.load(path) as saved:
        leaves = [saved[f'arr_{i}'] for i in range(len(saved.files))]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
      raise ValueError(f'{path} is no state of a client: {error}') from None
    expected = tree.flatten(self._initial)
    if [leaf.shape for leaf in leaves] != [np.shape(leaf) for leaf in expected]:
      raise ValueError(f'{path} holds the state of another model.')
    return tree.unflatten_as(self._initial, leaves)

  def knows(self, client: int) -> bool:
    """Returns whether `client` ever took part."""
    return bool(self._versions(client))

  def write(self, client: int, round_num: int, value: Any) -> None:
    """Saves the state of `client` after round `round_num`, completely or not at all.

    The checkpoints of the two rounds before may still be resumed from: versions that they need stay, older ones are
    deleted.
    """
    path = self._path(client, round_num)
    for folder in self._folder, path.parent:
      secret_files.make_folder(folder)
    part = path.with_suffix('.part')
    with secret_files.opened(part, 'wb') as file:
      np.savez(file, *(np.asarray(leaf) for leaf in tree.flatten(value)))
    os.replace(part, path)
    needed = max((version for version in self._versions(client) if version < round_num - 1), default=0)
    for version in self._versions(client):
      if version < needed:
        self._forget(self._path(client, version))

  def forget_from(self, round_num: int) -> None:
    """Deletes all versions of round `round_num` or later; a resumed run will run these rounds again."""
    for client in self._clients():
      for version in self._versions(client):
        if version >= round_num:
          self._forget(self._path(client, version))

  def _path(self, client, round_num):
    return self._folder / f'{client:06}' / f'{round_num:06}.npz'

  def _clients(self) -> Iterator[int]:
    if self._folder.is_dir():
      with os.scandir(self._folder) as entries:
        for entry in entries:
          yield int(entry.name)

  def _versions(self, client):
    folder = self._folder / f'{client:06}'
    return [int(path.stem) for path in folder.glob('*.npz')] if folder.is_dir() else []
