"""Papers in: read, selected, cleaned, deduplicated, written with a ledger; and looked into.

Begin reading at `build.py`, which goes through the passes in their order; a paper's form is in `paper.py`.
"""
