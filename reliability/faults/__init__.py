"""Every dependency, harmed in four ways at four moments: ``python -m reliability.faults [cell …]``.

The faults are real: a file system of ours (FUSE) for disks, a proxy before servers, signals, a clock that lies.
"""
