"""Models out of the house: export, cards, the hub, the next revision."""
