"""Files as cameras, scanners and office programs write them: the right pixels, or one sentence."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tff_vision.data import images
from tff_vision.data.sources import decode, decode_graph, mask_reading

RNG = np.random.default_rng(0)
_RED, _GREEN, _BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURS = np.zeros((12, 16, 3), np.uint8)
COLOURS[:, :8], COLOURS[:, 8:], COLOURS[:3] = (220, 40, 40), (20, 20, 200), (250, 250, 250)


def _save(path, image, **options):
  (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
  return path


def _grey(image):
  return image @ [.2989, .587, .114]


@pytest.mark.parametrize('colours', [16, 200])
def test_a_bmp_with_a_palette_has_its_colours(tmp_path, colours):
  image = Image.fromarray(COLOURS).convert('P', palette=Image.Palette.ADAPTIVE, colors=colours)
  path = _save(tmp_path / 'p.bmp', image)
  np.testing.assert_array_equal(decode.read(path), COLOURS)
  np.testing.assert_allclose(decode.read(path, (12, 16, 1))[..., 0], _grey(COLOURS), atol=1)


def test_bmp_webp_and_tiff_of_every_depth(tmp_path):
  bits = (COLOURS[..., 0] > 100).astype(np.uint8) * 255
  one_bit = _save(tmp_path / 'b.bmp', Image.fromarray(bits).convert('1'))
  np.testing.assert_array_equal(decode.read(one_bit)[..., 0], bits)
  np.testing.assert_array_equal(decode.read(_save(tmp_path / 'g.bmp', bits)), bits[..., None])
  np.testing.assert_array_equal(decode.read(_save(tmp_path / 'c.bmp', COLOURS)), COLOURS)
  np.testing.assert_array_equal(decode.read(_save(tmp_path / 'w.webp', COLOURS, lossless=True)), COLOURS)
  for compression in (None, 'tiff_lzw', 'tiff_adobe_deflate', 'packbits'):
    np.testing.assert_array_equal(decode.read(_save(tmp_path / 't.tif', COLOURS, compression=compression)), COLOURS)
  # The name does not decide, the content does.
  (tmp_path / 'w.jpg').write_bytes((tmp_path / 'w.webp').read_bytes())
  np.testing.assert_array_equal(decode.read(tmp_path / 'w.jpg'), COLOURS)


# EXIF 2.32, section 4.6.4: what the row and the column of the stored image are of the seen one.
SEEN = {1: lambda x: x, 2: np.fliplr, 3: lambda x: np.flipud(np.fliplr(x)), 4: np.flipud,
        5: lambda x: np.stack([x[:, i] for i in range(x.shape[1])]), 6: lambda x: np.rot90(x, 3),
        7: lambda x: np.rot90(np.fliplr(x), 3), 8: lambda x: np.rot90(x, 1)}


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('order', ['II', 'MM'])
def test_orientation_is_applied_to_files_and_in_a_served_graph(tmp_path, orientation, order):
  tags = Image.Exif()
  tags.endian = '<' if order == 'II' else '>'
  tags[0x0110], tags[0x0112] = 'camera', orientation
  wide = RNG.integers(0, 256, (6, 10, 3)).astype(np.uint8)
  for name in ('x.png', 'x.webp', 'x.tif'):
    options = {'lossless': True} if name == 'x.webp' else {}
    path = _save(tmp_path / name, wide, exif=tags, **options)
    np.testing.assert_array_equal(decode.read(path), SEEN[orientation](wide), err_msg=name)
  plain = decode.read(_save(tmp_path / 'plain.jpg', wide, quality=95))
  path = _save(tmp_path / 'x.jpg', wide, exif=tags, quality=95)
  np.testing.assert_array_equal(decode.read(path), SEEN[orientation](plain))
  for name in ('x.jpg', 'x.png'):
    served = GRAPHS['eight'](tf.constant((tmp_path / name).read_bytes()))
    np.testing.assert_allclose(served, decode.read(tmp_path / name, (7, 5, 3)), atol=1e-3)


@pytest.mark.parametrize('orientation', [0, 1, 3, 6, 8, 9])
@pytest.mark.parametrize('written', ['<tiff:Orientation>{}</tiff:Orientation>', '<x tiff:Orientation="{}"/>'])
def test_an_xmp_orientation_is_applied_where_exif_has_none(tmp_path, orientation, written):
  packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">\n{written.format(orientation)}</x:xmpmeta>'
  wide = RNG.integers(0, 256, (6, 10, 3)).astype(np.uint8)
  plain = decode.read(_save(tmp_path / 'plain.jpg', wide, quality=95))
  other = Image.Exif()
  other[0x0110] = 'camera'
  for name, more in (('x.jpg', {}), ('with_exif.jpg', {'exif': other})):
    path = _save(tmp_path / name, wide, xmp=packet.encode(), quality=95, **more)
    np.testing.assert_array_equal(decode.read(path), SEEN.get(orientation, SEEN[1])(plain))
    served = GRAPHS['eight'](tf.constant(path.read_bytes()))
    np.testing.assert_allclose(served, decode.read(path, (7, 5, 3)), atol=1e-3)
  other[0x0112] = 3  # EXIF goes before XMP.
  path = _save(tmp_path / 'both.jpg', wide, xmp=packet.encode(), exif=other, quality=95)
  np.testing.assert_array_equal(decode.read(path), SEEN[3](plain))
  np.testing.assert_allclose(GRAPHS['eight'](tf.constant(path.read_bytes())), decode.read(path, (7, 5, 3)), atol=1e-3)


def test_tags_behind_a_long_profile_or_behind_the_pixels_are_found(tmp_path):
  """So boxes and masks, which are placed on the turned image, lie on it."""
  tags = Image.Exif()
  tags[0x0112] = 6
  wide = RNG.integers(0, 256, (200, 260, 3)).astype(np.uint8)
  plain = decode.read(_save(tmp_path / 'plain.jpg', wide, quality=95))
  content = _save(tmp_path / 'x.jpg', wide, exif=tags, quality=95).read_bytes()
  start = content.index(b'\xff\xe1')
  profile = (b'\xff\xe2' + (60_002).to_bytes(2, 'big') + bytes(60_000)) * 3
  (tmp_path / 'x.jpg').write_bytes(content[:start] + profile + content[start:])
  content = _save(tmp_path / 'x.png', wide, exif=tags).read_bytes()
  start, end = content.index(b'eXIf') - 4, content.index(b'IEND') - 4
  length = 12 + int.from_bytes(content[start:start + 4], 'big')
  (tmp_path / 'x.png').write_bytes(content[:start] + content[start + length:end] + content[start:start + length]
                                   + content[end:])
  assert all((tmp_path / name).stat().st_size > 150_000 for name in ('x.jpg', 'x.png'))
  for name, stored in (('x.jpg', plain), ('x.png', wide)):
    np.testing.assert_array_equal(decode.read(tmp_path / name), SEEN[6](stored), err_msg=name)
    served = GRAPHS['eight'](tf.constant((tmp_path / name).read_bytes()))
    np.testing.assert_allclose(served, decode.read(tmp_path / name, (7, 5, 3)), atol=1e-3)


def _graph(stored):
  return tf.function(lambda content: decode_graph.as_stored(content, (7, 5, 3), stored),
                     input_signature=[tf.TensorSpec((), tf.string)])


DEEP = images.StoredPixels(white=1.0, window=(0, 4095), clips=False)
SIGNED = images.StoredPixels(black=-1.0, white=1.0)
GRAPHS = {'eight': _graph(images.StoredPixels()), 'deep': _graph(DEEP), 'signed': _graph(SIGNED)}


def test_a_served_graph_reads_what_prediction_reads(tmp_path):
  palette = Image.fromarray(COLOURS).convert('P', palette=Image.Palette.ADAPTIVE, colors=16)
  grey = Image.fromarray(COLOURS[..., 0])
  transparent = np.dstack([COLOURS, COLOURS[..., :1]])
  for name, image in (('p.bmp', palette), ('g.bmp', grey), ('c.bmp', COLOURS), ('p.png', palette), ('g.png', grey),
                      ('a.png', transparent), ('c.jpg', COLOURS), ('g.gif', palette)):
    content = tf.constant(_save(tmp_path / name, image).read_bytes())
    for kind, stored in (('eight', images.StoredPixels()), ('signed', SIGNED), ('deep', DEEP)):
      np.testing.assert_allclose(GRAPHS[kind](content), decode.as_stored(tmp_path / name, (7, 5, 3), stored),
                                 atol=1e-3 if kind == 'eight' else 1e-5, err_msg=f'{name} {kind}')
  deep = _save(tmp_path / 'd.png', (np.arange(192).reshape(12, 16) * 21).astype(np.uint16))
  np.testing.assert_allclose(GRAPHS['deep'](tf.constant(deep.read_bytes())), decode.as_stored(deep, (7, 5, 3), DEEP),
                             atol=1e-6)
  with pytest.raises(tf.errors.InvalidArgumentError, match='fewer bits'):
    GRAPHS['eight'](tf.constant(deep.read_bytes()))


def test_sixteen_bits_are_kept_in_a_window_and_never_cut_in_silence(tmp_path):
  deep = np.linspace(0, 4095, 192).reshape(12, 16).astype(np.uint16)
  path = _save(tmp_path / 'd.png', deep)
  np.testing.assert_allclose(decode.read(path, stored=DEEP)[..., 0], deep / 4095, atol=1e-6)
  narrow = images.StoredPixels(white=1.0, window=(1000, 2000))
  np.testing.assert_allclose(decode.read(path, stored=narrow)[..., 0], np.clip((deep - 1000.) / 1000, 0, 1), atol=1e-6)
  with pytest.raises(ValueError, match=r'd.png holds values in 0..4095, other images 0..1023: .*pixel_range'):
    decode.read(path, stored=images.StoredPixels(white=1.0, window=(0, 1023), clips=False))
  with pytest.raises(ValueError, match=r'd.png is no image of 8 bits: it holds values in 0..4095'):
    decode.read(path)
  tiff = _save(tmp_path / 'd.tif', deep)
  np.testing.assert_allclose(decode.read(tiff, stored=DEEP)[..., 0], deep / 4095, atol=1e-6)
  # A file of 8 bits among such of 16 keeps its own black and white.
  np.testing.assert_allclose(decode.read(_save(tmp_path / 'e.png', COLOURS), stored=DEEP), COLOURS / 255, atol=1e-6)


def test_eight_bits_are_refused_where_all_else_has_more(tmp_path):
  path = _save(tmp_path / 'c.png', COLOURS)
  only_deep = images.StoredPixels(white=1.0, window=(0, 4095), eight_bit=None)
  with pytest.raises(ValueError, match='c.png has 8 bits, and the images that the model was trained on have more'):
    decode.as_stored(path, COLOURS.shape, only_deep)
  with pytest.raises(tf.errors.InvalidArgumentError, match='has 8 bits'):
    _graph(only_deep)(tf.constant(path.read_bytes()))


def test_a_file_is_brought_to_the_range_of_arrays_or_refused(tmp_path):
  path = _save(tmp_path / 'c.png', COLOURS)
  np.testing.assert_allclose(decode.as_stored(path, COLOURS.shape, SIGNED), COLOURS / 127.5 - 1, atol=1e-6)
  np.testing.assert_array_equal(decode.as_stored(path, COLOURS.shape, images.StoredPixels()), COLOURS)
  with pytest.raises(ValueError, match='c.png cannot be given .*pixel_range'):
    decode.as_stored(path, COLOURS.shape, images.StoredPixels(black=None, white=None))


@pytest.mark.parametrize(('name', 'content', 'said'), [
    ('x.png', bytes(128) + b'DICM' + bytes(50), r'DICOM without an image \(no storage class is named\)'),
    ('x.jpg', b'\0\0\0\x0cJXL \r\n\x87\n' + bytes(50), 'JPEG XL'),
    ('x.jp2', b'\0\0\0\x0cjP  \r\n\x87\n' + bytes(9), 'JPEG 2000'), ('x.png', b'%PDF-1.7' + bytes(90), 'PDF'),
    ('x.hdr', bytes(344) + b'ni1\0', 'NIfTI in two files'), ('x.tif', b'II+\0' + bytes(60), 'BigTIFF')])
def test_a_format_that_is_not_read_is_named_and_not_called_corrupt(tmp_path, name, content, said):
  (tmp_path / name).write_bytes(content)
  with pytest.raises(ValueError, match=f'{name} is a file of the format {said}, which is not read') as error:
    decode.read(tmp_path / name)
  assert 'corrupt' not in str(error.value)


def test_what_is_broken_is_one_sentence(tmp_path):
  for kind in ('WEBP', 'TIFF', 'BMP'):
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(buffer, kind)
    (tmp_path / 'x').write_bytes(buffer.getvalue()[:len(buffer.getvalue()) // 2])
    with pytest.raises(ValueError, match='x is no PNG, .*corrupt'):
      decode.read(tmp_path / 'x')
    if kind != 'TIFF':
      assert not decode.looks_whole(tmp_path / 'x')


def _gif(size, *frames):
  """Returns a GIF of 4 colours, black, red, green and blue: `frames` are (top, left, places in the palette)."""
  content = b'GIF89a' + struct.pack('<HHBBB', *size[::-1], 0x81, 1, 0) + bytes([0, 0, 0, *_RED, *_GREEN, *_BLUE])
  for top, left, frame in frames:
    codes = [code for place in frame.reshape(-1).tolist() for code in (4, place)] + [5]  # 4 clears: codes stay 3 bits.
    number = sum(code << 3 * place for place, code in enumerate(codes))
    packed = number.to_bytes(-(-3 * len(codes) // 8), 'little')
    blocks = [packed[start:start + 255] for start in range(0, len(packed), 255)]
    content += b',' + struct.pack('<HHHHB', left, top, *frame.shape[::-1], 0) + b'\2' + b''.join(
        bytes([len(block)]) + block for block in blocks) + b'\0'
  return content + b';'


def test_a_first_frame_that_is_smaller_than_its_gif_lies_where_the_gif_says(tmp_path):
  """Masks and boxes belong to the whole, whose size the header gives; TensorFlow cuts it to its largest frame."""
  frame, whole = RNG.integers(0, 4, (6, 5)), RNG.integers(0, 4, (12, 16))
  colours = np.array([(0, 0, 0), _RED, _GREEN, _BLUE], np.uint8)
  expected = np.zeros((12, 16, 3), np.uint8)
  expected[2:8, 7:12] = colours[frame]
  (tmp_path / 'one.gif').write_bytes(_gif((12, 16), (2, 7, frame)))
  (tmp_path / 'two.gif').write_bytes(_gif((12, 16), (2, 7, frame), (0, 0, whole)))
  (tmp_path / 'full.gif').write_bytes(_gif((12, 16), (0, 0, whole), (2, 7, frame)))
  for name in ('one.gif', 'two.gif'):
    np.testing.assert_array_equal(decode.read(tmp_path / name), expected)
  np.testing.assert_array_equal(decode.read(tmp_path / 'full.gif'), colours[whole])
  serve = GRAPHS['eight']
  np.testing.assert_allclose(serve(tf.constant((tmp_path / 'full.gif').read_bytes())),
                             decode.read(tmp_path / 'full.gif', (7, 5, 3)), atol=1e-3)
  with pytest.raises(tf.errors.InvalidArgumentError, match='first frame of this GIF is smaller than the whole'):
    serve(tf.constant((tmp_path / 'one.gif').read_bytes()))
  with pytest.raises(ValueError, match='one.gif has a first frame that does not fill it'):
    mask_reading.opened(str(tmp_path / 'one.gif'), 'axial').values(0)
  assert mask_reading.opened(str(tmp_path / 'full.gif'), 'axial').values(0).colours.shape == (12, 16)
