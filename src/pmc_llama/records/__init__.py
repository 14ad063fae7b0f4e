"""Every JSON that is written, typed (msgspec), with one reader each.

One file per package that writes them; begin reading at `stamps.py` for a run's own records.
"""
