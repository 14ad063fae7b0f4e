"""Runs a recipe's stages in order, and knows what each result was made from.

Begin reading at `run.py`; `stage.py` says what a stage is, `stages/` holds one file per stage, `stamps.py` tells what
is up to date, `making.py` puts new results in the place of old ones.
"""
