"""Reads boxes in the format of Pascal VOC: an XML file for each image.

    root/Annotations/a.xml  root/JPEGImages/a.jpg  root/ImageSets/Main/{train,val,trainval,test}.txt
    root/[split/][client/]a.xml  beside a.jpg, or in folders called Annotations and JPEGImages or images

A client is the element `client` of an annotation, or else the folder. Coordinates count pixels from 1, and both edges
belong to the box, as in VOC; if a coordinate below 1 occurs at a client, they count from 0 there. A client whose boxes
touch neither edge goes by the others.
"""

import dataclasses
import os
import pathlib
import re
from xml.etree import ElementTree

from tff_vision import configs
from tff_vision.data import images
from tff_vision.data.sources import annotated, formats, listing, naming, pool, text_files

_ANNOTATIONS = ('annotations', 'annotation', 'labels', 'xml', 'xmls')
_IMAGES = ('JPEGImages', 'images', 'Images', 'imgs')
_ENCODING = re.compile(rb'\s*<\?xml[^>]*?encoding=["\']([A-Za-z0-9._-]+)["\'][^>]*\?>')
_YES = ('1', 'true', 'yes')


def load(config: configs.DataConfig) -> pool.Pool:
  """Reads the annotations below `config.data_dir`; images are decoded when clients need them.

  Raises:
    ValueError: There are no annotations, or they are not in the format, or as in `annotated.build`.
  """
  root = annotated.folder_of(config)
  paths = listing.with_suffix(root, '.xml')
  trees = {path: tree for path in paths if (tree := _tree(path)).tag == 'annotation'}
  if not trees:
    raise ValueError(f'{root} holds no Pascal VOC annotations: .xml files, one for each image.')
  sets = _image_sets(root)
  places = {path: _place(path, root) for path in trees}
  if not sets and (mixed := {split is None for split, _ in places.values()}) and len(mixed) > 1:
    odd = next(path for path, (split, _) in places.items() if split is None)
    raise ValueError(f'{odd} is in no split, and other annotations are: give every image a split.')
  pictures = [_picture(path, tree, sets.get(path.stem) if sets else places[path][0], places[path][1])
              for path, tree in trees.items() if not sets or path.stem in sets]
  pictures, counted = _counted_from(pictures)
  pictures, notes = _named(pictures, config)
  notes += counted
  if sets and (left := len(trees) - len(pictures)):
    notes.append(f'{left} of {len(trees)} annotations are in no file of ImageSets/Main and left out.')
  if sets and (bare := sorted(set(sets) - {path.stem for path in trees})):
    notes.append(f'{len(bare)} images that files of ImageSets/Main name have no annotation and are left out, '
                 f'{bare[0]!r} among them.')
  names = sorted({box.label for one in pictures for box in one.boxes})
  if not names:
    raise ValueError(f'the annotations below {root} name no object.')
  return annotated.build(pictures, names, root, config, counted_classes=True, notes=notes)


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is a folder."""
  if data_dir is not None and pathlib.Path(data_dir).expanduser().is_dir():
    return True, data_dir
  return False, 'your own images with boxes: --dataset=voc --data_dir=FOLDER'


def _tree(path):
  try:
    content = path.read_bytes()
    try:
      return ElementTree.fromstring(content)
    except (LookupError, ValueError):  # Expat knows no encodings of several bytes but Unicode's, such as GBK.
      declared = _ENCODING.match(content)
      if declared is None:
        raise
      return ElementTree.fromstring(content[declared.end():].decode(declared[1].decode()))
  except (OSError, LookupError, ValueError, ElementTree.ParseError) as error:
    raise ValueError(f'{path} cannot be read as XML: {error}.') from None


def _image_sets(root):
  """Returns the split of each image that the files of ImageSets/Main name; empty without such files."""
  found = {path.stem: [_named_in(line) for line in text_files.read(path)[0].splitlines() if line.strip()]
           for path in sorted(root.glob('ImageSets/Main/*.txt')) if path.stem in ('train', 'val', 'trainval', 'test')}
  if 'trainval' in found and ('test' in found or 'train' not in found):
    found['train'] = found['trainval']
    found.pop('val', None)
  return {name: split for split in ('val', 'test', 'train') for name in found.get(split, ())}


def _named_in(line):
  """Returns the image that a line names, without the suffix of an image."""
  name = line.split()[0]
  return os.path.splitext(name)[0] if formats.is_image_name(name) else name


def _place(path, root):
  """Returns the split and the client that the folders above an annotation name."""
  parts = [part for part in path.relative_to(root).parts[:-1]
           if part.lower() not in _ANNOTATIONS and part not in _IMAGES]
  splits = [split for part in parts if (split := listing.split_of(part))]
  others = [part for part in parts if listing.split_of(part) is None]
  return (splits[0] if splits else None), (others[0] if len(others) == 1 else None)


def _picture(path, tree, split, client):
  boxes = []
  for number, entry in enumerate(tree.iter('object'), start=1):
    place = f'object {number} of {path}'
    label = (entry.findtext('name') or '').strip()
    if not label:
      raise ValueError(f'{place} has no name.')
    boxes.append(annotated.Box(place=place, edges=_edges(entry, place), label=label,
                               ignored=(entry.findtext('difficult') or '').strip().lower() in _YES))
  sides = [(tree.findtext(f'size/{side}') or '').strip() for side in ('height', 'width')]
  size = tuple(map(int, sides)) if all(side.isdigit() and int(side) for side in sides) else None
  return annotated.Picture(path=str(_image(path, tree)), place=str(path), boxes=boxes, size=size, split=split,
                           client=(tree.findtext('client') or '').strip() or client)


def _edges(entry, place):
  """Returns left, top, right and bottom as they are written."""
  said = [entry.findtext(f'bndbox/{name}') for name in ('xmin', 'ymin', 'xmax', 'ymax')]
  try:
    left, top, right, bottom = (float(value or '') for value in said)
  except ValueError:
    raise ValueError(f'{place} needs a bndbox of xmin, ymin, xmax and ymax, found {said}.') from None
  return left, top, right, bottom


def _counted_from(pictures):
  """Returns the images with the edges of boxes in pixels from 0, the right and the lower edge outside, and notes."""
  firsts: dict[str | None, list[float]] = {}
  for one in pictures:
    firsts.setdefault(one.client, []).extend(min(box.edges[:2]) for box in one.boxes)
  # Of pixels from 1, no coordinate is below 1, and programs that count from 0 may write fractions. Clients use programs
  # of their own; boxes at the upper or left edge, of 0 or of 1, tell which.
  from_zero = {client for client, edges in firsts.items() if min(edges, default=1) < 1}
  from_one = {client for client, edges in firsts.items() if client not in from_zero and 1 in edges}
  from_zero |= set(firsts) - from_one if from_zero else set()
  note = 'Pixels of boxes count from 0, since coordinates below 1 occur.' if not from_one else (
      f'Pixels of boxes count from 0 at {len(from_zero)} clients, where coordinates below 1 occur or none of 1, and '
      f'from 1 at {len(from_one)}, {min(map(str, from_one))!r} among them.')
  return [one if one.client in from_zero else dataclasses.replace(one, boxes=[dataclasses.replace(box, edges=(
      box.edges[0] - 1, box.edges[1] - 1, *box.edges[2:])) for box in one.boxes]) for one in pictures], [
          images.Counted(note)] * bool(from_zero)


def _named(pictures, config):
  """Returns the images with one spelling of each class, and notes."""
  names = [box.label for one in pictures for box in one.boxes]
  cleaned, notes = naming.cleaned(names, 'labels')
  spelt, case_notes = naming.one_case(cleaned, config.label_case)
  better = dict(zip(names, spelt, strict=True))
  renamed = [dataclasses.replace(one, boxes=[dataclasses.replace(box, label=better[box.label]) for box in one.boxes])
             for one in pictures]
  return renamed, [*map(images.Counted, [*notes, *case_notes])]


def _image(path, tree):
  """Returns the path of the image of an annotation, which may be missing.

  Raises:
    ValueError: The annotation names an image, and is itself named like another.
  """
  above = path.parent
  folders = [above, *(above / name for name in _IMAGES), *(above.parent / name for name in _IMAGES)]
  said = pathlib.PurePosixPath((tree.findtext('filename') or '').strip().replace('\\', '/')).name
  alike = [*(path.stem + suffix for suffix in formats.SUFFIXES),
           *(path.stem + suffix.upper() for suffix in formats.SUFFIXES)]
  named, own = (next((folder / name for name in names for folder in folders if (folder / name).is_file()), None)
                for names in ([said] if said else [], alike))
  if named is not None and own is not None and named.name not in alike:
    raise ValueError(f'{path} names the image {said}, and there is {own.name} too, which is named like it: nothing '
                     'tells which of them the boxes are of. Mend its filename.')
  return named or own or folders[0] / (said or alike[0])
