"""Bringing files home: one transfer, what it must be, where it goes, and what is there already."""
