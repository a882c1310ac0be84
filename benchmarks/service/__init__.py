"""The service under load: ``python -m benchmarks.service``, one vector per user against twelve at the same N.

``world`` draws items and the histories of users, ``towers`` makes towers of the usual size without training,
``releases`` publishes both and fills a user state store. ``serving`` starts ``multitudes serve``, ``load`` sends load
from its own process, ``stage_costs`` measures the CPU time of each stage, ``run`` measures the two in turn, ``page``
writes records/service-speed.md.
"""
