"""How well the engine does on public data: readers of datasets, measures, runs and reports."""
