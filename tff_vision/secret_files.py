"""Secret files: folders of mode 0700, files of mode 0600, overwritten before they are deleted.

Overwriting is best effort. Drives with wear levelling, file systems that copy on write or journal data, snapshots and
backups may still hold the old bytes. Only an encrypted disk whose key can be destroyed is safer.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import IO

FOLDER, FILE = 0o700, 0o600
_CHUNK = 1 << 20


def make_folder(path: pathlib.Path) -> None:
  """Creates a folder that only its owner can enter, whatever the umask; an existing folder gets the same mode."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.mkdir(mode=FOLDER, exist_ok=True)
  path.chmod(FOLDER)


def opened(path: pathlib.Path, mode: str) -> IO:
  """Opens a file as `open` does; a new file can be read by its owner alone."""
  return open(path, mode, opener=lambda name, flags: os.open(name, flags, FILE))


@contextlib.contextmanager
def made_within() -> Iterator[None]:
  """Files that this process creates in the `with` block, in any thread, are accessible to their owner alone."""
  before = os.umask(0o077)
  try:
    yield
  finally:
    os.umask(before)


def close_to_others(path: pathlib.Path) -> None:
  """Removes everybody else's access to a file, or a folder with all its contents; links are left alone."""
  if path.is_symlink() or not path.exists():
    return
  path.chmod(FOLDER if path.is_dir() else FILE)
  for entry in path.iterdir() if path.is_dir() else ():
    close_to_others(entry)


def wipe(path: pathlib.Path) -> None:
  """Overwrites and deletes a file, or a folder with all its contents; a missing path is no error.

  Raises:
    OSError: A file or folder could be neither overwritten nor deleted.
  """
  if path.is_dir() and not path.is_symlink():
    for entry in path.iterdir():
      wipe(entry)
    path.rmdir()
    return
  if path.is_file() and not path.is_symlink():
    with path.open('r+b') as file:
      left = os.fstat(file.fileno()).st_size
      while left > 0:
        left -= file.write(bytes(min(left, _CHUNK)))
      file.flush()
      os.fsync(file.fileno())
  path.unlink(missing_ok=True)


def move(path: pathlib.Path, target: pathlib.Path) -> None:
  """Renames on disk: after a crash, one of the two paths exists."""
  os.rename(path, target)
  folder = os.open(target.parent, os.O_RDONLY)
  try:
    os.fsync(folder)
  finally:
    os.close(folder)
