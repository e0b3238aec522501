"""Where images come from: files, folders, arrays and published data sets."""
