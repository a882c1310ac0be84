"""Simulated online tests: a world of users whose tastes are known, in which arms are compared before anybody is served.

Letters of shapes: U users · I items · B users of a batch · N items for each of them · S places of a list · K tastes ·
E events. Days count from 0; negative days are the past before the simulation.
"""
