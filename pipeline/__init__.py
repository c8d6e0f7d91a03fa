"""What runs on the user's machine: a study becomes a Kubeflow pipeline, and a runner runs it."""

__version__ = "0.1.0"
