"""Stub by the lead, to be overwritten."""
import hashlib
import numpy as np
def choose_validation(groups, labels, *, fraction=0.2, seed=0, classes=None):
    return np.array([int(hashlib.sha256(f"{seed}/{g}".encode()).hexdigest()[:8],16)/2**32 < fraction for g in groups])
