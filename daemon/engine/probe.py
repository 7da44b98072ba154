"""What the engine would find on this machine, as JSON on stdout; for ``transcribed doctor``.

A process of its own: the daemon and its commands import no machine-learning library.
"""

from __future__ import annotations

import json
import sys

from daemon.engine import runtime, weights


def probe() -> dict[str, object]:
    """The version of CTranslate2, the compute types of each device, and what is wrong with the embedded model."""
    devices = [f"cuda:{index}" for index in range(runtime.n_cuda_devices())]
    types = {"cpu": sorted(runtime.supported_compute_types("cpu"))}
    types |= {name: sorted(runtime.supported_compute_types("cuda", n)) for n, name in enumerate(devices)}
    problem = weights.verify_embedded()
    return {
        "ctranslate2": runtime.version(),
        "devices": ["cpu", *devices],
        "compute_types": types,
        "embedded_model": {"verified": problem is None, "problem": problem},
        "known_models": runtime.known_models(),
    }


if __name__ == "__main__":
    json.dump(probe(), sys.stdout, indent=2)
    sys.stdout.write("\n")
