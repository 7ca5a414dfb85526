"""How fast llmflow_nb is, beside PocketFlow in the same process: ``python -m benchmarks``."""
