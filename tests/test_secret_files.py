"""Files for one pair of eyes: their modes under any umask, and that nothing of them is left."""

import os
import stat

import pytest

from tff_vision import secret_files


@pytest.fixture(params=[0, 0o027])
def umask(request):
  before = os.umask(request.param)
  yield
  os.umask(before)


def mode(path):
  return stat.S_IMODE(path.stat().st_mode)


def test_modes_do_not_depend_on_the_umask(tmp_path, umask):
  folder = tmp_path / 'secret'
  secret_files.make_folder(folder)
  with secret_files.made_within():
    (folder / 'made').write_text('')
    (folder / 'in').mkdir()
  with secret_files.opened(folder / 'opened', 'w') as file:
    file.write('')
  assert [mode(folder / name) for name in ('', 'in', 'made', 'opened')] == [0o700, 0o700, 0o600, 0o600]
  folder.chmod(0o755)
  secret_files.make_folder(folder)
  assert mode(folder) == 0o700, 'a folder that is there is closed'


def test_a_tree_of_an_earlier_version_is_closed_and_links_are_not_followed(tmp_path):
  (tmp_path / 'other').write_text('of somebody else')
  (tmp_path / 'tree' / 'deep').mkdir(parents=True)
  (tmp_path / 'tree' / 'deep' / 'file').write_text('x')
  (tmp_path / 'tree' / 'link').symlink_to(tmp_path / 'other')
  os.chmod(tmp_path / 'other', 0o644)
  secret_files.close_to_others(tmp_path / 'tree')
  assert [mode(tmp_path / name) for name in ('tree', 'tree/deep', 'tree/deep/file', 'other')] == [
      0o700, 0o700, 0o600, 0o644]
  secret_files.wipe(tmp_path / 'tree')
  assert (tmp_path / 'other').read_text() == 'of somebody else' and not (tmp_path / 'tree').exists()


def test_what_is_wiped_is_overwritten_wherever_else_it_has_a_name(tmp_path):
  folder, secret = tmp_path / 'folder', os.urandom(3 << 20)
  (folder / 'in').mkdir(parents=True)
  (folder / 'in' / 'file').write_bytes(secret)
  os.link(folder / 'in' / 'file', tmp_path / 'other name')  # Shows what is on disk after the first name is gone.
  secret_files.wipe(folder)
  assert not folder.exists() and (tmp_path / 'other name').read_bytes() == bytes(len(secret))
  secret_files.wipe(folder)
