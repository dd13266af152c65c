"""The kinds of errors that `error_kinds.py` raises."""

WORDS = "my ledger has no such entry"
TENSORFLOW = (
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
)
"""Raised by Python code with words of its own."""
NATIVE = ("DataLoss", "FailedPrecondition", "InvalidArgument", "NotFound", "ResourceExhausted")
"""Raised by operations of TensorFlow's on this host, with words of theirs."""
