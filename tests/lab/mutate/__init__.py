"""Ask of one line after the other whether a test would notice if it were wrong.

`python -m tests.lab.mutate --sample 300 --seed 1`. One change at a time is made to the source (`<` to `<=`, a condition
forced, a call left out), and the tests of that module are run. A change that no test notices has survived: either a
test is missing, or the change makes no difference. Those of the second kind are judged in `docs/mutants.md`, which is
read here.
"""
