"""/metrics, /healthz and /readyz, for this machine alone."""
