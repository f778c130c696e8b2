"""An engine that somebody else runs: what it serves and what it can do, asked once."""

import os
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

import httpx

from codojo.errors import EngineUnavailable, SettingsError
from codojo.serving.engine import Capabilities, Endpoint
from codojo.serving.retry import with_retries
from codojo.serving.vllm import vllm_capabilities
from codojo.settings import EngineSettings
from codojo.trajectories.redact import Redactor


async def external_endpoint(settings: EngineSettings) -> Endpoint:
    """The endpoint at `engine.url`.

    `engine.model` names one of its models; left at its default, the first one listed is used. A
    server that tells a vLLM version is trusted with what that version can do, any other with plain
    chat only.

    Raises:
        SettingsError: If no URL, key or such model is there.
        EngineUnavailable: If nothing answers.
    """
    if not settings.url:
        raise SettingsError("engine.kind is 'external' but engine.url is empty; set it")
    key = os.environ.get(settings.key_env, "") if settings.key_env else ""
    if settings.key_env and not key:
        raise SettingsError(f"engine.key_env names '{settings.key_env}', which is not set")
    url, login = without_login(settings.url.rstrip("/"))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(headers=headers, auth=login, timeout=20) as http:

        async def listed() -> list[str]:
            answer = await http.get(f"{url}/models")
            answer.raise_for_status()
            return [str(line["id"]) for line in answer.json()["data"]]

        names = await with_retries(
            listed, where=url, hide=Redactor(known=(key, *(login or ())[1:])).text
        )
        version = await _vllm_version(http, url.removesuffix("/v1"))
    if not names:
        raise EngineUnavailable(f"the engine at {url} serves no model; start it with one")
    model = names[0] if settings.model == "embedded" else settings.model
    if model not in names:
        raise SettingsError(
            f"engine.model is '{model}' but {url} serves {', '.join(names[:8])}; name one of them"
        )
    return Endpoint(
        kind="external",
        url=url,
        api_key=key,
        login=login,
        base_model=model,
        version=version,
        capabilities=vllm_capabilities(version) if version else Capabilities(schemas=True),
        max_concurrent=settings.max_num_seqs,
        request_timeout_s=settings.request_timeout_s,
    )


class Address(NamedTuple):
    """An address that can be shown, and what was taken out of it."""

    url: str
    login: tuple[str, str] | None


def without_login(url: str) -> Address:
    """An address without user and password: those go into a header, and into no message or log.

    >>> without_login("https://me:pass@host:8000/v1")
    Address(url='https://host:8000/v1', login=('me', 'pass'))
    """
    parts = urlsplit(url)
    owner, at, place = parts.netloc.rpartition("@")
    if not at:
        return Address(url, None)
    user, _, password = owner.partition(":")
    return Address(urlunsplit(parts._replace(netloc=place)), (unquote(user), unquote(password)))


async def _vllm_version(http: httpx.AsyncClient, root: str) -> str:
    try:
        answer = await http.get(f"{root}/version")
        return str(answer.json()["version"]) if answer.status_code == 200 else ""
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return ""
