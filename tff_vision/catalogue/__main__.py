"""Writes the catalogue's tables into documents: `python -m tff_vision.catalogue DOCUMENT...`."""

import pathlib
import sys

from tff_vision.catalogue import tables

for name in sys.argv[1:]:
  path = pathlib.Path(name)
  path.write_text(tables.refreshed(path.read_text()))
