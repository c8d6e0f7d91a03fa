"""The client of a Kubeflow Pipelines server: settings, login, runs and schedules."""
