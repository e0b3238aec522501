"""Writes text files atomically."""

import os
import pathlib


def write(path: str | os.PathLike, text: str) -> None:
  """Writes `text` to `path` atomically: a reader sees the old file or the complete new file.

  If `path` is not a regular file (a terminal, a pipe, /dev/null), it is written to and not replaced. If it is a link,
  the target of the link is replaced.

  Raises:
    ValueError: The file cannot be written.
  """
  path = pathlib.Path(path)
  try:
    if path.exists() and not path.is_file() and not path.is_dir():
      path.write_text(text, encoding='utf-8', errors='replace')
      return
    whole = path.resolve()
    whole.parent.mkdir(parents=True, exist_ok=True)
    part = whole.with_name(whole.name + '.part')
    try:
      part.write_text(text, encoding='utf-8', errors='replace')
      os.replace(part, whole)
    finally:
      part.unlink(missing_ok=True)
  except OSError as error:
    raise ValueError(f'file {str(path)!r} cannot be written: {error.strerror}.') from None
