"""Simulated nights: the real runner against the simulator, in virtual time, with everything going wrong.

`python -m tests.lab.nights --seeds 0:1000` runs a thousand and tells what came of them; `--seeds 7 --trace` runs one
again and tells it all. Like the command this package stands above all others: it builds a run from its real parts.
"""
