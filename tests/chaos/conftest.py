"""One zygote for all chaos tests, as for the integration tests: TensorFlow is imported once."""

from tests.integration.conftest import zygote

__all__ = ["zygote"]
