"""COCO and Pascal VOC annotations: what is read from them, and one sentence for each way in which they can be wrong."""

import json

import numpy as np
import pytest
from PIL import Image

from tff_vision import configs, labels
from tff_vision.data import build as build_lib
from tff_vision.data.sources import coco, voc


def image(path, height=40, width=60, value=100):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path)


def coco_file(path, names, boxes, categories=((3, 'cell'), (7, 'nucleus')), **more):
  """Writes annotations: `boxes` are (image, category, bbox)."""
  content = {
      'images': [{'id': 10 + number, 'file_name': name, 'height': 40, 'width': 60} | more.get(name, {})
                 for number, name in enumerate(names)],
      'annotations': [{'id': number, 'image_id': 10 + place, 'category_id': category, 'bbox': bbox, 'iscrowd': crowd}
                      for number, (place, category, bbox, crowd) in enumerate(
                          (*box, 0)[:4] if len(box) == 3 else box for box in boxes)],
      'categories': [{'id': number, 'name': name} for number, name in categories]}
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content))


def voc_file(path, name, boxes, size=(60, 40), more=''):
  path.parent.mkdir(parents=True, exist_ok=True)
  objects = ''.join(
      f'<object><name>{label}</name><difficult>{difficult}</difficult><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>'
      f'<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>' for label, (a, b, c, d), difficult in boxes)
  path.write_text(f'<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height>'
                  f'<depth>3</depth></size>{more}{objects}</annotation>')


def config(folder, kind='coco', **more):
  return configs.DataConfig(dataset=kind, data_dir=str(folder), max_boxes=4, **more)


def rows(*boxes):
  y = labels.no_boxes(1, 4)
  y[0, :len(boxes)] = np.reshape(boxes, (-1, 5))
  return y[0]


def test_coco_files_for_splits(tmp_path):
  """Numbers of categories have gaps, one image has no boxes, and images lie in a folder beside the annotations."""
  for name in 'abc':
    image(tmp_path / 'images' / f'{name}.png')
  coco_file(tmp_path / 'train.json', ['images/a.png', 'images/b.png'],
            [(0, 7, [6, 10, 30, 20]), (0, 3, [-0.5, 0, 60.5, 40]), (0, 3, [0, 0, 30, 30], 1)])
  coco_file(tmp_path / 'test.json', ['images/c.png'], [(0, 3, [30, 20, 30, 20.4])])
  found = coco.load(config(tmp_path))
  assert found.class_names == ('cell', 'nucleus') and found.train_owners is None
  assert (len(found.train), len(found.test)) == (2, 1) and found.spec.label_shape == (4, 5)
  np.testing.assert_allclose(found.train.y[0], rows(
      [0.25, 0.1, 0.75, 0.6, 1], [0, 0, 1, 1, 0], [0, 0, 0.75, 0.5, labels.ignored_box(0)]), atol=1e-6)
  np.testing.assert_allclose(found.train.y[1], rows())
  np.testing.assert_allclose(found.test.y[0], rows([0.5, 0.5, 1, 1, 0]), atol=1e-6)
  assert found.train.take(np.array([0, 1])).x.shape == (2, 40, 60, 3)
  assert any('crowds or as difficult' in note for note in found.notes)


def test_the_layout_of_coco_itself_and_of_exports_with_a_folder_for_each_split(tmp_path):
  image(tmp_path / 'a' / 'train2017' / '1.png')
  image(tmp_path / 'a' / 'val2017' / '1.png', value=7)
  for split in ('train2017', 'val2017'):
    coco_file(tmp_path / 'a' / 'annotations' / f'instances_{split}.json', ['1.png'], [(0, 3, [0, 0, 30, 40])])
  (tmp_path / 'a' / 'annotations' / 'captions_train2017.json').write_text(json.dumps({'images': [], 'annotations': []}))
  found = coco.load(config(tmp_path / 'a'))
  assert found.train.take(np.array([0])).x.max() == 100 and found.test.take(np.array([0])).x.max() == 7
  # A category 0 above all others, which no box has, is left out.
  for split, value in (('train', 1), ('valid', 2)):
    image(tmp_path / 'b' / split / 'x.jpg', value=value)
    coco_file(tmp_path / 'b' / split / '_annotations.coco.json', ['x.jpg'], [(0, 1, [0, 0, 30, 40])],
              categories=((0, 'things'), (1, 'cell')))
  found = coco.load(config(tmp_path / 'b'))
  assert found.class_names == ('cell',) and (len(found.train), len(found.test)) == (1, 1)


def test_clients_of_coco_files(tmp_path):
  """From a key of the image, from its folder, or from several files; without splits, a share is held out."""
  for name in ('a', 'b', 'c', 'd'):
    image(tmp_path / 'key' / f'{name}.png')
    image(tmp_path / 'folder' / f'site_{name}' / 'x.png')
    image(tmp_path / 'files' / f'{name}.png')
    coco_file(tmp_path / 'files' / f'lab_{name}.json', [f'{name}.png'], [(0, 3, [0, 0, 30, 40])])
  boxes = [(place, 3, [0, 0, 30, 40]) for place in range(4)]
  coco_file(tmp_path / 'key' / 'all.json', [f'{name}.png' for name in 'abcd'], boxes,
            **{f'{name}.png': {'client': f' {"xy"[name > "b"]}'} for name in 'abcd'})
  coco_file(tmp_path / 'folder' / 'all.json', [f'site_{name}/x.png' for name in 'abcd'], boxes)
  found = coco.load(config(tmp_path / 'key', test_fraction=0.5))
  assert sorted({*found.train_owners, *found.test_owners}) == ['x', 'y'] and len(found.test) == 2
  found = coco.load(config(tmp_path / 'folder'))
  assert sorted({*found.train_owners, *found.test_owners}) == ['site_a', 'site_b', 'site_c', 'site_d']
  made = build_lib.build(config(tmp_path / 'files', partition='natural'), seed=0)
  assert len(made.train) >= 3 and set(made.train.client_ids) < {'lab_a', 'lab_b', 'lab_c', 'lab_d', 'x'}


BAD = {
    'a box outside of its image': (lambda box: box.update(bbox=[50, 0, 20, 10]),
                                   r'annotation 0 of .*all.json has a box from \(50, 0\) to \(70, 10\), outside'),
    'a negative size': (lambda box: box.update(bbox=[5, 5, -3, 10]), 'has a box of -3x10 pixels'),
    'no size': (lambda box: box.update(bbox=[5, 5, 0, 0]), 'has a box of 0x0 pixels'),
    'a number that is none': (lambda box: box.update(bbox=[5, 5, float('nan'), 1]), 'not finite'),
    'three numbers': (lambda box: box.update(bbox=[5, 5, 1]), 'needs a bbox of four numbers'),
    'an unknown category': (lambda box: box.update(category_id=99), 'category 99, which is not among .* 3 cell'),
    'an unknown image': (lambda box: box.update(image_id=99), 'of image 99, which is not among its images'),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_boxes_of_coco_files_are_named(tmp_path, name):
  change, match = BAD[name]
  image(tmp_path / 'a.png')
  image(tmp_path / 'b.png')
  coco_file(tmp_path / 'all.json', ['a.png', 'b.png'], [(0, 3, [0, 0, 30, 40]), (1, 3, [0, 0, 30, 40])])
  content = json.loads((tmp_path / 'all.json').read_text())
  change(content['annotations'][0])
  (tmp_path / 'all.json').write_text(json.dumps(content))
  with pytest.raises(ValueError, match=match) as caught:
    coco.load(config(tmp_path))
  assert '\n' not in str(caught.value)
  if 'corrupt_images' in str(caught.value):
    found = coco.load(config(tmp_path, corrupt_images='skip'))
    assert (np.concatenate([found.train.y, found.test.y])[..., 4] >= 0).sum() == 1
    assert any('1 boxes are left out' in note for note in found.notes)


def test_boxes_as_shares_of_width_and_height_are_refused(tmp_path):
  image(tmp_path / 'a.png')
  image(tmp_path / 'b.png')
  for kept, boxes in ((False, [(0, 3, [0.1, 0.2, 0.3, 0.4]), (1, 3, [0, 0, 1, 1])]),
                      (True, [(0, 3, [0.1, 0.2, 0.3, 0.4]), (1, 3, [0, 0, 30, 40])])):
    coco_file(tmp_path / 'all.json', ['a.png', 'b.png'], boxes)
    if kept:
      assert len(coco.load(config(tmp_path)).train)
    else:
      with pytest.raises(ValueError, match='all other boxes lie in the first pixel .* as shares'):
        coco.load(config(tmp_path))


def test_images_that_are_missing_or_other_images(tmp_path):
  image(tmp_path / 'a.png')
  image(tmp_path / 'b.png')
  write = lambda names, **more: coco_file(tmp_path / 'all.json', names, [(0, 3, [0, 0, 30, 40])] * 1, **more)
  write(['a.png', 'b.png', 'gone.png'])
  with pytest.raises(ValueError, match='gone.png, and there is no such file .1 of 3 are missing'):
    coco.load(config(tmp_path))
  assert any('1 of 3 annotated images are missing' in note
             for note in coco.load(config(tmp_path, corrupt_images='skip')).notes)
  write(['a.png', 'b.png'], **{'b.png': {'width': 40, 'height': 60}})
  with pytest.raises(ValueError, match=r'b.png has 60x40 pixels, and .*all.json says 40x60'):
    coco.load(config(tmp_path))
  for name in ('../a.png', '/etc/passwd'):
    write(['a.png', name])
    with pytest.raises(ValueError, match='must lie below data_dir'):
      coco.load(config(tmp_path))
  coco_file(tmp_path / 'all.json', ['a.png', 'b.png'], [(0, 3, [0, 0, 30, 40])] * 5)
  with pytest.raises(ValueError, match='has 5 boxes, and max_boxes=4 .* say max_boxes=5'):
    coco.load(config(tmp_path))
  (tmp_path / 'all.json').write_text('{"images": [')
  with pytest.raises(ValueError, match='cannot be read as JSON'):
    coco.load(config(tmp_path))
  (tmp_path / 'all.json').write_text('[1]')
  with pytest.raises(ValueError, match='holds no COCO annotations'):
    coco.load(config(tmp_path))


def test_voc_folders_with_image_sets(tmp_path):
  """Pixels count from 1 and both edges belong to a box; a difficult object is neither wanted nor wrong."""
  for name in ('a', 'b', 'c', 'd'):
    image(tmp_path / 'JPEGImages' / f'{name}.png')
    voc_file(tmp_path / 'Annotations' / f'{name}.xml', f'{name}.png',
             [('dog', (1, 1, 30, 20), 0), ('Cat ', (31, 21, 60, 40), int(name == 'b'))])
  sets = tmp_path / 'ImageSets' / 'Main'
  sets.mkdir(parents=True)
  for split, names in (('trainval', 'ab'), ('test', 'c')):
    (sets / f'{split}.txt').write_text('\n'.join(names))
  found = voc.load(config(tmp_path, 'voc'))
  assert found.class_names == ('Cat', 'dog') and (len(found.train), len(found.test)) == (2, 1)
  np.testing.assert_allclose(found.train.y[0], rows([0, 0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1, 0]), atol=1e-6)
  assert found.train.y[1, 1, 4] == labels.ignored_box(0)
  assert any('1 of 4 annotations are in no file of ImageSets/Main' in note for note in found.notes)


def test_voc_folders_of_splits_and_clients_that_count_from_zero(tmp_path):
  for split in ('train', 'test'):
    for site in ('north', 'south'):
      image(tmp_path / split / site / 'x.jpg')
      voc_file(tmp_path / split / site / 'x.xml', 'elsewhere/other_name.jpg', [('dog', (0, 0, 30, 20), 0)])
  found = voc.load(config(tmp_path, 'voc'))
  assert found.train_owners.tolist() == ['north', 'south'] == found.test_owners.tolist()
  np.testing.assert_allclose(found.train.y[0], rows([0, 0, 0.5, 0.5, 0]), atol=1e-6)


def test_voc_fractions_below_one_are_of_pixels_from_zero(tmp_path):
  for name, edges in (('x', (12.5, 8.25, 30, 20)), ('y', (0.3, 4, 30, 20))):
    image(tmp_path / f'{name}.png', value=ord(name))
    voc_file(tmp_path / f'{name}.xml', f'{name}.png', [('dog', edges, 0)])
  found = voc.load(config(tmp_path, 'voc', test_fraction=0.5))
  both = np.concatenate([found.train.y, found.test.y])
  tops = sorted((40 * both[:, 0, 0]).tolist())
  np.testing.assert_allclose(tops, [4, 8.25], atol=1e-5)


@pytest.mark.parametrize(('boxes', 'match'), [
    ([('dog', (1, 1, 99, 20), 0)], 'object 1 of .*x.xml has a box .* outside its image of 60x40'),
    ([('dog', (9, 1, 3, 20), 0)], 'object 1 of .*x.xml has a box of -5x20 pixels'),
    ([('dog', ('', 1, 3, 20), 0)], 'needs a bndbox'), ([('', (1, 1, 3, 20), 0)], 'has no name'),
    ([('dog', (1, 1, 9, 9), 0), ('Dog', (1, 1, 9, 9), 0)], 'differ in case only'), ([], 'name no object')])
def test_bad_voc_annotations_are_named(tmp_path, boxes, match):
  image(tmp_path / 'x.png')
  voc_file(tmp_path / 'x.xml', 'x.png', boxes)
  with pytest.raises(ValueError, match=match):
    voc.load(config(tmp_path, 'voc'))


def test_xml_that_is_broken_or_has_no_image(tmp_path):
  voc_file(tmp_path / 'x.xml', 'x.png', [('dog', (1, 1, 9, 9), 0)])
  with pytest.raises(ValueError, match='x.xml names the image .*x.png, and there is no such file'):
    voc.load(config(tmp_path, 'voc'))
  (tmp_path / 'x.xml').write_text('<annotation>')
  with pytest.raises(ValueError, match='x.xml cannot be read as XML'):
    voc.load(config(tmp_path, 'voc'))


def test_voc_clients_count_pixels_from_zero_or_one_each_for_itself(tmp_path):
  """Sites use programs of their own; a client without a box at an upper or left edge goes by the others."""
  for site, edges in (('north', (0, 0, 30, 20)), ('south', (1, 1, 30, 20)), ('west', (15, 10, 30, 20))):
    for name in 'ab':
      image(tmp_path / site / f'{name}.png')
      voc_file(tmp_path / site / f'{name}.xml', f'{name}.png', [('dog', edges if name == 'a' else (6, 8, 30, 20), 0)])
  found = build_lib.build(config(tmp_path, 'voc', partition='natural', test_fraction=0.5), seed=0)
  held = dict(zip(found.train.client_ids, range(3), strict=True))
  boxes = {site: np.concatenate([found.train.examples(place).y, found.test.examples.y[found.test.clients[place]]])[:, 0]
           for site, place in held.items()}
  corners = {site: sorted((60 * rows[:, 1]).round(3).tolist()) for site, rows in boxes.items()}
  assert corners == {'north': [0, 6], 'south': [0, 5], 'west': [6, 15]}
  assert any('from 0 at 2 clients, where coordinates below 1 occur or none of 1, and from 1 at 1, \'south\'' in note
             for note in found.notes)


@pytest.mark.parametrize('boxes', [[], [(0, 3, [0, 0, 30, 30], 1)]])
def test_training_images_without_a_box_to_learn_from_are_refused(tmp_path, boxes):
  for name in 'ab':
    image(tmp_path / f'{name}.png')
  coco_file(tmp_path / 'train.json', ['a.png'], boxes)
  coco_file(tmp_path / 'test.json', ['b.png'], [(0, 3, [0, 0, 30, 30])])
  with pytest.raises(ValueError, match='dataset=coco: no training image has a box to learn from'):
    build_lib.build(config(tmp_path, partition='iid', num_clients=1), seed=0)
