"""A site's images become records: nobody's patient in two splits, every fault one sentence, nothing half-written."""

import collections
import csv
import dataclasses
import json
import os
import pathlib
import signal

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.federation import test_plan
from tff_vision import configs
from tff_vision.data import images, records
from tff_vision.federation import images as federated
from tff_vision.federation import preparation, site_manifest, site_split


def written(path, shade, size=(8, 8)):
  path.parent.mkdir(parents=True, exist_ok=True)
  tf.io.write_file(str(path), tf.io.encode_png(np.full((*size, 1), shade, np.uint8)))


@pytest.fixture
def folder(tmp_path):
  """12 patients with 1 to 3 images each, named as the site names its classes, in a manifest."""
  rows = []
  for patient in range(12):
    for number in range(1 + patient % 3):
      name = f'films/{patient}_{number}.png'
      written(tmp_path / 'raw' / name, 20 * patient + number)
      rows.append((name, 'ill' if patient % 2 else 'well', f'P{patient}'))
  with open(tmp_path / 'raw' / 'manifest.csv', 'w', newline='') as file:
    csv.writer(file).writerows([('path', 'label', 'patient'), *rows])
  (tmp_path / 'map.csv').write_text('well,a\nill,b\n')
  return tmp_path


def request(folder, **changes):
  return preparation.Request(**{'site': 'north', 'data_dir': str(folder / 'raw'), 'out': str(folder / 'out'),
                                'label_map': str(folder / 'map.csv'), **changes})


def read(folder, name, spec):
  x, y = records.read(tf.constant(str(folder / name)), spec)
  return images.Examples(x.numpy(), y.numpy())


def test_records_hold_every_image_once_with_the_plans_label_and_no_patient_twice(folder):
  plan = test_plan.made()
  spec = federated.spec_of(plan.schema)
  made = preparation.prepare(plan, request(folder))
  assert site_manifest.read(folder / 'out') == made
  made.check(folder / 'out', plan)
  shades, patients = collections.Counter(), {}
  for split in site_manifest.SPLITS:
    found = read(folder / 'out', records.file_name(0, split), spec)
    assert len(found) == made.clients[0].counts[split] > 0
    assert [int((found.y == label).sum()) for label in (0, 1)] == list(made.clients[0].classes[split])
    for image, label in zip(found.x, found.y, strict=True):
      shade = int(image[0, 0, 0])
      patient = shade // 20
      shades[shade] += 1
      assert label == patient % 2
      assert patients.setdefault(patient, split) == split
  assert sorted(shades) == sorted(20 * p + n for p in range(12) for n in range(1 + p % 3))
  assert set(shades.values()) == {1}
  assert 'P3' not in json.dumps(json.loads((folder / 'out' / 'site.json').read_text()))
  assert (folder / 'out').stat().st_mode & 0o777 == 0o700
  # The same images give the same records.
  again = preparation.prepare(plan, request(folder, out=str(folder / 'again')))
  assert again.files == made.files


def test_a_changed_missing_or_foreign_record_and_another_plan_are_refused(folder):
  plan = test_plan.made()
  made = preparation.prepare(plan, request(folder))
  made.check(folder / 'out', test_plan.made(program=configs.ProgramConfig(rounds=3)))
  with pytest.raises(ValueError, match='prepared for a plan with another kind of images'):
    made.check(folder / 'out', test_plan.made(schema={'class_names': ('a', 'c')}))
  # Constants that a survey measured in these very records change none of them.
  made.check(folder / 'out', test_plan.made(schema={
      'pixel_mean': ('0.5',), 'pixel_std': ('0.1',), 'pixel_moments_measured': True}))
  file = folder / 'out' / records.file_name(0, 'test')
  content = file.read_bytes()
  file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  with pytest.raises(ValueError, match=r'test.tfrecord has changed since'):
    made.check(folder / 'out')
  file.unlink()
  with pytest.raises(ValueError, match='is missing, and site.json lists it'):
    made.check(folder / 'out')
  file.write_bytes(content)
  (folder / 'out' / 'client_000007.tfrecord').write_bytes(b'')
  with pytest.raises(ValueError, match='client_000007.tfrecord is not listed'):
    made.check(folder / 'out')


@pytest.mark.parametrize(('changes', 'said'), [
    ({'site': 'east'}, "site='east' is none of the plan's: north, south"),
    ({'label_map': None}, r"0_0.png has the label 'well', which is no class of the plan \(2 such labels\)"),
    ({'data_dir': '/nowhere'}, 'data_dir=/nowhere is no folder'),
    ({'group_by': 'folder'}, 'group_by=folder takes the folder above the class'),
    ({'label_map': '/nowhere.csv'}, 'label_map=/nowhere.csv cannot be read: No such file'),
    ({'site': 'south'}, 'site south has 2 clients in the plan: say which image is whose'),
])
def test_what_does_not_fit_is_refused_and_nothing_is_written(folder, changes, said):
  with pytest.raises(ValueError, match=said):
    preparation.prepare(test_plan.made(), request(folder, **changes))
  assert {path.name for path in folder.iterdir()} == {'raw', 'map.csv'}


def test_faults_of_files_name_the_file(folder):
  plan, table = test_plan.made(), folder / 'raw' / 'manifest.csv'
  rows = table.read_text().splitlines()
  (folder / 'map.csv').write_text('well,a\nill,b\nwell,b\n')
  with pytest.raises(ValueError, match='map.csv line 3 maps .well. again'):
    preparation.prepare(plan, request(folder))
  (folder / 'map.csv').write_text('well,a\nill,z\n')
  with pytest.raises(ValueError, match="line 2 maps to 'z', which is no class of the plan"):
    preparation.prepare(plan, request(folder))
  (folder / 'map.csv').write_text('well,a\nill,\n')
  with pytest.raises(ValueError, match='no training image has the class b of the plan'):
    preparation.prepare(plan, request(folder))
  said = []
  made = preparation.prepare(plan, request(folder, missing_classes=True), said.append)
  assert any('mapped to nothing are left out' in one for one in said) and made.clients[0].classes['train'][1] == 0
  assert not any('which no image has' in one for one in said)
  (folder / 'map.csv').write_text('well,a\nill,b\n')
  splits = ['split', *('test' if number % 2 else 'train' for number in range(len(rows) - 1))]
  table.write_text('\n'.join(f'{row},{split}' for row, split in zip(rows, splits, strict=True)))
  with pytest.raises(ValueError, match='another image of the same patient'):
    preparation.prepare(plan, request(folder, out=str(folder / 'other')))
  table.write_text('\n'.join(row.rpartition(',')[0] for row in rows))
  with pytest.raises(ValueError, match='needs DICOM files, or a manifest.csv with a column patient'):
    preparation.prepare(plan, request(folder, out=str(folder / 'other')))
  table.write_text('\n'.join(rows[:3]))
  with pytest.raises(ValueError, match='are of 2 patients or groups'):
    preparation.prepare(plan, request(folder, out=str(folder / 'other')))
  table.write_text('\n'.join(rows))
  broken = folder / 'raw' / 'films' / '4_1.png'
  broken.write_bytes(broken.read_bytes()[:60])
  with pytest.raises(ValueError, match='4_1.png is corrupt'):
    preparation.prepare(plan, request(folder, out=str(folder / 'other')))
  with pytest.raises(ValueError, match='out=.* is there already'):
    preparation.prepare(plan, request(folder))
  (folder / 'map.csv').write_text('well,\nill,\n')
  with pytest.raises(ValueError, match='label_map=.*map.csv leaves no image with a class of the plan'):
    preparation.prepare(plan, request(folder, out=str(folder / 'other'), corrupt_images='skip'))
  for path in (folder / 'raw' / 'films').iterdir():
    path.write_bytes(b'no image')
  with pytest.raises(ValueError, match='data_dir=.*raw holds no usable image'):
    preparation.prepare(plan, request(folder, out=str(folder / 'other'), corrupt_images='skip'))
  assert not (folder / 'other').exists() and not [p for p in folder.iterdir() if p.name.startswith('.')]


@pytest.mark.parametrize('exists', [True, False])
def test_the_target_of_a_link_is_written(folder, exists):
  if exists:
    (folder / 'target').mkdir()
  (folder / 'out').symlink_to('target')
  made = preparation.prepare(test_plan.made(), request(folder))
  assert (folder / 'out').is_symlink() and not (folder / 'target').is_symlink()
  assert site_manifest.read(folder / 'target') == made
  assert {path.name for path in folder.iterdir()} == {'raw', 'map.csv', 'out', 'target'}


def test_the_records_of_a_killed_run_are_removed_and_those_of_a_living_run_are_not(folder):
  plan, record = test_plan.made(), records.file_name(0, 'train')
  reader, writer = os.pipe()
  child = os.fork()  # It writes one record, says so and waits to be killed.
  if not child:
    try:
      with preparation._whole(folder / 'out') as hidden:
        (hidden / record).write_text('private')
        os.write(writer, b'written')
        signal.pause()
    finally:
      os._exit(1)
  try:
    os.read(reader, 7)
    with pytest.raises(ValueError, match='out=.* is being written by another process'):
      preparation.prepare(plan, request(folder))
    left = [path for path in folder.rglob(record) if path.read_text() == 'private']
    assert len(left) == 1
  finally:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)
  made = preparation.prepare(plan, request(folder))
  assert site_manifest.read(folder / 'out') == made
  assert {path.name for path in folder.iterdir()} == {'raw', 'map.csv', 'out'}


def test_a_label_is_mapped_in_any_spelling_and_one_that_no_image_has_is_said(folder):
  table = folder / 'raw' / 'manifest.csv'
  table.write_text(table.read_text().replace('ill', 'caf\u00e9  au lait'))
  (folder / 'map.csv').write_text('well,a\n cafe\u0301 au lait,b\nwel,\n')
  said = []
  preparation.prepare(test_plan.made(), request(folder), said.append)
  assert [one for one in said if 'no image has' in one] == [
      f"label_map={folder / 'map.csv'} maps 'wel', which no image has for a label."]


def test_folders_of_patients_and_several_clients(tmp_path):
  for patient in range(6):
    written(tmp_path / 'raw' / f'p{patient}' / 'ab'[patient % 2] / 'x.png', 10 * patient, size=(16, 12))
  said = []
  made = preparation.prepare(test_plan.made(), request(tmp_path, label_map=None, group_by='folder'), said.append)
  assert sum(made.clients[0].counts.values()) == 6
  assert any('is 16x12x1; every image is brought to' in one for one in said)
  for client in ('south-1', 'south-2'):
    for number in range(8):
      written(tmp_path / 'two' / client / 'ab'[number % 2] / f'{number}.png', 10 * number)
  made = preparation.prepare(test_plan.made(), request(
      tmp_path, site='south', data_dir=str(tmp_path / 'two'), out=str(tmp_path / 'two_out'), label_map=None,
      group_by='image'))
  assert [(one.name, one.number, sum(one.counts.values())) for one in made.clients] == [('south-1', 1, 8),
                                                                                        ('south-2', 2, 8)]


def test_an_anomaly_detector_trains_on_normal_images_only(folder):
  plan = test_plan.made(data=configs.DataConfig(dataset='plan', normal_class='a'), schema={'class_names': ('a', 'b')},
                        task=configs.TaskConfig(task='anomaly'), model=configs.ModelConfig(model='autoencoder'))
  said = []
  found = preparation.prepare(plan, request(folder), said.append).clients[0].classes
  assert found['train'][0] > 0 and found['train'][1] == 0 and found['test'][1] > 0
  assert any('training images of other classes than a are left out' in one for one in said)
  site_manifest.read(folder / 'out').check(folder / 'out', plan)
  config = dict(plan.config, data=plan.config['data'] | {'normal_class': 'b'})
  with pytest.raises(ValueError, match='another normal_class'):
    site_manifest.read(folder / 'out').check(folder / 'out', dataclasses.replace(plan, config=config))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=3, max_size=40),
       st.sampled_from([(0.1, 0.2), (0.3, 0.3), (0.0, 0.25)]))
def test_a_split_keeps_groups_whole_and_near_the_wanted_shares(groups, fractions):
  group = np.repeat(np.arange(len(groups)).astype(str), [size for _, size in groups])
  y = np.repeat([label for label, _ in groups], [size for _, size in groups]).astype(np.int32)
  split = site_split.by_groups(y, group, fractions)
  assert all(len(set(split[group == one])) == 1 for one in set(group))
  validation, test = fractions
  for name, share in (('train', 1 - validation - test), ('validation', validation), ('test', test)):
    assert (name in split) == (share > 0)
    if len(groups) >= 20:
      assert abs((split == name).mean() - share) < 0.2


def test_two_large_groups_of_a_class_are_not_held_out_for_the_smallest_split():
  """By shares of what was wanted, the second large group of each class went to validation: 26 of 65 images, not 6."""
  sizes = [9, 8] * 3 + [1] * 14
  group = np.repeat(np.arange(len(sizes)).astype(str), sizes)
  y = np.repeat([0, 0, 1, 1, 2, 2, *[3] * 14], sizes).astype(np.int32)
  split = site_split.by_groups(y, group, (0.1, 0.2))
  assert 3 <= (split == 'validation').sum() <= 9 and 10 <= (split == 'test').sum() <= 18


def test_the_script_writes_records_and_says_what_it_did(folder, run_module):
  pathlib.Path(folder / 'plan.json').write_text(test_plan.made().to_json())
  done = run_module('pipelines.prepare', f'--plan={folder}/plan.json', '--site=north', f'--data_dir={folder}/raw',
                    f'--out={folder}/out', f'--label_map={folder}/map.csv')
  assert done.returncode == 0, done.stderr
  assert 'north, test:' in done.stdout and 'written:' in done.stdout
  done = run_module('pipelines.prepare', f'--plan={folder}/plan.json', '--site=east', f'--data_dir={folder}/raw',
                    f'--out={folder}/out2')
  assert done.returncode == 1 and done.stderr.count('\n') == 1 and "site='east'" in done.stderr
