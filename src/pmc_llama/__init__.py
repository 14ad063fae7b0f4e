"""pmc-llama: one recipe file from S2ORC shards to a medical LLaMA and a report with statistics."""

__version__ = "0.1.0"
