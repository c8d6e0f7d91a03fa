"""Who asks a Kubeflow Pipelines server: the token and the cookie, from a file, the environment or the pod."""

import os
from pathlib import Path

from components.errors import UsageError
from pipeline.kubeflow.settings import Cluster

TOKEN = "KFP_TOKEN"
COOKIE = "KFP_COOKIE"
# Where Kubernetes puts a pod's own token for Kubeflow, and what says that it is elsewhere.
POD_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"
POD_TOKEN_AT = "KF_PIPELINES_SA_TOKEN_PATH"


def credentials(cluster: Cluster) -> tuple[str | None, str | None]:
    """Return the token and the cookie as they are now: a file's before the environment's before the pod's own.

    Raises:
        UsageError: for a file that can't be read.
    """
    pod = os.environ.get(POD_TOKEN_AT, POD_TOKEN)
    token = _of_file("token_file", cluster.token_file) or _of_environment(TOKEN)
    if not token and Path(pod).is_file():
        token = _of_file(POD_TOKEN_AT, pod)
    return token, _of_file("cookie_file", cluster.cookie_file) or _of_environment(COOKIE)


def _of_file(name: str, file: str | None) -> str | None:
    if file is None:
        return None
    try:
        text = Path(file).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: {file} can't be read ({getattr(error, 'strerror', 'it is not text')})") from None
    if not text.strip():
        raise UsageError(f"{name}: {file} holds nothing; expected one line")
    return _checked(f"{name}: {file}", text)


def _of_environment(name: str) -> str | None:
    return _checked(name, os.environ.get(name, "")) or None


def _checked(where: str, text: str) -> str:
    """Return what can stand in a header; an error of the HTTP library would repeat it."""
    text = text.strip()
    if not text.isascii() or not text.isprintable():
        what = "several lines" if "\n" in text else "characters that no login has"
        raise UsageError(f"{where} holds {what}; expected one line")
    return text
