"""Images with masks in folders: layouts, classes of values and colours, and what is wrong with masks."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from tff_vision import configs, labels
from tff_vision.data import build
from tff_vision.data.sources import folders, label_arrays, mask_classes, mask_files, mask_reading

RED, GREEN, GREY = (255, 0, 0), (0, 255, 0), (9, 9, 9)
PALETTE = [0, 0, 0, *RED, *GREEN] + [7] * (3 * 253)


def save(path, array, mode=None):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = Image.fromarray(np.asarray(array, np.uint8), mode)
  if mode == 'P':
    image.putpalette(PALETTE)
  image.save(path)


def picture(seed=0, shape=(12, 10)):
  return np.random.default_rng(seed).integers(0, 255, (*shape, 3)).astype(np.uint8)


def mask(value, shape=(12, 10), around=0):
  """A mask with `value` in its upper half."""
  made = np.full((*shape, *np.shape(value)), around)
  made[:shape[0] // 2] = value
  return made


def pairs(root, values, **options):
  for number, value in enumerate(values):
    save(root / 'images' / f'{number}.png', picture(number))
    save(root / 'masks' / f'{number}.png', mask(value), **options)


def load(root, **fields):
  return folders.load(configs.DataConfig(dataset='folder', data_dir=str(root), **{'test_fraction': 0.5} | fields))


def test_splits_clients_and_names_of_folders(tmp_path):
  for split in ('Train', 'test'):
    for client in ('a', 'b'):
      for number in range(4):
        at = tmp_path / split / client
        save(at / 'Images' / f'{number}.png', picture(10 * number + len(split) + ord(client)))
        save(at / 'MASKS' / f'{number}_mask.png', mask(number % 3))
  save(tmp_path / 'test' / 'b' / 'MASKS' / 'nobody.png', mask(1))
  (tmp_path / 'classes.txt').write_text('background\ncrack\nstain\n')
  found = build.build(configs.DataConfig(dataset='folder', data_dir=str(tmp_path), partition='natural'), seed=0)
  assert found.class_names == ('background', 'crack', 'stain') and found.train.client_ids == ['a', 'b']
  assert found.spec.labels is labels.Kind.MASK and found.spec.label_shape == (12, 10)
  examples = found.train.examples(1)
  assert examples.y.dtype == np.uint8 and np.array_equal(examples.y, [mask(n % 3) for n in range(4)])
  assert np.array_equal(examples.x[2], picture(20 + 5 + ord('b')))
  assert [len(own) for own in found.test.clients] == [4, 4]
  assert any('1 masks belong to no image' in note and 'nobody' in note for note in found.notes)


def test_masks_are_resized_to_the_nearest_pixel(tmp_path):
  pairs(tmp_path, [1, 2, 1, 2, 1])
  pool = load(tmp_path, image_size=6)
  x, y = pool.train.take(np.arange(len(pool.train))).x, pool.train.y
  assert x.shape[1:] == (6, 6, 3) and y.shape == x.shape[:3] and set(np.unique(y)) == {0, 1, 2}
  assert (y[:, :3] > 0).all() and not y[:, 3:].any()
  assert np.array_equal(pool.train.tags, labels.tags(y, 3)) and not pool.check_labels('folder')


@pytest.mark.parametrize('values, options, names, numbers', [
    ([1, 2, 255], {}, ('background', '1', '2'), [1, 2, 255]),
    ([255, 0, 255], {}, ('background', '1'), [1, 0, 1]),
    ([128, 0, 255], {}, ('background', '128', '255'), [1, 0, 2]),
    ([1, 2, 1], {'mode': 'P'}, ('background', '1', '2'), [1, 2, 1]),
    ([RED, (0, 0, 0), GREEN], {}, ('background', '#00ff00', '#ff0000'), [2, 0, 1]),
    ([(2, 2, 2), (1, 1, 1), (0, 0, 0)], {}, ('background', '1', '2'), [2, 1, 0]),
])
def test_classes_of_masks_without_a_list(tmp_path, values, options, names, numbers):
  pairs(tmp_path, values * 2, **options)
  if np.ndim(values[0]) and values[0] == RED:  # Black stands around.
    assert mask(RED).shape == (12, 10, 3)
  pool = load(tmp_path)
  assert pool.class_names == names
  whole = np.concatenate([pool.train.y, pool.test.y])
  assert sorted(whole[:, 0, 0]) == sorted(numbers * 2) and not whole[:, 6:].any()


def test_the_value_that_does_not_count_can_be_said(tmp_path):
  pairs(tmp_path, [1, 9, 1, 9])
  whole = load(tmp_path, ignore_index=9)
  assert whole.class_names == ('background', '1')
  assert set(np.unique(np.concatenate([whole.train.y, whole.test.y]))) == {0, 1, labels.IGNORED}


@pytest.mark.parametrize('text', ['ground #000000\nred #ff0000\ngreen #00FF00',
                                  '0 0 0 ground\n255 0 0\tred\n0 255 0 green',
                                  'name,r,g,b\nground,0,0,0\nred,255,0,0\ngreen,0,255,0\n'])
@pytest.mark.parametrize('mode', [None, 'P'])
def test_a_list_of_colours(tmp_path, text, mode):
  pairs(tmp_path, [1, 2, 1, 2] if mode else [RED, GREEN, RED, GREEN], mode=mode)
  name = 'class_dict.csv' if ',' in text else 'classes.txt'
  (tmp_path / name).write_text(text)
  pool = load(tmp_path)
  assert pool.class_names == ('ground', 'red', 'green') and set(np.unique(pool.train.y)) == {0, 1, 2}


def own_palettes(root, values):
  """Masks of which each has its own palette, most frequent colour first, as programs that shrink files write it."""
  for number, value in enumerate(values):
    colours = mask(value).astype(np.uint8)
    if number % 2:
      colours[1:] = value
    save(root / 'images' / f'{number}.png', picture(number))
    (root / 'masks').mkdir(exist_ok=True)
    Image.fromarray(colours).quantize(4).save(root / 'masks' / f'{number}.png')


@pytest.mark.parametrize(('text', 'names', 'numbers'), [
    ('', ('background', '#00ff00', '#ff0000'), [2, 1]),
    ('#ff0000 red\n#00ff00 green\n#000000 ground', ('red', 'green', 'ground'), [0, 1])])
def test_palettes_that_differ_leave_colours_to_tell_the_classes(tmp_path, text, names, numbers):
  own_palettes(tmp_path, [RED, GREEN, RED, GREEN, GREEN, RED])
  if text:
    (tmp_path / 'classes.txt').write_text(text)
  pool = load(tmp_path)
  assert pool.class_names == names and any('The palettes of masks differ' in note for note in pool.notes)
  whole = np.concatenate([pool.train.y, pool.test.y])
  assert sorted(whole[:, 0, 0]) == sorted(numbers * 3)


def test_palettes_of_greys_among_masks_without_are_greys(tmp_path):
  pairs(tmp_path, [1, 2, 1, 2])
  smaller = Image.fromarray((mask(2) > 0).astype(np.uint8), 'P')
  smaller.putpalette([0, 0, 0, 2, 2, 2])
  smaller.save(tmp_path / 'masks' / '3.png')
  pool = load(tmp_path)
  assert pool.class_names == ('background', '1', '2')
  assert sorted(np.concatenate([pool.train.y, pool.test.y])[:, 0, 0]) == [1, 1, 2, 2]


def test_greys_in_gif_are_greys(tmp_path):
  for number, value in enumerate([2, 5, 2, 5]):
    save(tmp_path / 'images' / f'{number}.png', picture(number))
    save(tmp_path / 'masks' / f'{number}.gif', mask(value))
  (tmp_path / 'classes.txt').write_text('\n'.join('abcdef'))
  pool = load(tmp_path)
  assert sorted(np.concatenate([pool.train.y, pool.test.y])[:, 0, 0]) == [2, 2, 5, 5]


def test_a_list_tells_the_classes_of_palettes_and_greys_by_their_colours(tmp_path):
  pairs(tmp_path / 'palette', [1, 2, 1, 2], mode='P')
  (tmp_path / 'palette' / 'classes.txt').write_text('#00ff00 green\n#ff0000 red\n#000000 ground\n')
  pool = load(tmp_path / 'palette')
  assert pool.class_names == ('green', 'red', 'ground')
  assert sorted(np.concatenate([pool.train.y, pool.test.y])[:, 0, 0]) == [0, 0, 1, 1]
  pairs(tmp_path / 'greys', [128, 200, 128, 200])
  (tmp_path / 'greys' / 'classes.txt').write_text('#000000 ground\n#c8c8c8 bright\n#808080 dark\n')
  pool = load(tmp_path / 'greys')
  assert sorted(np.concatenate([pool.train.y, pool.test.y])[:, 0, 0]) == [1, 1, 2, 2]


def test_numbers_beside_colours_of_a_list_stay_numbers(tmp_path):
  pairs(tmp_path, [1, 2, 1, 2])
  (tmp_path / 'classes.txt').write_text('#ff0000 red\n#00ff00 green\n#0000ff blue\n')
  pool = load(tmp_path)
  assert sorted(np.concatenate([pool.train.y, pool.test.y])[:, 0, 0]) == [1, 1, 2, 2]


def test_a_class_of_the_list_that_does_not_count(tmp_path):
  pairs(tmp_path, [RED, GREEN, RED, GREEN])
  (tmp_path / 'classes.txt').write_text('#000000 void\n#ff0000 red\n#00ff00 green\n')
  pool = load(tmp_path)
  assert pool.class_names == ('red', 'green') and set(np.unique(pool.train.y)) == {0, 1, labels.IGNORED}
  assert 'Pixels of void do not count.' in pool.notes


def test_the_layout_of_mvtec(tmp_path):
  for number in range(6):
    save(tmp_path / 'train' / 'good' / f'{number}.png', picture(number))
    for kind in ('good', 'crack', 'stain'):
      save(tmp_path / 'test' / kind / f'{number}.png', picture(10 * number + len(kind)))
      if kind != 'good':
        save(tmp_path / 'ground_truth' / kind / f'{number}_mask.png', mask(255))
  pool = load(tmp_path)
  assert pool.class_names == ('background', 'crack', 'stain') and any('divided anew' in note for note in pool.notes)
  whole = np.concatenate([pool.train.y, pool.test.y])
  assert np.bincount(whole[:, 0, 0]).tolist() == [12, 6, 6] and not whole[:, 6:].any()
  assert (pool.test.tags.sum(axis=0) >= 1).all()
  # For task=anomaly, the kinds are classes, and the split stays.
  kinds = load(tmp_path, normal_class='good')
  assert kinds.class_names == ('crack', 'good', 'stain') and np.bincount(kinds.train.y).tolist() == [0, 6]
  assert np.bincount(kinds.test.y).tolist() == [6, 6, 6]
  (tmp_path / 'ground_truth' / 'crack' / '2_mask.png').unlink()
  with pytest.raises(ValueError, match=r'crack/2.png has no mask: .*crack must hold 2_mask.png'):
    load(tmp_path)


def _other_size(root):
  save(root / 'masks' / '1.png', mask(1, (12, 11)))


def _unknown_colour(root):
  (root / 'classes.txt').write_text('ground #000000\nred #ff0000\n')
  save(root / 'masks' / '1.png', mask(GREEN))


def _unknown_number(root):
  (root / 'classes.txt').write_text('ground\nred\n')
  save(root / 'masks' / '1.png', mask(3))


def _no_colours(root):
  (root / 'classes.txt').write_text('ground\nred\n')
  save(root / 'masks' / '1.png', mask(RED))


def _several(root):
  save(root / 'masks' / '1_mask.png', mask(1))


def _many_colours(root):
  save(root / 'masks' / '1.png', picture())


def _lossy(root):
  (root / 'masks' / '1.png').unlink()
  save(root / 'masks' / '1.jpg', mask(1))


def _broken(root):
  (root / 'masks' / '1.png').write_bytes(b'\x89PNG\r\n\x1a\n' + bytes(40))


def _others(root):
  save(root / 'overlays' / '1.png', picture())


@pytest.mark.parametrize('spoil, said', [
    (lambda root: (root / 'masks' / '1.png').unlink(), r'images/1.png has no mask: the folder masks'),
    (_other_size, r'masks/1.png has 12x11 pixels, and its image .*images/1.png 12x10'),
    (_unknown_colour, r'masks/1.png holds the colour #00ff00, which is no class of .*classes.txt'),
    (_unknown_number, r'masks/1.png holds the value 3, which is no class of .*classes.txt \(2 classes\)'),
    (_no_colours, r'masks/1.png has colours, and .*classes.txt names none'),
    (_several, r'images/1.png has several masks'), (_many_colours, r'masks hold \d+ different colours, .*1.png'),
    (_lossy, r'masks/1.jpg is JPEG, which changes the values of a mask: save masks as PNG'),
    (_broken, r'masks/1.png is no mask that can be read'), (_others, r'lie folders of images: overlays'),
    (lambda root: (root / 'classes.txt').write_text('a\nb #ff0000'), r'classes.txt gives a colour to 1 of 2'),
    (lambda root: (root / 'classes.txt').write_text('a\na'), r'classes.txt names a class twice'),
    (lambda root: (root / 'classes.txt').write_text('a 1 2 300\nb 1 2 3'), r'line 1: 1 2 300 is no colour'),
    (lambda root: (root / 'classes.txt').write_text('a'), r'names 1 classes; there must be 2 to 255'),
])
def test_what_is_wrong_with_masks_is_one_sentence(tmp_path, spoil, said):
  pairs(tmp_path, [1, 1, 1, 1])
  spoil(tmp_path)
  with pytest.raises(ValueError, match=said) as error:
    load(tmp_path)
  assert str(error.value).endswith('.') and '\n' not in str(error.value)


def test_another_value_that_does_not_count_leaves_255_without_a_meaning(tmp_path):
  pairs(tmp_path, [1, 2, 1, 255])
  with pytest.raises(ValueError, match=r'3\S*png holds the value 255, which is no class number, and ignore_index=2 is'):
    load(tmp_path, ignore_index=2)
  (tmp_path / 'classes.txt').write_text('background\ncrack\nvoid\n')  # What the sentence advises.
  whole = load(tmp_path)
  assert set(np.unique(np.concatenate([whole.train.y, whole.test.y]))) == {0, 1, labels.IGNORED}


def test_masks_in_which_no_pixel_counts_are_refused(tmp_path):
  for number in range(4):
    save(tmp_path / 'images' / f'{number}.png', picture(number))
    save(tmp_path / 'masks' / f'{number}.png', np.full((12, 10), 3))
  with pytest.raises(ValueError, match='^the masks hold nothing but ignore_index=3: no pixel would count.$'):
    load(tmp_path, ignore_index=3)


def test_a_value_of_masks_needs_masks(tmp_path):
  for place in range(4):
    save(tmp_path / 'x' / f'{place}.png', picture(place))
  with pytest.raises(ValueError, match='ignore_index=7 is a value of masks, and .* holds none'):
    load(tmp_path, ignore_index=7)
  with pytest.raises(ValueError, match='ignore_index=7 is a value of masks'):
    label_arrays.classes(np.arange(4), 'y', 7)


def test_a_value_that_appears_later_is_refused(tmp_path):
  pairs(tmp_path, [1, 1, 1, 1, 1])
  pool = load(tmp_path)
  for number in range(5):
    save(tmp_path / 'masks' / f'{number}.png', mask(7))
  with pytest.raises(ValueError, match='holds the value 7, which is no class'):
    pool.train.take(np.arange(2))


def test_one_class_alone_is_refused_by_the_task(tmp_path):
  pairs(tmp_path, [0, 0, 0, 0])
  assert load(tmp_path).class_names == ('background', '1')
  assert mask_classes.resolve(tmp_path, {0: 'a', 3: 'b'}, coloured=False, ignored=None).names == (
      'background', '1', '2', '3')


def test_a_mask_is_turned_as_its_tag_says(tmp_path):
  turned = Image.Exif()
  turned[0x0112] = 6
  upright = np.arange(30).reshape(6, 5).astype(np.uint8)
  for number in range(3):
    save(tmp_path / 'images' / f'{number}.png', picture(number, (6, 5)))
    (tmp_path / 'masks').mkdir(exist_ok=True)
    # The sensor's rows are the upright image's columns from bottom to top.
    Image.fromarray(np.ascontiguousarray(np.rot90(upright))).save(tmp_path / 'masks' / f'{number}.png', exif=turned)
  assert all(np.array_equal(mask, upright) for mask in load(tmp_path).train.y)


@pytest.mark.parametrize(('name', 'options', 'said'), [
    ('0.webp', {'quality': 80}, '0.webp is lossy WebP'), ('0.tif', {'compression': 'jpeg'}, 'TIFF with lossy'),
    ('0.avif', {}, '0.avif is AVIF'), ('0.webp', {'lossless': True}, ''), ('0.tif', {'compression': 'tiff_lzw'}, '')])
def test_masks_in_files_that_change_values_are_refused(tmp_path, name, options, said):
  pairs(tmp_path, [1, 2, 1])
  (tmp_path / 'masks' / '0.png').unlink()
  Image.fromarray(np.stack([mask(1).astype(np.uint8)] * 3, -1)).save(tmp_path / 'masks' / name, **options)
  if said:
    with pytest.raises(ValueError, match=f'{said}.* changes the values of a mask'):
      load(tmp_path)
  else:
    assert load(tmp_path).class_names == ('background', '1', '2')


def test_a_pair_of_image_and_mask_is_opened_once_each(tmp_path, opened_paths):
  pairs(tmp_path, [1, 2])
  for kind in ('images', 'masks'):  # Pages are looked at one by one, in the same content.
    pages = [Image.fromarray(np.full((12, 10), number, np.uint8)) for number in (0, 1, 2)]
    pages[0].save(tmp_path / kind / 'pages.tif', save_all=True, append_images=pages[1:])
  images, masks = ([str(tmp_path / kind / name) for name in ('0.png', '1.png', 'pages.tif')]
                   for kind in ('images', 'masks'))
  opened_paths.clear()
  found = mask_files.survey(images, masks, [1, 1, 3], tmp_path)
  assert found.classes.names == ('background', '1', '2')
  assert sorted(path for path in opened_paths if path.endswith(('.png', '.tif'))) == sorted([*images, *masks])


def stored_png(path, values, depth, colour_type=0):
  """Writes a PNG whose pixels hold these numbers; Pillow and TensorFlow write no grey of 2 or 4 bits."""
  rows = []
  for row in values.reshape(len(values), -1):
    bits = ''.join(format(int(value), f'0{depth}b') for value in row)
    bits += '0' * (-len(bits) % 8)
    rows.append(b'\0' + int(bits, 2).to_bytes(len(bits) // 8, 'big'))
  chunk = lambda name, data: struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
  path.parent.mkdir(parents=True, exist_ok=True)
  head = struct.pack('>IIBBBBB', *values.shape[1::-1], depth, colour_type, 0, 0, 0)
  path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(b''.join(rows))) +
                   chunk(b'IEND', b''))


@pytest.mark.parametrize(('depth', 'channels', 'colour_type'), [
    (1, 1, 0), (2, 1, 0), (4, 1, 0), (8, 1, 0), (16, 1, 0), (8, 2, 4), (16, 2, 4), (8, 3, 2), (16, 3, 2), (16, 4, 6)])
def test_class_numbers_are_those_that_a_png_stores_whatever_its_depth(tmp_path, depth, channels, colour_type):
  """Pillow shows grey of 1, 2 and 4 bits as 0..255, and keeps the upper half of 16 bits with alpha or colours."""
  most = min(2**depth, 4)
  for number in range(8):
    save(tmp_path / 'images' / f'{number}.png', picture(number))
    values = mask(number % most)
    stored = np.stack([values] * channels, axis=-1)
    if channels in (2, 4):
      stored[..., -1] = 2**depth - 1
    stored_png(tmp_path / 'masks' / f'{number}.png', stored, depth, colour_type)
  found = load(tmp_path)
  assert len(found.class_names) == most
  for part in (found.train, found.test):
    examples = part.take(np.arange(len(part)))
    for image, own in zip(examples.x, examples.y, strict=True):
      [number] = [number for number in range(8) if np.array_equal(image, picture(number))]
      assert np.array_equal(own, mask(number % most))


def test_grey_of_few_bits_has_the_colours_of_a_list(tmp_path):
  for number in range(8):
    save(tmp_path / 'images' / f'{number}.png', picture(number))
    stored_png(tmp_path / 'masks' / f'{number}.png', mask(15 if number % 2 else 5), 4)
  (tmp_path / 'classes.txt').write_text('#000000 nothing\n#ffffff crack\n#555555 stain\n')
  found = load(tmp_path)
  assert found.class_names == ('nothing', 'crack', 'stain')
  assert np.unique(found.train.take(np.arange(len(found.train))).y).tolist() == [0, 1, 2]


def test_tiffs_of_few_bits_and_colours_of_16_bits(tmp_path):
  tags = TiffImagePlugin.ImageFileDirectory_v2()
  tags[256], tags[257], tags[258], tags[259], tags[262], tags[273], tags[278], tags[279] = 4, 1, 4, 1, 1, 0, 1, 2
  head = io.BytesIO(b'II*\0\x08\0\0\0')
  head.seek(8)
  tags.save(head)
  path = tmp_path / '4.tif'
  path.write_bytes(head.getvalue() + bytes([0x01, 0x23]))  # The place of its strip is counted from the end of tags.
  assert mask_reading.opened(str(path), 'axial').values(0).numbers.tolist() == [[0, 1, 2, 3]]
  colours = np.zeros((2, 2, 3), int)
  colours[0] = [65535, 0, 257]
  stored_png(tmp_path / 'c.png', colours, 16, 2)
  assert mask_reading.opened(str(tmp_path / 'c.png'), 'axial').values(0).colours.tolist() == [[0xff0001] * 2, [0] * 2]
  colours[0, 0, 1] = 300
  stored_png(tmp_path / 'd.png', colours, 16, 2)
  with pytest.raises(ValueError, match='d.png has colours of 16 bits, and masks have classes for colours of 8 bits'):
    mask_reading.opened(str(tmp_path / 'd.png'), 'axial').values(0)


def test_masks_in_arrays_of_two_whites_are_asked_about(tmp_path):
  """As masks in files: 255 of one client did not count, so that all its masks were background."""
  x = np.stack([picture(number) for number in range(12)])
  bit = np.stack([mask(1)] * 12)
  number = np.arange(12)[:, None, None]

  def load_arrays(y, **more):
    np.savez(tmp_path / 'data.npz', x=x, y=y, **more)
    return build.build(configs.DataConfig(dataset='npz', data_dir=str(tmp_path), partition='iid', num_clients=2),
                       seed=0)

  with pytest.raises(ValueError, match='data.npz: mask 0 of y holds 0 and 255, and .* mask 1 of y 0 and 1'):
    load_arrays(np.where(number % 2, bit, 255 * bit))
  with pytest.raises(ValueError, match='data.npz: mask 0 of y_test holds 0 and 255'):
    load_arrays(bit, x_test=x, y_test=255 * bit)
  with pytest.raises(ValueError, match=r"client 'a' hold 0 and 255 only, and those of client 'b' \[0, 1, 2\]"):
    load_arrays(np.where(number % 2, bit * (1 + number % 4 // 2), 255 * bit), client=['a', 'b'] * 6)
  void = bit.copy()
  void[:, -1] = 255
  assert load_arrays(void, client=['a', 'b'] * 6).class_names == ('0', '1')
  assert load_arrays(255 * bit).class_names == ('background', '1')
