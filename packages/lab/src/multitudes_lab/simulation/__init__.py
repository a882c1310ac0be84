"""Simulated online tests: arms are compared in a world of users whose tastes are known, before any real user is served.

Legend: U users · I items · B users of a batch · N candidates of a user · S slots of a list · K tastes · E events.
Days count from 0; negative days are the past before the simulation.
"""
