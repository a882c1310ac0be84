"""The service at scale: ``python -m benchmarks.service``, one vector for each user beside twelve at the same N.

``world`` draws items and the histories of users, ``towers`` makes towers of the usual size without training,
``releases`` publishes both and fills a store of user states. ``serving`` starts ``multitudes serve``, ``driver`` makes
load in a process of its own, ``inside`` says where the processor's time goes, ``run`` takes the two in turn. ``goals``
holds the figures to what was asked for, ``page`` writes docs/service-speed.md.
"""
