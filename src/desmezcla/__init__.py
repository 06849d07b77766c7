"""desmezcla: music source separation, from one install."""

__version__ = "0.1.0"
