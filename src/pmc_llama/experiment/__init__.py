"""The grid {base, adapted} x regimes x seeds: its cells, what each is tuned on, how it is asked.

Begin reading at `cells.py`, then `grid.py`.
"""
