"""The tables made sound: the one place where data are judged, for ``validate`` and ``prepare`` alike."""
