"""Results: predictions are read and checked, become accuracies, and models are compared on the same questions.

The report, the console, the export gate and updates all read what is computed here. Begin reading at `table.py`.
"""
