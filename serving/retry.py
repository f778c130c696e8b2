"""The one place that retries, and that turns what libraries raise into our own errors.

Asked again: no connection, a timeout, 408, 425, 429 and 5xx, and a body that is no answer. Refused
at once: every other 4xx, because the same request would be refused again. Waits are exponential
with jitter, and at least what `Retry-After` says.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
import tenacity

from codojo.errors import CodojoError, EngineUnavailable, RequestRefused
from codojo.trajectories.redact import Redactor

ATTEMPTS = 5
ATTEMPTS_IN_TIME = 2
"""For requests that time out: the limit is long, and an overloaded engine needs no more load."""

LONGEST_RETRY_AFTER_S = 120.0

logger = logging.getLogger(__name__)

T = TypeVar("T")

Hide = Callable[[str], str]

_TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504, 529}


class Transient(EngineUnavailable):
    """A failure that may pass; what callers get once all attempts are used."""

    def __init__(
        self, message: str, *, retry_after_s: float = 0.0, attempts: int = ATTEMPTS
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.attempts = attempts
        """How many attempts this sort of failure is worth."""


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    *,
    where: str,
    first_wait_s: float = 0.5,
    hide: Hide | None = None,
) -> T:
    """What `attempt` returns, asked up to five times, or twice where it times out.

    Args:
        where: The engine's address, for messages.
        first_wait_s: Wait before the second attempt; it doubles up to 8 s.
        hide: Takes secrets out of what the engine says of a failure; default: one that knows all formats.

    Raises:
        EngineUnavailable: After the last attempt.
        RequestRefused: When the engine says that it will not do this.
    """
    async for trial in tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(Transient),
        stop=_is_enough,
        wait=_WaitAsAsked(first_wait_s),
        reraise=True,
    ):
        with trial:
            try:
                return await attempt()
            except CodojoError:
                raise
            except Exception as err:
                failure = translated(err, where, hide)
                logger.debug("attempt %s: %s", trial.retry_state.attempt_number, failure)
                raise failure from err
    raise AssertionError("tenacity ends by returning or raising")


def translated(err: Exception, where: str, hide: Hide | None = None) -> CodojoError:
    """Our error for an exception of httpx or the openai client, or of reading their answer.

    Told apart by what they carry, not by class, so that this module needs no openai. Engines repeat
    keys and prompts in their complaints, so what they say goes through `hide` first.
    """
    hide = hide or Redactor().text
    response = getattr(err, "response", None)
    if isinstance(response, httpx.Response) and response.status_code >= 400:
        return _from_status(response, where, hide)
    names = {cls.__name__ for cls in type(err).__mro__}
    if isinstance(err, TimeoutError | httpx.TimeoutException) or "APITimeoutError" in names:
        return Transient(
            f"the engine at {where} did not answer in time; it may be overloaded: lower "
            "team.parallel, or raise engine.request_timeout_s",
            attempts=ATTEMPTS_IN_TIME,
        )
    if isinstance(err, httpx.TransportError | OSError) or "APIConnectionError" in names:
        cause = err.__cause__ or err
        return Transient(
            f"no connection to the engine at {where}: {hide(str(cause)) or type(cause).__name__}; "
            "see 'codojo models status'"
        )
    if isinstance(err, ValueError | KeyError | TypeError | IndexError) or "APIError" in names:
        return Transient(
            f"the engine at {where} sent something that is no answer: {_short(hide(str(err)))}; is this "
            "an OpenAI-compatible server?"
        )
    raise err


def _from_status(response: httpx.Response, where: str, hide: Hide) -> CodojoError:
    status, said = response.status_code, _short(hide(_server_message(response)))
    if status in _TRANSIENT_STATUS:
        return Transient(
            f"the engine at {where} answered {status}: {said}; see its log and "
            "'codojo models status'",
            retry_after_s=_retry_after_s(response),
        )
    remedy = {
        400: "shorten the prompt or lower sampling.max_tokens if it is too long",
        401: "check engine.key_env",
        403: "check engine.key_env",
        404: "see 'codojo models status' for what it serves",
    }.get(status, "asking again would not help")
    return RequestRefused(f"the engine at {where} refused ({status}): {said}; {remedy}")


def _server_message(response: httpx.Response) -> str:
    try:
        body = response.json()
        error = body.get("error", body)
        return str(error.get("message", error) if isinstance(error, dict) else error)
    except (ValueError, AttributeError, httpx.ResponseNotRead):
        try:
            return response.text or "an empty body"
        except httpx.ResponseNotRead:
            return "an unread body"


def _retry_after_s(response: httpx.Response) -> float:
    try:
        return min(float(response.headers.get("retry-after", 0)), LONGEST_RETRY_AFTER_S)
    except ValueError:
        return 0.0


def _is_enough(state: tenacity.RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return state.attempt_number >= (error.attempts if isinstance(error, Transient) else ATTEMPTS)


class _WaitAsAsked(tenacity.wait.wait_base):
    def __init__(self, first_s: float) -> None:
        rising = tenacity.wait_exponential(multiplier=first_s, max=8)
        self._backoff = rising + tenacity.wait_random(0, first_s)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        asked = error.retry_after_s if isinstance(error, Transient) else 0.0
        return max(asked, self._backoff(retry_state))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:300]}..."
