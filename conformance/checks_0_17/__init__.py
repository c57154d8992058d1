"""The checks of client_0_17.py, a module a subject; importing one registers its checks."""
from . import accounts, scans, files, requests_helpers, other_helpers  # noqa: F401
