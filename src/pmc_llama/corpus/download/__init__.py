"""Fetching the inputs: S2 Datasets API and PMC's open-data bucket."""
