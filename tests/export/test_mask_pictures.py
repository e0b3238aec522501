"""Masks of predicted files."""

import json

import nibabel as nib
import numpy as np
import tensorflow as tf

from tff_vision.data.sources import nifti
from tff_vision.export import exported, mask_pictures
from tff_vision.program import run_directory

SHAPE = (6, 5, 4)  # Height, width, depth.


def test_a_volume_is_read_once_for_its_mask_and_its_picture(tmp_path, opened_paths):
  """The model finds class 1 in the brighter half of a volume."""
  place = tmp_path / 'export'
  place.mkdir()
  voxels = tf.keras.Input(SHAPE)
  bright = tf.keras.layers.Reshape((*SHAPE, 1))(voxels)
  tf.keras.Model(voxels, tf.keras.layers.Concatenate()([127.5 - bright, bright - 127.5])).save(place / 'model.keras')
  (place / 'model.json').write_text(json.dumps({
      'class_names': ['background', 'lung'], 'multi_label': False, 'image_shape': SHAPE, 'volumes': True,
      'task': 'segmentation', 'black': 0.0, 'white': 255.0}))
  model = exported.ExportedModel(run_directory.RunDirectory(tmp_path))
  values = np.random.default_rng(0).integers(0, 256, (5, 6, 4)).astype(np.uint8)
  path = tmp_path / 'a.nii.gz'
  nib.save(nib.Nifti1Image(values, np.eye(4)), path)
  opened_paths.clear()
  opened = model.opened(path)
  masks = mask_pictures.found_in(model, opened)
  written, drawn = mask_pictures.write(tmp_path / 'masks', 'a', opened, masks, model.slice_axis)
  assert opened_paths.count(str(path)) == 1
  np.testing.assert_array_equal(np.asarray(nib.load(written).dataobj), values > 127)
  _, slices = nifti.values(path.read_bytes())
  np.testing.assert_array_equal(masks, [slices(number) > 127 for number in range(4)])
  assert drawn.endswith('a_overlay.png') and list(model.all_outputs(path)) == [str(path)]
