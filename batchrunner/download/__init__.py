"""Downloads: one transfer, what it must be, where it goes, and what is there already."""
