"""The report: predictions become results with their uncertainty, results become one HTML page."""
