"""Tables, arrays and annotations that people really write: the right labels, or one sentence that names the place."""

import io
import json
import tarfile
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from tff_vision import configs
from tff_vision.data import build, given

RNG = np.random.default_rng(0)
N = 12
X = RNG.integers(0, 256, (N, 6, 8), dtype=np.uint8)
Y = np.arange(N) % 3


def _png(image):
  made = io.BytesIO()
  Image.fromarray(image).save(made, 'PNG')
  return made.getvalue()


PNG = [_png(image) for image in X]


def _build(path, dataset='folder', **fields):
  return build.build(configs.DataConfig(**{'dataset': dataset, 'data_dir': str(path), 'partition': 'iid',
                                           'num_clients': 1} | fields), seed=0)


def _refused(said, path, dataset='folder', **fields):
  with pytest.raises(ValueError, match=said):
    _build(path, dataset, **fields)


def _manifest(root, text, names=None):
  for number, content in enumerate(PNG):
    (root / (names or '{}.png').format(number)).write_bytes(content)
  (root / 'manifest.csv').write_text(text, encoding='utf-8')
  return root


def _rows(label=lambda number: 'ab'[number % 2], name='{}.png', end=''):
  return '\n'.join(f'{name.format(number)},{label(number)}{end}' for number in range(N))


def test_a_quote_that_is_not_closed_swallows_no_rows(tmp_path):
  text = 'path,label\n' + _rows(lambda number: '"a' if number == 3 else 'ab'[number % 2])
  _refused(r'manifest.csv has a field that begins with a quote and goes on to line 13', _manifest(tmp_path, text))
  _refused('goes on to line 8', _manifest(tmp_path, text.replace('6.png,a', '6.png,a"')))


def test_separators_behind_the_last_column_are_no_columns(tmp_path):
  found = _build(_manifest(tmp_path, 'path,label,,\n' + _rows(end=',,')))
  assert found.class_names == ('a', 'b') and not any('not read' in note for note in found.notes)


def test_a_file_is_found_whichever_way_its_accents_are_written(tmp_path):
  composed = unicodedata.normalize('NFC', 'é')
  _manifest(tmp_path, 'path,label\n' + _rows(name=composed + '{}.png'),
            unicodedata.normalize('NFD', composed) + '{}.png')
  assert _build(tmp_path).train.num_examples(0) == 10


def test_one_number_in_two_spellings_is_said(tmp_path):
  found = _build(_manifest(tmp_path, 'path,label\n' + _rows(lambda number: ('1', '1.0', '2')[number % 3])))
  assert len(found.class_names) == 3 and any('1 and 1.0' in note for note in found.notes)


@pytest.mark.parametrize('missing', ['', '-1', 'NaN', 'uncertain'])
def test_a_finding_of_which_values_are_missing_is_not_left_out(tmp_path, missing):
  rows = _rows(lambda number: f'{number % 2},{missing if number == 3 else int(number % 3 > 0)},{number}')
  _refused(f"manifest.csv line 5: the finding Mass is '{missing}', and other lines say 0 or 1.",
           _manifest(tmp_path, 'path,Edema,Mass,age\n' + rows))
  found = _build(_manifest(tmp_path, 'path,label,Mass\n' + _rows(lambda number: f'{"ab"[number % 2]},{missing}')))
  assert found.class_names == ('a', 'b')


def test_clients_that_are_one_number_in_two_spellings_are_said(tmp_path):
  rows = _rows(lambda number: f'{"ab"[number % 2]},{("7", "7.0")[number // 2 % 2]}')
  found = _build(_manifest(tmp_path, 'path,label,client\n' + rows), partition='natural', num_clients=None)
  assert found.train.client_ids == ['7', '7.0'] and 'Clients that are one number in several spellings stay apart: ' \
      '7 and 7.0.' in found.notes


def test_a_set_of_training_images_only_is_divided(tmp_path):
  found = _build(_manifest(tmp_path, 'path,label,split\n' + _rows(end=',train')))
  assert len(found.test.examples) == 2
  _refused('data_dir=.* of the split test and none for training', _manifest(
      tmp_path, 'path,label,split\n' + _rows(end=',test')))


def _npz(root, **arrays):
  np.savez(root / 'x.npz', **arrays)
  return root / 'x.npz'


@pytest.mark.parametrize(('arrays', 'said'), [
    ({'y': Y * 2**32}, 'x.npz: y has class numbers up to'), ({'y': Y.astype(np.uint64) * 2**40}, 'x.npz: y has class'),
    ({'y': np.array('a')}, r'x.npz: y must be \[n\] names of classes, found \[\]'),
    ({'y': np.array(list('abc'))[Y], 'x_test': X, 'y_test': Y}, 'one of y and y_test holds texts, and the other int64'),
    ({'y': Y, 'x_test': X, 'y_test': np.array(list('abc'))[Y]}, 'one of y and y_test holds texts, and the other int64'),
    ({'y': np.array([b'\xe9', b'b', b'c'])[Y]}, r"x.npz: y is b'\\xe9', which is no UTF-8"),
    ({'y': np.array(['', 'b', 'c'])[Y]}, 'the label of 4 of 12 images is empty'),
    ({'y': Y, 'class_names': np.array(['a', 'a', 'b'])}, "class_names holds 'a' twice"),
    ({'y': Y, 'client': np.array(['', 'b', 'c'])[Y]}, 'client of 4 of 12 images is empty'),
    ({'y': Y, 'client': np.where(Y > 1, np.nan, Y)}, 'client of 4 of 12 images is empty'),
    ({'y': Y, 'x_test': X[:0], 'y_test': Y[:0]}, 'x.npz: x_test holds no example')])
def test_arrays_that_would_give_other_labels_are_refused(tmp_path, arrays, said):
  _refused(said, _npz(tmp_path, x=X, **arrays), 'npz')


def test_labels_as_bytes_are_texts_and_white_of_masks_is_a_class(tmp_path):
  found = _build(_npz(tmp_path, x=X, y=np.array(['é'.encode(), b'b', b'c'])[Y]), 'npz')
  assert found.class_names == ('b', 'c', 'é')
  masks = (X > 99).astype(np.uint8)
  found = _build(_npz(tmp_path, x=X, y=masks * 255), 'npz')
  assert len(found.class_names) == 2
  assert (found.test.examples.y == (found.test.examples.x[..., 0] > 99)).all()


def test_names_that_are_there_twice_and_folders_that_are_empty_texts_are_refused():
  with pytest.raises(ValueError, match="class_names holds 'a' twice"):
    given.from_arrays({'x': (X, Y)}, test=None, class_names=['a', 'a', 'b'])
  with pytest.raises(ValueError, match='data_dir is empty'):
    configs.DataConfig(dataset='folder', data_dir='')


def test_a_single_array_and_numbers_beyond_float32_are_refused(tmp_path):
  np.save(tmp_path / 'x.npy', X)
  _refused('x.npy cannot be read as an .npz .* a single array', tmp_path / 'x.npy', 'npz')
  _refused('age must be .* finite numbers', _npz(tmp_path, x=X, age=Y * 1e300), 'npz', target='age')


def test_a_suffix_in_upper_case_is_a_suffix(tmp_path):
  parquet.write_table(pa.table({'image': PNG, 'label': Y}), tmp_path / 'A.PARQUET')
  assert len(_build(tmp_path, 'parquet').class_names) == 3


@pytest.mark.parametrize(('columns', 'said'), [
    ({'image': X.tolist(), 'label': Y}, r'x.parquet has list<.* in the column image'),
    ({'image': PNG, 'label': [[int(c == y) for c in range(3)] for y in Y]}, 'row 0 has the label .* occurs twice'),
    ({'image': PNG, 'label': [[1, 0], [0, 1]] * 6}, r'row 0 has the label \[1, 0\], and every image such a one'),
    ({'image': PNG, 'label': [[True], [False]] * 6}, 'row 0 has the label .* of truth values'),
    ({'image': ['gone.png'] * N, 'label': Y}, "row 0 names the file 'gone.png', which cannot be read"),
    ({'image': PNG, 'label': ['', 'a', 'b'] * 4}, 'the label of 4 of 12 images is empty'),
    ({'image': PNG, 'label': Y, 'client': [1.0] * 11 + [float('nan')]}, 'row 11 has no client')])
def test_columns_of_a_parquet_file_that_mean_something_else(tmp_path, columns, said):
  parquet.write_table(pa.table(columns), tmp_path / 'x.parquet')
  _refused(said, tmp_path, 'parquet')


def test_parquet_labels_of_two_kinds_and_two_columns_of_one_name(tmp_path):
  parquet.write_table(pa.table({'image': PNG, 'label': Y}), tmp_path / '1.parquet')
  parquet.write_table(pa.table({'image': PNG, 'label': list('abc') * 4}), tmp_path / '2.parquet')
  _refused("2.parquet row 0 has the label 'a', a text, and .*1.parquet row 0 0, a number", tmp_path, 'parquet')
  twice = pa.Table.from_arrays([pa.array(PNG), pa.array(Y), pa.array(Y)], ['image', 'label', 'label'])
  parquet.write_table(twice, tmp_path / '1.parquet')
  _refused('1.parquet has two columns label', tmp_path, 'parquet')


def test_parquet_names_as_bytes_and_clients_as_floats(tmp_path):
  parquet.write_table(pa.table({'image': PNG, 'label': [b'a', b'b'] * 6, 'client': [1.0, 2.0] * 6}),
                      tmp_path / 'x.parquet')
  found = _build(tmp_path, 'parquet', partition='natural', num_clients=None, image_column='image')
  assert found.class_names == ('a', 'b') and list(found.train.client_ids) == ['1', '2']


def _tar(root, label):
  with tarfile.open(root / 'x.tar', 'w') as archive:
    for number, content in enumerate(PNG):
      for name, data in ((f'{number:03d}.png', content), (f'{number:03d}.cls', label(number))):
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
  return root


def test_labels_of_tar_shards_stay_apart_or_are_refused(tmp_path):
  _refused(r"000.cls is b'\\xe9', which is no UTF-8", _tar(tmp_path, lambda number: (b'\xe9', b'\xe8')[number % 2]),
           'webdataset')
  found = _build(_tar(tmp_path, lambda number: (b'01', b'1')[number % 2]), 'webdataset')
  assert found.class_names == ('01', '1') and any('01 and 1' in note for note in found.notes)
  (tmp_path / 'classnames.txt').write_bytes('été\nhiver\n'.encode('cp1252'))
  assert _build(_tar(tmp_path, lambda number: b'%d' % (number % 2)), 'webdataset').class_names == ('été', 'hiver')
  _refused("the label 'bird' is none of the 2 classes", _tar(tmp_path, lambda number: (b'hiver', b'bird')[number % 2]),
           'webdataset')


def _coco(root, change=None):
  content = {'images': [{'id': i, 'file_name': f'{i}.png'} for i in range(N)],
             'categories': [{'id': 90, 'name': 'cat'}, {'id': 3, 'name': 'dog'}],
             'annotations': [{'id': i, 'image_id': i, 'category_id': [90, 3][i % 2], 'bbox': [1, 1, 3, 3]}
                             for i in range(N)]}
  for number, data in enumerate(PNG):
    (root / f'{number}.png').write_bytes(data)
  if change:
    change(content)
  (root / 'labels.json').write_text(json.dumps(content))
  return root


def test_crowds_as_texts_are_what_they_say(tmp_path):
  def crowds(value):
    return lambda content: [one.update(iscrowd=value) for one in content['annotations'][:4]]
  for value in ('0', 'false', None, 0):
    found = _build(_coco(tmp_path, crowds(value)), 'coco')
    assert not any('crowds' in note for note in found.notes)
  assert any('4 boxes are marked as crowds' in note for note in _build(_coco(tmp_path, crowds('1')), 'coco').notes)
  _refused("annotation 0 of .*labels.json has iscrowd='maybe'", _coco(tmp_path, crowds('maybe')), 'coco')


@pytest.mark.parametrize(('part', 'entry'), [('annotations', {'category_id': [1]}), ('annotations', {'image_id': [1]}),
                                             ('images', {'id': [1]})])
def test_coco_numbers_that_are_lists_are_named(tmp_path, part, entry):
  _refused(rf'labels.json has an entry with {next(iter(entry))}=\[1\]',
           _coco(tmp_path, lambda content: content[part][0].update(entry)), 'coco')


def test_a_width_that_is_no_number_is_not_read(tmp_path):
  sides = {'width': float('inf'), 'height': float('nan')}
  assert len(_build(_coco(tmp_path, lambda content: content['images'][0].update(sides)), 'coco').class_names) == 2


def _voc(root, head='', name='{}.png', label='ab', encoding='utf-8', extra='', extras=N):
  for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
    (root / folder).mkdir(parents=True, exist_ok=True)
  for number, data in enumerate(PNG):
    (root / f'JPEGImages/{number}.png').write_bytes(data)
    (root / f'Annotations/{number}.xml').write_bytes(
        f'{head}<annotation><filename>{name.format(number)}</filename><object><name>{label[number % 2]}</name>'
        f'{extra if number < extras else ""}'
        '<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>5</ymax></bndbox></object></annotation>'
        .encode(encoding))
  return root


def test_annotations_in_chinese_encodings_are_read(tmp_path):
  for encoding in ('GBK', 'gb2312'):
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    assert set(_build(_voc(tmp_path, head, label='猫狗', encoding=encoding), 'voc').class_names) == {'猫', '狗'}
  _voc(tmp_path, '<?xml version="1.0" encoding="foo"?>')
  _refused('0.xml cannot be read as XML: unknown encoding', tmp_path, 'voc')


def test_a_copied_annotation_does_not_count_for_the_image_it_was_copied_from(tmp_path):
  _refused('1.xml names the image 0.png, and there is 1.png too', _voc(tmp_path, name='0.png'), 'voc')
  assert len(_build(_voc(tmp_path, name='elsewhere{}.png'), 'voc').class_names) == 2


def test_difficult_in_words_and_lists_with_suffixes(tmp_path):
  _voc(tmp_path, extra='<difficult>True</difficult>', extras=4)
  assert any('4 boxes are marked' in note for note in _build(tmp_path, 'voc').notes)
  _voc(tmp_path)
  (tmp_path / 'ImageSets/Main/train.txt').write_bytes('\n'.join(f'{i}.png' for i in range(9)).encode() + b'\n\xe9\n')
  (tmp_path / 'ImageSets/Main/test.txt').write_text('9.png\n10.png\n')
  found = _build(tmp_path, 'voc')
  assert found.train.num_examples(0) == 9 and len(found.test.examples) == 2
  assert any('1 images that files of ImageSets/Main name have no annotation' in note for note in found.notes)
