"""What a served model is compared on when it is given files: stored images as the files that are nearest to them."""

import numpy as np
import pytest
import tensorflow as tf

from tff_vision.data import images
from tff_vision.data.sources import decode
from tff_vision.export import formats

X = np.random.default_rng(0).random((3, 5, 4, 1))


@pytest.mark.parametrize('stored', [
    images.StoredPixels(white=1.0), images.StoredPixels(black=-1.0, white=1.0),
    images.StoredPixels(white=1.0, window=(100, 4095)),
    images.StoredPixels(white=1.0, window=(0, 4095), eight_bit=None)])
def test_files_of_floats_are_read_as_what_they_still_hold(tmp_path, stored):
  x = (stored.black + X * (stored.white - stored.black)).astype(np.float32)
  pixels, held = formats._as_files(x, stored)
  assert pixels.dtype == (np.uint8 if stored.window is None else np.uint16)
  step = (stored.white - stored.black) / (255 if stored.window is None else stored.window[1] - stored.window[0])
  assert np.abs(held - x).max() <= step / 2 + 1e-6
  for image, expected in zip(pixels, held, strict=True):
    (tmp_path / 'x.png').write_bytes(tf.io.encode_png(image).numpy())
    np.testing.assert_allclose(decode.as_stored(tmp_path / 'x.png', (5, 4, 1), stored), expected, atol=1e-6)


def test_bytes_are_their_own_files():
  x = (255 * X).astype(np.uint8)
  assert all(np.array_equal(x, part) for part in formats._as_files(x, images.StoredPixels()))
