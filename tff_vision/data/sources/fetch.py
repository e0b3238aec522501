"""Downloads public files: cache, `.part` file, checksum, atomic rename, one writer at a time.

A file with its final name has its registered checksum. Downloads and decompressions are written under another name and
renamed after the check. A file that was placed by hand is checked before its first use. The result of a check (size,
time, digest) is stored beside the file, so that gigabytes are not hashed at every start.
"""

import contextlib
import contextvars
import dataclasses
import fcntl
import hashlib
import json
import lzma
import os
import pathlib
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import IO

CACHE_VARIABLE = 'TFF_VISION_CACHE'
_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60

Progress = Callable[[str, int, int | None], None]
"""Called with (file name, bytes so far, bytes in all or None)."""


_PROGRESS = contextvars.ContextVar('progress', default=None)


@contextlib.contextmanager
def showing(progress: Progress) -> Iterator[None]:
  """Calls `progress` about once per megabyte of every download and decompression in the `with` block."""
  token = _PROGRESS.set(progress)
  try:
    yield
  finally:
    _PROGRESS.reset(token)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteFile:
  """One public file.

  Attributes:
    url: Its address.
    name: Its file name in the cache.
    digest: `sha256:...` or `md5:...`; None means that no digest has been published.
    size: Bytes, or None if unknown.
    instead: The option that needs no download, e.g. `--dataset=synthetic_emnist`.
  """
  url: str
  name: str
  digest: str | None
  size: int | None = None
  instead: str = '--dataset=digits'


def cache_dir(data_dir: str | None = None) -> pathlib.Path:
  """Returns the folder for downloaded and generated data: `data_dir`, $TFF_VISION_CACHE or ~/.cache/tff_vision."""
  chosen = data_dir or os.environ.get(CACHE_VARIABLE) or pathlib.Path.home() / '.cache' / 'tff_vision'
  return pathlib.Path(chosen).expanduser()


def fetch(remote: RemoteFile, folder: pathlib.Path) -> pathlib.Path:
  """Returns the verified `folder`/`remote.name`, downloading it if it is not there.

  Raises:
    ValueError: There is no network, the download failed, or the file there is not the registered one.
  """
  path = folder / remote.name
  if path.exists():
    verify(path, remote)
    return path
  _preflight(remote, path)
  with locked(path):
    if not path.exists():
      with _replacing(path) as part:
        _download(remote, part)
        _check(part, remote, 'The download of ' + remote.url)
      _remember(path, remote)
  return path


def fetch_decompressed(remote: RemoteFile, folder: pathlib.Path, *, decompressed: RemoteFile) -> pathlib.Path:
  """Returns `folder`/`decompressed.name`, made from the LZMA archive `remote`, which is downloaded if necessary.

  A verified archive is not deleted: that is left to its owner.

  Raises:
    ValueError: As in `fetch`; or the archive does not decompress.
  """
  path = folder / decompressed.name
  if path.exists():
    verify(path, decompressed)
    return path
  archive = fetch(remote, folder)
  with locked(path):
    if not path.exists():
      with _replacing(path) as part:
        _decompress(archive, part, decompressed)
        _check(part, decompressed, f'What {archive} decompresses to')
      _remember(path, decompressed)
  return path


def verify(path: pathlib.Path, remote: RemoteFile) -> None:
  """Refuses a file that is not the registered one; hashes it once and stores the result.

  Raises:
    ValueError: Size or digest differ.
  """
  status = path.stat()
  with contextlib.suppress(OSError, ValueError):
    if json.loads(_memory(path).read_text()) == [status.st_size, status.st_mtime_ns, remote.digest]:
      return
  _check(path, remote, str(path))
  _remember(path, remote)


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
  """Holds the lock of `path` among all processes of this machine; its folder is created if necessary.

  Raises:
    ValueError: The folder cannot be written.
  """
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open(path.parent / f'.{path.name}.lock', 'w')
  except OSError as error:
    raise ValueError(f'The folder {path.parent} cannot be written ({error.strerror}); name another one with '
                     f'--data_dir or ${CACHE_VARIABLE}.') from error
  with lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield


def write_atomically(path: pathlib.Path, write: Callable[[IO[bytes]], object]) -> None:
  """Calls `write` with a binary file that becomes `path` when it is complete; readers never see an incomplete file."""
  with _replacing(path, mark=f'.{os.getpid()}.part') as part, open(part, 'wb') as out:
    write(out)


def instructions(remote: RemoteFile, path: pathlib.Path) -> str:
  """Returns one sentence on how to get `remote` by hand, and one on what to use instead."""
  return (f'Download {remote.url} on a connected machine and place it as {path} '
          f'({_size(remote.size)}, {remote.digest or "no published checksum"}), or use {remote.instead}, which needs '
          'no download.')


def _preflight(remote, path):
  """Looks up the host name: without a network this fails at once, while a download may hang for minutes."""
  url = urllib.parse.urlsplit(remote.url)
  if remote.digest is None:
    raise ValueError(f'{path.name} has no published checksum, so it is not downloaded unverified. '
                     + instructions(remote, path))
  if url.hostname is None or url.scheme in urllib.request.getproxies():  # With a proxy, the proxy looks up the name.
    return
  try:
    socket.getaddrinfo(url.hostname, url.port or 443)
  except OSError as error:
    raise ValueError(f'{path.name} is not on this machine and {url.hostname} cannot be reached. '
                     + instructions(remote, path)) from error


@contextlib.contextmanager
def _replacing(path, mark='.part'):
  """Yields the name to write to. The file becomes `path` if the body succeeds and is removed if not."""
  part = path.with_name(path.name + mark)
  try:
    yield part
    os.replace(part, path)
  finally:
    part.unlink(missing_ok=True)


def _download(remote, part):
  request = urllib.request.Request(remote.url, headers={'User-Agent': 'tff_vision'})
  try:
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response, open(part, 'wb') as out:
      _copy(response, out, remote.name, remote.size)
  except (urllib.error.URLError, OSError) as error:
    raise ValueError(f'{remote.url} could not be downloaded ({error}). '
                     + instructions(remote, part.with_suffix(''))) from error


def _decompress(archive, part, decompressed):
  try:
    with lzma.open(archive) as compressed, open(part, 'wb') as out:
      _copy(compressed, out, decompressed.name, decompressed.size)
  except (lzma.LZMAError, EOFError) as error:
    raise ValueError(f'{archive} is no complete LZMA archive ({error}); delete it and fetch it again.') from error


def _copy(source, out, name, total):
  progress, done = _PROGRESS.get(), 0
  while block := source.read(_CHUNK):
    out.write(block)
    done += len(block)
    if progress is not None:
      progress(name, done, total)


def _check(path, remote, what):
  size = path.stat().st_size
  if remote.size is not None and size != remote.size:
    raise ValueError(f'{what} has {size:,} bytes instead of {remote.size:,}: it is truncated or another file, and is '
                     'not used. Delete it and fetch it again.')
  if remote.digest is None:
    return
  algorithm = remote.digest.partition(':')[0]
  with open(path, 'rb') as data:
    found = f'{algorithm}:{hashlib.file_digest(data, algorithm).hexdigest()}'
  if found != remote.digest:
    raise ValueError(f'{what} has {found} instead of {remote.digest}: it is altered or another file, and is not '
                     'used. Delete it and fetch it again.')


def _memory(path):
  return path.parent / f'.{path.name}.verified'


def _remember(path, remote):
  status = path.stat()
  # If the folder is read-only, the next start only has to hash the file again.
  with contextlib.suppress(OSError):
    _memory(path).write_text(json.dumps([status.st_size, status.st_mtime_ns, remote.digest]))


def _size(size):
  return 'size unknown' if size is None else f'{size:,} bytes'
