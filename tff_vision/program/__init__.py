"""The training loop, the run directory, the report and the export."""
