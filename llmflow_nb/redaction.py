"""Remove an API key and a login, in all their forms, from answers and errors."""

import re
from base64 import b64encode
from typing import Any
from urllib.parse import quote

REPLACEMENT = "[key]"


def encode_login(login: str) -> str:
    """Return a login ("user:password") as HTTP sends it."""
    return b64encode(login.encode("utf-8", "surrogateescape")).decode()


def secrets_of(key: str, login: str) -> list[str]:
    """Return the texts to hide: the key and the parts of the login, also in their forms in a URL and a Python literal.

    Texts of up to five characters are left out: they occur in ordinary text.
    """
    user, _, password = login.partition(":")
    texts = [login, encode_login(login), password or user, key]
    return [
        form
        for text in texts
        for form in dict.fromkeys((text, quote(text, safe=""), repr(text)[1:-1]))
        if len(form) > 5
    ]


def redact_answer(text: str, secrets: list[str]) -> str:
    """Replace the secrets in an answer, except short texts without digits.

    Those may be placeholders for servers without keys, such as "ollama", and words of the answer.
    """
    return _replace(text, [each for each in secrets if len(each) >= 20 or any(map(str.isdigit, each))])


def redact_error(
    exc: BaseException, secrets: list[str], advice: str, *, is_of_sdk: bool, retry_after: float | None
) -> BaseException:
    """Remove from an error everything that contains a secret: texts, requests, its traceback and its causes.

    Args:
        exc: The error. It is changed in place if its type is kept.
        secrets: The texts to hide.
        advice: What to do about it, for the text of an error of the SDK.
        is_of_sdk: Whether it is an error of the SDK. It keeps its type.
        retry_after: Seconds to store as the attribute ``retry_after`` of an error of the SDK; None: do not.

    Returns:
        The error, or a RuntimeError in its place, if an error of another type shows a secret.
    """
    if is_of_sdk:
        _redact_sdk_error(exc, secrets, advice, retry_after)
    elif type(exc) is RuntimeError:
        exc.args = (_error_text(str(exc), secrets),)
    elif _shows_secret(f"{exc} {exc!r}", secrets):
        exc = RuntimeError(_error_text(f"{type(exc).__name__}: {exc}", secrets))
    exc.__cause__ = exc.__context__ = None
    exc.__suppress_context__ = False  # the error that the caller is handling may be shown
    return exc.with_traceback(None)


def _redact_sdk_error(exc: Any, secrets: list[str], advice: str, retry_after: float | None) -> None:
    response = getattr(exc, "response", None)
    responses = [] if response is None else [response, *response.history]
    for part in (exc, *responses):
        if getattr(part, "request", None) is not None:
            part.request.headers.pop("Authorization", None)
    texts = [f"{part!r} {part.headers.raw} {part.text}" for part in responses]
    words = _error_text(str(exc), secrets) + (f" ({_error_text(advice, secrets)})" if advice else "")
    if any(_shows_secret(text, secrets) for text in (f"{exc} {exc!r} {getattr(exc, 'body', None)!r}", *texts)):
        # Keep only the text, and numbers such as the status.
        vars(exc).update({name: None for name, value in vars(exc).items() if not isinstance(value, int)})
        vars(exc)["message"] = words
    if retry_after is not None:
        vars(exc)["retry_after"] = retry_after
    exc.args = (words,)


def _replace(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, REPLACEMENT)
    return text


def _redact(text: str, secrets: list[str]) -> str:
    """Replace the secrets, and also the rest of a key that an endpoint masked, as in "sk-ab****yz"."""
    text = _replace(text, secrets)
    for secret in secrets:
        begin, end = re.escape(secret[:3]), re.escape(secret[-2:])
        masked = rf"(?<![\w-]){begin}[\w-]*(?:\*{{2,}}|•{{2,}}|…|\.{{3}})[\w-]*?{end}(?![\w-])"
        text = re.sub(masked, REPLACEMENT, text)
    return text


def _shows_secret(text: str, secrets: list[str]) -> bool:
    return _redact(text, secrets) != text


def _error_text(text: str, secrets: list[str]) -> str:
    """Return the text of an error. It is cut after redaction: half of a secret would not be found."""
    text = _redact(text, secrets)
    return text if len(text) <= 600 else f"{text[:600]}…"
