"""Secrets that nobody has, one of each format, made anew from a seed so that no file holds one."""

import base64
import json
import random
import re
import string
from collections.abc import Iterator
from typing import NamedTuple

ALNUM = string.ascii_letters + string.digits
UPPER = string.ascii_uppercase + string.digits
HEX = "0123456789abcdef"
URL_SAFE = ALNUM + "_-"
BASE64 = ALNUM + "+/"


class Canary(NamedTuple):
    """A secret and how it stands in a text."""

    name: str
    around: str
    """A text with `%s` where the secret stands."""
    secret: str

    @property
    def text(self) -> str:
        """The secret in its place."""
        return self.around % self.secret


def canaries(seed: int = 1) -> list[Canary]:
    """One secret of each format, different for each seed."""
    rng = random.Random(seed)

    def some(count: int, letters: str = ALNUM) -> str:
        return "".join(rng.choices(letters, k=count))

    def key(kind: str) -> str:
        lines = "\n".join(some(64, BASE64) for _ in range(4))
        return f"-----BEGIN {kind}-----\n{lines}\n-----END {kind}-----"

    jwt = ".".join(
        (_b64({"alg": "HS256", "typ": "JWT"}), _b64({"sub": some(9, "123456789")}), some(43))
    )
    uuid = "-".join(some(n, HEX) for n in (8, 4, 4, 4, 12))
    basic = base64.b64encode(f"deploy:{some(14)}".encode()).decode()
    found = {
        "aws-access-key": ("%s", "AKIA" + some(16, string.ascii_uppercase + "234567")),
        "aws-secret-key": ("aws_secret_access_key = %s", some(40, BASE64)),
        "github-classic": ("%s", "ghp_" + some(36)),
        "github-app": ("%s", "ghs_" + some(36)),
        "github-fine-grained": ("%s", f"github_pat_{some(22)}_{some(59)}"),
        "gitlab": ("%s", "glpat-" + some(20, URL_SAFE)),
        "slack-token": (
            "%s",
            f"xoxb-{some(12, string.digits)}-{some(12, string.digits)}-{some(24)}",
        ),
        "slack-webhook": (
            "https://hooks.slack.com/services/%s",
            f"T{some(9, UPPER)}/B{some(9, UPPER)}/{some(24)}",
        ),
        "stripe": ("%s", "sk_live_" + some(24)),
        "openai": ("%s", f"sk-{some(20)}T3BlbkFJ{some(20)}"),
        "openai-project": ("%s", f"sk-proj-{some(48)}T3BlbkFJ{some(48)}"),
        "anthropic": ("%s", f"sk-ant-api03-{some(93, URL_SAFE)}AA"),
        "hugging-face": ("%s", "hf_" + some(34)),
        "google-api": ("%s", "AIza" + some(35, URL_SAFE)),
        "gcp-service-account": (
            '{"type": "service_account", "private_key": "%s"}',
            key("PRIVATE KEY"),
        ),
        "azure-storage": (
            "DefaultEndpointsProtocol=https;AccountName=store;AccountKey=%s;EndpointSuffix=core.windows.net",
            some(86, BASE64) + "==",
        ),
        "azure-client-secret": ("%s", f"{some(3)}8Q~{some(34)}"),
        "jwt": ("%s", jwt),
        "pem-rsa": ("%s", key("RSA PRIVATE KEY")),
        "pem-ec": ("%s", key("EC PRIVATE KEY")),
        "pem-openssh": ("%s", key("OPENSSH PRIVATE KEY")),
        "pgp": ("%s", key("PGP PRIVATE KEY BLOCK")),
        "npm": ("%s", "npm_" + some(36)),
        "pypi": ("%s", "pypi-AgEIcHlwaS5vcmc" + some(80, URL_SAFE)),
        "sendgrid": ("%s", f"SG.{some(22, URL_SAFE)}.{some(43, URL_SAFE)}"),
        "twilio": ("%s", "SK" + some(32, HEX)),
        "telegram": ("%s", f"{some(10, '123456789')}:AA{some(33, URL_SAFE)}"),
        "discord": ("%s", f"MT{some(24)}.{some(6)}.{some(38)}"),
        "heroku": ("HEROKU_API_KEY=%s", uuid),
        "digitalocean": ("%s", "dop_v1_" + some(64, HEX)),
        "databricks": ("%s", "dapi" + some(32, HEX)),
        "url-password": ("postgresql://admin:%s@db.internal:5432/app", some(14)),
        "bearer": ("Authorization: Bearer %s", some(32)),
        "basic": ("Authorization: Basic %s", basic),
        "password": ("password=%s", f"Canary-{some(8)}-7"),
        "env": ("export DB_PASSWORD=%s", some(14) + "3"),
        "yaml": ("api_key: %s", some(32, HEX)),
        "entropy": ("the secret token is %s", some(30) + "4Q7x"),
    }
    return [Canary(name, around, secret) for name, (around, secret) in found.items()]


def disguises(canary: Canary) -> Iterator[tuple[str, str]]:
    """A canary as texts may hold it: `(how, text)`. Ways that no format allows are left out."""
    whole = canary.text
    yield "plain", whole
    yield "in a comment", f"x = 1\n# {whole}\ny = 2"
    yield "in a sentence", f"They said: {whole} and that was that."
    yield "in JSON", json.dumps({"note": f"x\n{whole}\ny"})
    yield "in JSON in JSON", json.dumps(json.dumps({"note": f"x\n{whole}\ny"}))
    yield "in base64", base64.b64encode(f"settings: {whole} end".encode()).decode()
    yield "in base64 lines", base64.encodebytes(f"the settings {whole} ok".encode()).decode()
    yield "in base64 of a path", "/srv/" + base64.b64encode(f"ab {whole} end".encode()).decode()
    if "\n" in canary.secret or '"' in canary.around:
        return
    before, after = canary.around.split("%s")
    length = len(canary.secret)
    for at in (4, length // 2, length - 4):
        first, rest = canary.secret[:at], canary.secret[at:]
        yield f"added at {at}", f'key = "{before}{first}" + "{rest}{after}"\nrun(key)'
        yield f"side by side at {at}", f"run('{before}{first}'\n    '{rest}{after}')"
        yield f"continued at {at}", f"{before}{first}\\\n{rest}{after}\nthen = 1"
        if canary.around == "%s":
            yield f"cut at {at}", f"{first}\n{rest}\nthen = 1"
            yield f"cut in JSON at {at}", json.dumps(f"{first}\n{rest}\nthen = 1")
            yield f"cut in a comment at {at}", f"# {first}\n# {rest}\nthen = 1"


def pieces(secret: str, length: int = 12) -> set[str]:
    """All stretches of a secret that are long enough to matter, without what may part it."""
    plain = squeezed(secret)
    return {plain[at : at + length] for at in range(max(1, len(plain) - length + 1))}


def squeezed(text: str) -> str:
    """A text without line ends, spaces, quotes and what adds strings."""
    return re.sub(r"\\+[nrt]|[\s\"'+\\#]", "", text)


def _b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
