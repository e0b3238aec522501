"""Folders and manifests as people really have them: the right images, classes and splits, or one sentence."""

import os
import pathlib

import numpy as np
import pytest
from PIL import Image

from tff_vision import configs
from tff_vision.data import build
from tff_vision.data.sources import assembled, heldout, listing

RNG = np.random.default_rng(0)


def _put(path, image=None):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = RNG.integers(0, 256, (5, 4), dtype=np.uint8) if image is None else image
  Image.fromarray(image).save(path)
  return image


def _tree(root, *prefixes, n=5):
  return {prefix: [_put(root / prefix / f'{i}.png') for i in range(n)] for prefix in prefixes}


def _build(root, **fields):
  return build.build(configs.DataConfig(**{'dataset': 'folder', 'data_dir': str(root), 'partition': 'iid',
                                           'num_clients': 1} | fields), seed=0)


def _bytes(examples):
  return sorted(image.tobytes() for image in examples.x)


def _said(found, *words):
  return any(all(word in note for word in words) for note in found.notes)


@pytest.mark.parametrize('names', [('Training', 'Testing'), ('Train', 'Test'), ('TRAIN', 'VAL'),
                                   ('train_set', 'test set'), ('train2017', 'val2017'), ('TrainImages', 'TestImages'),
                                   ('trainset', 'testdata'), ('训练集', '测试集')])
@pytest.mark.parametrize('below', ['{split}/{label}', '{split}/site/{label}', '{label}/{split}',
                                   'site/{split}/{label}'])
def test_splits_are_known_in_any_case_and_place_and_never_merged(tmp_path, names, below):
  places = [[below.format(split=split, label=label) for label in 'ab'] for split in names]
  _tree(tmp_path, *places[0])
  tests = _tree(tmp_path, *places[1], n=2)
  found = _build(tmp_path)
  assert found.class_names == ('a', 'b') and found.train.num_examples(0) == 10
  assert _bytes(found.test.examples) == sorted(image.tobytes() for part in tests.values() for image in part)


@pytest.mark.parametrize(('places', 'said'), [
    (('Train/a', 'Test/a', 'Extra/a'), 'named Test and Train, like splits, and beside them lie Extra'),
    (('val/a', 'test/a'), 'none is for training'),
    (('site/train/a', 'site/test/a', 'site/more/a'), 'beside them lie more'),
    (('Trainingsdaten/a', 'Testdaten/a'), 'Testdaten and Trainingsdaten, like training and test images'),
    (('site1_train/a', 'site1_test/a', 'site2_train/a'), 'site1_test and site1_train and site2_train, like'),
    (('train_fold1/a', 'val_fold1/a'), 'train_fold1 and val_fold1, like')])
def test_what_is_half_a_split_is_refused_by_name(tmp_path, places, said):
  _tree(tmp_path, *places)
  with pytest.raises(ValueError, match=said):
    _build(tmp_path)


def test_a_class_may_be_called_train(tmp_path):
  _tree(tmp_path, 'train', 'bus', 'car')
  assert _build(tmp_path).class_names == ('bus', 'car', 'train')
  assert listing.split_of('training data') == 'train' and listing.split_of('best') is None
  assert listing.split_of('testset') == 'test' and listing.split_of('valve') is listing.split_of('trainer') is None


def test_a_group_may_be_called_test(tmp_path):
  _tree(tmp_path, 'x/test', 'x/control', 'TR/control')
  found = _build(tmp_path, partition='natural', num_clients=None)
  assert found.class_names == ('control', 'test') and list(found.train.client_ids) == ['TR', 'x']


def test_what_notebooks_and_desktops_leave_is_ignored_and_counted(tmp_path):
  _tree(tmp_path, 'a', 'b')
  _tree(tmp_path, '.ipynb_checkpoints', '__MACOSX/a', 'a/.ipynb_checkpoints', '.git/x/y')
  for name in ('._0.png', '.DS_Store', 'Thumbs.db', 'desktop.ini', '~$0.png'):
    (tmp_path / 'a' / name).write_bytes(b'\0\5\x16\7' + bytes(80))
  found = _build(tmp_path)
  assert found.class_names == ('a', 'b') and found.train.num_examples(0) + len(found.test.examples) == 10
  assert _said(found, '.ipynb_checkpoints', '._*', '__MACOSX', '.git') and _said(found, '2 files', '.db', '.ini')


def test_formats_that_are_not_read_are_named(tmp_path):
  (tmp_path / 'a').mkdir()
  for i in range(3):
    (tmp_path / 'a' / f'{i}.jxl').write_bytes(b'\xff\x0a' + bytes(5000))
  with pytest.raises(ValueError, match='3 JPEG XL files, a format that is not read'):
    _build(tmp_path)
  _tree(tmp_path, 'a', 'b')
  assert _said(_build(tmp_path), 'not read left out: 3 JPEG XL')
  (tmp_path / 'a' / '7.png').write_bytes(b'\xff\x0a' + bytes(5000))
  with pytest.raises(ValueError, match=r'7.png is a file of the format JPEG XL, .*corrupt_images=skip'):
    _build(tmp_path)
  assert _said(_build(tmp_path, corrupt_images='skip'), '1 of 11', 'JPEG XL')


def test_labels_are_trimmed_and_case_is_asked_about(tmp_path):
  _tree(tmp_path, 'x/left', 'x/left ', 'x/left\u200b', 'y/right', 'y/caf\u00e9', 'y/cafe\u0301', 'y/\ufeffright')
  found = _build(tmp_path)
  assert found.class_names == ('caf\u00e9', 'left', 'right') and _said(found, 'spaces', "'cafe\u0301'")
  _tree(tmp_path, 'y/RIGHT', n=2)
  with pytest.raises(ValueError, match="classes 'RIGHT' and 'right' differ in case only: label_case=merge"):
    _build(tmp_path)
  assert _build(tmp_path, label_case='merge').class_names == ('caf\u00e9', 'left', 'right')
  assert len(_build(tmp_path, label_case='keep').class_names) == 4
  _tree(tmp_path, 'X/left')
  assert _said(_build(tmp_path, label_case='merge'), 'Clients that differ in case only stay apart: X and x')


def test_spaces_in_a_manifest_are_trimmed_and_counted(tmp_path):
  _tree(tmp_path, 'i', n=8)
  _manifest(tmp_path, 'path, label ,client', *(f'i/{i}.png,{"left " if i % 4 else "left"},c{i % 2} ' for i in range(4)),
            *(f' i/{i}.png , right,c' for i in range(4, 8)))
  found = _build(tmp_path, partition='natural', num_clients=None)
  assert found.class_names == ('left', 'right') and list(found.train.client_ids) == ['c', 'c0', 'c1']
  assert _said(found, '7 labels had spaces') and _said(found, '4 names of clients had spaces')


def test_doubled_spaces_are_one_and_other_separators_are_told(tmp_path):
  _tree(tmp_path, 'x/left side', 'x/left  side', 'x/right')
  assert _build(tmp_path).class_names == ('left side', 'right')
  _tree(tmp_path / 'more', 'effusion', 'mass', 'effusion;mass')
  found = _build(tmp_path / 'more')
  assert len(found.class_names) == 3 and _said(found, "'effusion;mass' is a class of its own", 'finding_separator=;')
  assert not _said(_build(tmp_path / 'more', finding_separator=''), 'finding_separator')
  assert _build(tmp_path / 'more', finding_separator=';').class_names == ('effusion', 'mass')


def test_names_of_classes_that_a_data_set_tells_are_spelled_as_its_labels():
  y, names, _ = assembled.labelled(['b ', 'a', 'c  d'], None, ['c  d', 'b ', 'a'], configs.DataConfig(dataset='folder'))
  assert names == ('c d', 'b', 'a') and y.tolist() == [1, 2, 0]
  with pytest.raises(ValueError, match="the class 'b' is named twice"):
    assembled.labelled(['b'], None, ['b', 'b '], configs.DataConfig(dataset='folder'))


def _manifest(root, *rows, encoding='utf-8', end='\n'):
  (root / 'manifest.csv').write_bytes(end.join(rows).encode(encoding))


def test_one_file_is_listed_once_however_it_is_written(tmp_path):
  _tree(tmp_path, 'i')
  for again in ('./i/0.png', 'i/../i/0.png', 'i//0.png', str(tmp_path / 'i' / '0.png')):
    _manifest(tmp_path, 'path,label,split', 'i/0.png,a,train', 'i/1.png,b,train', f'{again},a,test')
    with pytest.raises(ValueError, match='line 4 lists .* again, after line 2'):
      _build(tmp_path)
  (tmp_path / 'i' / 'link.png').symlink_to(tmp_path / 'i' / '0.png')
  os.link(tmp_path / 'i' / '0.png', tmp_path / 'i' / 'hard.png')
  for link in ('link', 'hard'):
    _manifest(tmp_path, 'path,label,split', 'i/0.png,a,train', 'i/1.png,b,train', f'i/{link}.png,a,test')
    with pytest.raises(ValueError, match=f'{link}.png is for tests and the same file as .*0.png'):
      _build(tmp_path)


@pytest.mark.parametrize(('encoding', 'end'), [('utf-8', '\r\n'), ('utf-8-sig', '\n'), ('utf-16', '\r\n'),
                                               ('cp1252', '\r\n')])
@pytest.mark.parametrize('delimiter', [',', ';', '\t'])
def test_a_manifest_of_any_office_program_is_read(tmp_path, encoding, end, delimiter):
  _tree(tmp_path, 'i', n=8)
  rows = [('Path', 'label ', 'Client'),
          *((f'i\\{i}.png', 'gr\u00fcn' if i % 2 else 'rot', 'Z\u00fcrich') for i in range(8))]
  told = [f'sep={delimiter}'] if end == '\r\n' else []  # As Excel writes it.
  _manifest(tmp_path, *told, *(delimiter.join(row) for row in rows), '', encoding=encoding, end=end)
  found = _build(tmp_path, partition='natural', num_clients=None)
  assert found.class_names == ('gr\u00fcn', 'rot') and list(found.train.client_ids) == ['Z\u00fcrich']
  assert _said(found, 'Windows-1252', 'line 3') == (encoding == 'cp1252')


@pytest.mark.parametrize(('content', 'said'), [
    (b'path,label\ni/0.png,a\0b\n', r'manifest.csv line \d'),
    (b'path,label\ni/0.png,a,extra\n', 'line 2 has 3 fields'),
    (b'sep=;\npath;label\ni/0.png;a;extra\n', 'line 3 has 3 fields'),
    (b'\xff\xfepat', 'manifest.csv cannot be read as UTF-16'),
    (b'path,label,label\ni/0.png,a,b', 'column label twice')])
def test_a_manifest_that_cannot_be_read_is_named_with_its_line(tmp_path, content, said):
  _tree(tmp_path, 'i')
  (tmp_path / 'manifest.csv').write_bytes(content)
  with pytest.raises(ValueError, match=said):
    _build(tmp_path)


def test_several_findings_in_a_label_or_in_columns(tmp_path):
  _tree(tmp_path, 'i', n=6)
  labels = ['Effusion|Mass', 'Mass', 'No Finding', 'Effusion', 'Effusion|Nodule|Mass', 'No Finding']
  expected = {(1, 1, 0), (0, 1, 0), (0, 0, 0), (1, 0, 0), (1, 1, 1)}
  rows = [f'i/{i}.png,{label},train' for i, label in enumerate(labels)]
  _manifest(tmp_path, 'path,label,split', *rows[:-1], rows[-1].replace('train', 'test'))
  found = _build(tmp_path)
  assert found.class_names == ('Effusion', 'Mass', 'Nodule') and found.multi_label
  assert {tuple(row) for row in found.train.examples(0).y.astype(int)} == expected and _said(found, 'several findings')
  assert 'Effusion|Mass' in _build(tmp_path, finding_separator='').class_names
  _manifest(tmp_path, 'path,label,split', *(row.replace('|', ' & ') for row in rows[:-1]), 'i/5.png,Mass,test')
  assert _build(tmp_path, finding_separator='&').class_names == ('Effusion', 'Mass', 'Nodule')
  table = [','.join([f'i/{i}.png', 'test' if i == 5 else 'train', str(40 + i), *map(str, row)])
           for i, row in enumerate([(1, 1, 0), (0, 1, 0), (0, 0, 0), (1, 0, 0), (1, 1, 1), (0, 0, 0)])]
  _manifest(tmp_path, 'path,split,age,Effusion,Mass,Nodule', *table)
  found = _build(tmp_path)
  assert found.class_names == ('Effusion', 'Mass', 'Nodule') and _said(found, 'not read: age')
  assert {tuple(row) for row in found.train.examples(0).y.astype(int)} == expected
  root = tmp_path / 'folders'
  _tree(root, 'Effusion|Mass', 'Mass', 'No Finding')
  assert _build(root).class_names == ('Effusion', 'Mass') and _build(root).multi_label


def test_clients_that_share_files_by_links_keep_them_and_no_file_is_trained_on_and_tested(tmp_path):
  store = _tree(tmp_path / 'store', 'a', 'b', n=12)
  for client in 'xyz':
    for label in 'ab':
      (tmp_path / 'root' / client).mkdir(parents=True, exist_ok=True)
      (tmp_path / 'root' / client / label).symlink_to(tmp_path / 'store' / label)
  (tmp_path / 'store' / 'a' / 'back').symlink_to(tmp_path / 'root')
  found = _build(tmp_path / 'root', partition='natural', num_clients=None)
  assert list(found.train.client_ids) == ['x', 'y', 'z']
  trained = {image for client in range(3) for image in _bytes(found.train.examples(client))}
  assert sum(found.train.num_examples(client) for client in range(3)) + len(found.test.examples) == 3 * 24
  assert len(trained) + len(set(_bytes(found.test.examples))) == len(trained | set(_bytes(found.test.examples)))
  assert trained | set(_bytes(found.test.examples)) == {image.tobytes() for part in store.values() for image in part}


def test_copies_of_training_images_among_test_images_are_counted(tmp_path):
  written = _tree(tmp_path, 'train/a', 'train/b', 'test/a')
  _put(tmp_path / 'test' / 'a' / 'copy.png', written['train/a'][0])
  assert _said(_build(tmp_path), '1 of 6 test images seem to be copies')


@pytest.mark.parametrize('sizes', [[3] * 500, [2] * 200, [1] * 40 + [7] * 9, [1] * 50, [50, 1, 1, 2, 9]])
def test_no_client_of_two_images_or_more_loses_all_to_the_test_set(sizes):
  owners = np.repeat([f'c{i:04d}' for i in range(len(sizes))], sizes)
  classes = np.concatenate([np.arange(size) % 3 for size in sizes])
  held_out = heldout.stratified(classes, 0.2, owners)
  assert held_out.sum() == sum(round(0.2 * n) for n in np.bincount(classes) if n)
  single = {f'c{i:04d}' for i, size in enumerate(sizes) if size == 1}
  lost = set(owners[held_out]) - set(owners[~held_out])
  assert lost <= single and heldout.emptied(held_out, owners) == len(lost)
  if sizes == [3] * 500:  # 300 images of 300 clients: each of them is tested on one.
    assert len(set(owners[held_out])) == 300
  if lost:
    assert f'{len(lost)} clients of one image' in heldout.note(held_out, 0.2, owners)


def test_sixteen_bit_images_of_twelve_bits_use_their_range(tmp_path):
  deep = {(label, i): (200 + 260 * (label == 'b') + RNG.integers(0, 40, (6, 6))).astype(np.uint16)
          for label in 'ab' for i in range(10)}
  for (label, i), image in deep.items():
    _put(tmp_path / label / f'{i}.png', image)
  found = _build(tmp_path)
  examples = found.train.examples(0)
  assert examples.x.dtype == np.float32 and _said(found, '200..499', '0..1023', 'pixel_range')
  np.testing.assert_allclose(sorted(x.mean() for x in examples.x)[0], 220 / 1023, atol=0.02)
  chosen = _build(tmp_path, pixel_range='200,500').train.examples(0)
  assert chosen.x.min() == 0 and 0.99 < chosen.x.max() <= 1
  assert found.stored_pixels.window == (0, 1023) and found.stored_pixels.white == 1
  assert found.stored_pixels.eight_bit is None
  _put(tmp_path / 'a' / 'grey.png')
  assert _build(tmp_path).stored_pixels.eight_bit == (0, 255)
  with pytest.raises(ValueError, match='pixel_range must be BLACK,WHITE.*5,5'):
    configs.DataConfig(dataset='folder', pixel_range='5,5')
  with pytest.raises(ValueError, match='pixel_range=.* has no effect with dataset=digits'):
    configs.DataConfig(pixel_range='0,5')


def test_files_of_zero_and_one_are_said_to_be_nearly_black(tmp_path):
  for label in 'ab':
    for i in range(6):
      _put(tmp_path / label / f'{i}.png', RNG.integers(0, 2, (6, 6), dtype=np.uint8))
  assert _said(_build(tmp_path), 'nearly black', 'pixel_range=0,1')
  found = _build(tmp_path, pixel_range='0,1')
  assert set(np.unique(found.test.examples.x)) == {0.0, 1.0} and not _said(found, 'nearly black')


def test_a_link_that_leads_nowhere_is_left_out_and_counted(tmp_path):
  _tree(tmp_path, 'a', 'b')
  (tmp_path / 'a' / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
  with pytest.raises(ValueError, match='gone.png cannot be read .No such file or directory.. corrupt_images=skip'):
    _build(tmp_path)
  assert _said(_build(tmp_path, corrupt_images='skip'), '1 corrupt of 11', 'gone.png')


def test_the_fingerprint_is_that_of_the_content_and_not_of_the_place(tmp_path):
  _tree(tmp_path / 'here', 'x/a', 'x/b', 'y/a', 'y/b')
  first = _build(tmp_path / 'here').fingerprint
  (tmp_path / 'here').rename(tmp_path / 'there')
  assert _build(tmp_path / 'there').fingerprint == first
  path = pathlib.Path(tmp_path / 'there' / 'x' / 'a' / '3.png')
  old = path.read_bytes()
  _put(path)
  assert _build(tmp_path / 'there').fingerprint['files'] != first['files']
  path.write_bytes(old)
  assert _build(tmp_path / 'there').fingerprint == first
  path.rename(tmp_path / 'there' / 'x' / 'b' / '9.png')
  changed = _build(tmp_path / 'there').fingerprint
  assert {name for name in first if first[name] != changed[name]} >= {'files', 'test set'}
