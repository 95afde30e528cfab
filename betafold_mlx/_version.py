"""Version of the package, for all modules that name it."""

__version__ = "0.1.0"
