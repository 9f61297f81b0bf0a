"""The laboratory: virtual time, faults, and whole simulated nights with what must hold in them.

It drives the product through three seams (the loop's clock, the connector, the threads) and is no part of it.
"""
