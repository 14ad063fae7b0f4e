"""Questions: sets, prompts, scoring by likelihood and by generation, statistics.

Begin reading at `answer.py`, which asks one model one task.
"""
