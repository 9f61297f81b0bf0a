"""The tests, and the laboratory they run in (`tests/lab`)."""
