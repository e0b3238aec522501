"""The images on which the ranges of an 8-bit model are measured."""

import types

import nibabel as nib
import numpy as np
import pytest

from tff_vision import labels
from tff_vision.data import images
from tff_vision.export import calibration_images


@pytest.mark.parametrize(('kind', 'shape', 'expected'), [
    (labels.Kind.VOLUME, (8, 8, 4), (2, 8, 8, 4)), (labels.Kind.MASK, (8, 8, 1), (5, 8, 8, 1))])
def test_a_volume_is_one_image_for_a_model_of_volumes_and_slices_for_others(tmp_path, kind, shape, expected):
  for name in 'ab':
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((8, 8, 6), np.float32), np.eye(4)),
             tmp_path / f'{name}.nii.gz')
  stored = images.StoredPixels(white=1.0, window=(0.0, 1.0), clips=False)
  task = types.SimpleNamespace(images=types.SimpleNamespace(
      spec=types.SimpleNamespace(shape=shape, labels=kind), stored_pixels=stored))
  found = calibration_images.from_folder(task, tmp_path, 5)
  assert found.images.shape == expected and found.images.dtype == np.float32 and found.images.max() > 0.5
