"""The cache of generated data: drawn once, and never trusted when damaged."""

import numpy as np
import pytest

from tff_vision.data.generators import cache


@pytest.mark.parametrize('damage', [lambda path: None, lambda path: path.write_bytes(path.read_bytes()[:50]),
                                    lambda path: path.write_bytes(b''), lambda path: path.write_bytes(b'PK\x03\x04')])
def test_a_damaged_file_is_drawn_anew_and_replaced(tmp_path, damage):
  drawn = []

  def make():
    drawn.append(1)
    return {'x': np.arange(1000)}

  cache.load_or_make('made', make, str(tmp_path))
  path = tmp_path / 'made.npz'
  intact = path.read_bytes()
  damage(path)
  again = 1 + (path.read_bytes() != intact)
  for _ in range(2):
    np.testing.assert_array_equal(cache.load_or_make('made', make, str(tmp_path))['x'], np.arange(1000))
  assert len(drawn) == again and path.read_bytes()[:4] == b'PK\x03\x04'


def test_a_folder_that_cannot_be_written_costs_only_the_drawing():
  assert list(cache.load_or_make('made', lambda: {'x': np.arange(3)}, '/proc/none')['x']) == [0, 1, 2]
