"""Fetching without a network: real URLs of the file: scheme, a failing name look-up, and damage of every kind."""

import hashlib
import lzma
import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest

from tff_vision.data.sources import fetch

CONTENT = os.urandom(fetch._CHUNK + 100)  # Two blocks.
ALTERED = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]  # Whatever byte it begins with.


def _remote(path, content=CONTENT, **changes):
  facts = {'url': path.as_uri(), 'name': path.name, 'size': len(content), 'instead': '--dataset=digits',
           'digest': 'sha256:' + hashlib.sha256(content).hexdigest()}
  return fetch.RemoteFile(**facts | changes)


@pytest.fixture
def upstream(tmp_path):
  path = tmp_path / 'upstream' / 'data.bin'
  path.parent.mkdir()
  path.write_bytes(CONTENT)
  return path


def _visible(folder):
  return sorted(path.name for path in folder.iterdir() if not path.name.startswith('.'))


def test_cache_folder(tmp_path, monkeypatch):
  assert fetch.cache_dir(str(tmp_path)) == tmp_path
  monkeypatch.setenv('TFF_VISION_CACHE', '/elsewhere')
  assert fetch.cache_dir() == pathlib.Path('/elsewhere')
  monkeypatch.delenv('TFF_VISION_CACHE')
  assert fetch.cache_dir() == pathlib.Path.home() / '.cache' / 'tff_vision'


def test_download_shows_progress_and_is_reused_without_upstream(upstream, tmp_path):
  seen = []
  with fetch.showing(lambda *call: seen.append(call)):
    path = fetch.fetch(_remote(upstream), tmp_path / 'new')
  assert path.read_bytes() == CONTENT
  assert seen[-1] == ('data.bin', len(CONTENT), len(CONTENT)) and [call[1] for call in seen] == sorted(
      call[1] for call in seen) and len(seen) > 1
  assert _visible(path.parent) == ['data.bin']
  upstream.unlink()
  assert fetch.fetch(_remote(upstream), tmp_path / 'new') == path


@pytest.mark.parametrize('damaged', [CONTENT[:-1], ALTERED, b''], ids=['truncated', 'altered', 'empty'])
def test_damaged_download_leaves_nothing(upstream, tmp_path, damaged):
  upstream.write_bytes(damaged)
  with pytest.raises(ValueError, match='not used'):
    fetch.fetch(_remote(upstream), tmp_path / 'new')
  assert _visible(tmp_path / 'new') == []


@pytest.mark.parametrize('damaged', [CONTENT[:-1], ALTERED], ids=['truncated', 'altered'])
def test_damaged_file_is_never_reused(upstream, tmp_path, damaged):
  path = fetch.fetch(_remote(upstream), tmp_path / 'new')
  time.sleep(0.01)
  path.write_bytes(damaged)
  for _ in range(2):
    with pytest.raises(ValueError, match='not used'):
      fetch.fetch(_remote(upstream), tmp_path / 'new')
  path.write_bytes(CONTENT)
  assert fetch.fetch(_remote(upstream), tmp_path / 'new') == path


def test_left_over_part_of_a_killed_process_is_overwritten(upstream, tmp_path):
  (tmp_path / 'new').mkdir()
  (tmp_path / 'new' / 'data.bin.part').write_bytes(CONTENT * 2)
  assert fetch.fetch(_remote(upstream), tmp_path / 'new').read_bytes() == CONTENT


def test_offline_answer_names_everything_at_once(tmp_path, monkeypatch):
  def no_network(*_):
    raise socket.gaierror(-2, 'Name or service not known')
  monkeypatch.setattr(socket, 'getaddrinfo', no_network)
  remote = fetch.RemoteFile(url='https://example.org/d/data.bin', name='data.bin', size=1234, digest='md5:00ff',
                            instead='--dataset=digits')
  start = time.monotonic()
  with pytest.raises(ValueError) as raised:
    fetch.fetch(remote, tmp_path / 'new')
  assert time.monotonic() - start < 5  # Nothing is waited for; a busy machine may take a second.
  for said in (remote.url, str(tmp_path / 'new' / 'data.bin'), 'md5:00ff', '1,234 bytes', '--dataset=digits'):
    assert said in str(raised.value)
  assert not (tmp_path / 'new').exists()


def test_nothing_is_downloaded_unverified(upstream, tmp_path):
  with pytest.raises(ValueError, match='no published checksum'):
    fetch.fetch(_remote(upstream, digest=None), tmp_path / 'new')
  (tmp_path / 'new').mkdir()
  (tmp_path / 'new' / 'data.bin').write_bytes(CONTENT)
  assert fetch.fetch(_remote(upstream, digest=None), tmp_path / 'new').exists()


def test_missing_upstream_and_unwritable_folder(upstream, tmp_path):
  remote = _remote(upstream)
  upstream.unlink()
  with pytest.raises(ValueError, match='could not be downloaded.*place it as .*new/data.bin '):
    fetch.fetch(remote, tmp_path / 'new')
  (tmp_path / 'file').write_text('')
  with pytest.raises(ValueError, match='cannot be written'):
    fetch.fetch(remote, tmp_path / 'file')


PLAIN = CONTENT[:50_000]


def _archive(folder):
  folder.mkdir()
  path = folder / 'data.bin.lzma'
  path.write_bytes(lzma.compress(PLAIN, preset=0))
  return path


def test_archive_is_decompressed_and_a_placed_one_needs_no_network(tmp_path):
  archive = _archive(tmp_path / 'placed')
  remote = _remote(archive, archive.read_bytes(), url='https://nowhere.invalid/data.bin.lzma')
  plain = _remote(tmp_path / 'data.bin', PLAIN)
  path = fetch.fetch_decompressed(remote, tmp_path / 'placed', decompressed=plain)
  assert path.read_bytes() == PLAIN
  archive.unlink()
  assert fetch.fetch_decompressed(remote, tmp_path / 'placed', decompressed=plain) == path


def test_truncated_archive_leaves_nothing(tmp_path):
  archive = _archive(tmp_path / 'placed')
  whole = archive.read_bytes()
  archive.write_bytes(whole[:len(whole) // 2])
  plain = _remote(tmp_path / 'data.bin', PLAIN)
  with pytest.raises(ValueError, match='truncated'):
    fetch.fetch_decompressed(_remote(archive, whole), tmp_path / 'placed', decompressed=plain)
  # Even where nobody knows the right digest of the archive.
  with pytest.raises(ValueError, match='no complete LZMA archive'):
    fetch.fetch_decompressed(_remote(archive, whole, digest=None, size=None), tmp_path / 'placed', decompressed=plain)
  with pytest.raises(ValueError, match='bytes instead of'):
    archive.write_bytes(lzma.compress(PLAIN[:-5], preset=0))
    fetch.fetch_decompressed(_remote(archive, whole, digest=None, size=None), tmp_path / 'placed', decompressed=plain)
  assert _visible(tmp_path / 'placed') == ['data.bin.lzma']


def test_two_processes_fetch_at_once(upstream, tmp_path):
  program = ('import sys, pathlib\nfrom tff_vision.data.sources import fetch\n'
             'remote = fetch.RemoteFile(url=sys.argv[1], name="data.bin", digest=sys.argv[2])\n'
             'calls = []\n'
             'with fetch.showing(lambda *call: calls.append(call)):\n'
             '  path = fetch.fetch(remote, pathlib.Path(sys.argv[3]))\n'
             'print(len(calls), path.stat().st_size)')
  remote = _remote(upstream)
  commands = [sys.executable, '-c', program, remote.url, remote.digest, str(tmp_path / 'new')]
  both = [subprocess.Popen(commands, stdout=subprocess.PIPE, text=True) for _ in range(2)]
  answers = [process.communicate(timeout=60)[0].split() for process in both]
  assert [answer[1] for answer in answers] == [str(len(CONTENT))] * 2
  assert sum(answer[0] != '0' for answer in answers) == 1, 'exactly one of them downloaded'
  assert _visible(tmp_path / 'new') == ['data.bin']
