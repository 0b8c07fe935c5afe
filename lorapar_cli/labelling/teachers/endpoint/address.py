"""Addresses of endpoints: which are refused before anything is asked, and what to write instead."""

import re
from urllib.parse import SplitResult, urlsplit

from lorapar_cli.errors import UsageError
from lorapar_cli.text_safety import hide_keys, looks_like_key

# Paths that belong to one request and not to the base that the requests have in common.
_REQUEST_PATH = re.compile(
    r"/(?:chat/completions|completions|responses|embeddings|models|messages)/*$", re.IGNORECASE
)
_VERSION = re.compile(r"/v\d+[a-z0-9]*(?=/|$)", re.IGNORECASE)
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)", re.IGNORECASE)
_PLAIN = "give a plain address; API keys are read from environment variables only"


def check_address(url: str, name: str) -> None:
    """Checks that an address can be one and carries no secret, which messages would show.

    Raises:
        UsageError: It cannot, or it does; says what to write.
    """
    what = f"the address of teacher `{name}`"
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"{what} is not a URL", hint="write `http://host:port/v1` or `https://host/v1`"
        )
    azure = parts.hostname.endswith(_AZURE_HOSTS) or bool(_DEPLOYMENT.search(parts.path))
    if "@" in parts.netloc or (parts.query and not (azure or "api-version" in parts.query)):
        raise UsageError(f"{what} contains a user, a password or a query", hint=_PLAIN)
    if looks_like_key(parts.path) or looks_like_key(parts.hostname):
        raise UsageError(f"{what} contains what looks like an API key", hint=_PLAIN)
    given = hide_keys(f"{parts.scheme}://{parts.netloc}{parts.path}")
    if parts.query or (parts.hostname.endswith(_AZURE_HOSTS) and not _VERSION.search(parts.path)):
        raise UsageError(f"{what} is not one of Azure's `v1` API", given, _azure_remedy(parts))
    if parts.fragment or re.search(r"\s", url):
        raise UsageError(f"{what} contains a fragment or a space", hint=_PLAIN)
    if (found := _REQUEST_PATH.search(parts.path)) is not None:
        raise UsageError(
            f"{what} ends in `{found[0].rstrip('/')}`, which every request adds by itself",
            given,
            f"write `{_with_version(parts, parts.path[: found.start()])}`",
        )


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        if parts.port == 0:
            return None
    except ValueError:
        return None
    return parts


def _azure_remedy(parts: SplitResult) -> str:
    host = parts.netloc.rpartition("@")[2]
    found = _DEPLOYMENT.search(parts.path)
    before = parts.path[: found.start()] if found else ""
    deployment = hide_keys(found[1]) if found else "DEPLOYMENT"
    return (
        f"write `{parts.scheme}://{host}{before}/openai/v1`, which needs no `api-version`, and the "
        f"name of the deployment, `{deployment}`, as the model"
    )


def _with_version(parts: SplitResult, path: str) -> str:
    path = path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}{'' if _VERSION.search(path) else '/v1'}"


def lacks_version(url: str) -> bool:
    """Returns whether an address has no `/v1`, under which servers usually have their API."""
    return not _VERSION.search(urlsplit(url).path)


def address_remedy(url: str, said: str = "") -> str:
    """Returns what to write where nothing is found at an address, as the end of a sentence.

    Args:
        said: The provider's words.
    """
    parts = urlsplit(url)
    if _DEPLOYMENT.search(parts.path) or "api-version" in said or "api_version" in said:
        return _azure_remedy(parts)
    if lacks_version(url):
        return f"`{url}` has no `/v1`: write `{_with_version(parts, parts.path)}`"
    return f"check the address `{url}`, to which requests add `/chat/completions`"
