"""What secrets look like: formats that a prefix gives away, as data for `codojo.trajectories.redact`.

Prefixes and lengths follow what the issuers publish, and gitleaks' rule set (`config/gitleaks.toml`)
where they publish nothing. Two differences: minimum lengths are lower, because a model's answer may be
cut in the middle of a secret; and where the prefix is short or a common word, the rest must look random.
"""

import re
from typing import NamedTuple

LEFT = r"(?:(?<![A-Za-z0-9])|(?<=%[0-9A-Fa-f]{2}))"
"""The left edge of a token; a percent code of a URL may stand before it."""
END = r"(?![A-Za-z0-9])"
"""The right edge, for formats of one exact length; left out where lines were joined."""


class Format(NamedTuple):
    """One kind of secret. A group named `s` in the pattern is what is replaced, else all of it."""

    name: str
    hints: tuple[str, ...]
    """Of these texts one is always there, in the long run of word characters or just before it; `.` stands
    for a dot after a run of more than 22."""
    pattern: str
    loose: bool = False
    """The prefix alone proves too little: the match must look random as well."""


def _after(name: str, hints: str, body: str, *, edge: bool = True, loose: bool = False) -> Format:
    """One of several prefixes (in words apart), then a body."""
    prefixes = tuple(hints.split())
    prefix = "|".join(re.escape(p) for p in prefixes)
    return Format(name, prefixes, f"{LEFT if edge else ''}(?:{prefix}){body}", loose)


_W, _T = "[A-Za-z0-9]", "[A-Za-z0-9_-]"

FORMATS: tuple[Format, ...] = (
    _after("aws-access-key", "AKIA ASIA ABIA ACCA AROA AIDA", f"[A-Z0-9]{{16}}{END}"),
    Format(
        "aws-secret-key",
        ("AKIA", "ASIA"),
        rf"(?:AKIA|ASIA)[A-Z0-9]{{16}}{END}[\s\S]{{1,80}}?(?<![A-Za-z0-9/+=_.-])(?P<s>[A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+=])",
        loose=True,
    ),
    _after("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", f"{_W}{{16,}}", edge=False),
    _after("github-token", "github_pat_", r"\w{20,}", edge=False),
    _after(
        "gitlab-token",
        "glpat- gldt- glrt- glcbt- glptt- glft- glimt- glagent- gloas- glsoat- glffct-",
        r"[\w-]{16,}(?:\.[\w.-]{4,})?",
    ),
    _after(
        "slack-token",
        "xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs-",
        r"(?:\d-)?[\w-]{16,}",
        edge=False,
    ),
    _after("slack-token", "xapp-", r"\d-[\w-]{16,}", edge=False),
    Format(
        "slack-webhook",
        ("services/T", "workflows/T", "triggers/T"),
        r"hooks\.slack(?:-gov)?\.com\\?/+(?:services|workflows|triggers)\\?/+(?P<s>[\w/\\+-]{20,})",
    ),
    _after(
        "stripe-key",
        "sk_test_ sk_live_ sk_prod_ rk_test_ rk_live_ rk_prod_ pk_test_ pk_live_ pk_prod_",
        f"{_W}{{10,}}",
    ),
    _after("stripe-key", "whsec_", "[A-Za-z0-9+/=]{24,}"),
    _after("anthropic-key", "sk-ant-", f"{_T}{{16,}}"),
    _after("openai-key", "sk-proj- sk-svcacct- sk-admin- sk-None-", f"{_T}{{16,}}"),
    _after("openai-key", "sk-", f"{_T}{{20,}}", loose=True),
    _after("openrouter-key", "sk-or-", f"{_T}{{16,}}"),
    _after("hugging-face-token", "hf_ api_org_", f"{_W}{{20,}}"),
    _after("google-api-key", "AIza", f"{_T}{{30,}}"),
    _after("google-oauth", "ya29.", r"[\w.-]{20,}"),
    _after("google-oauth", "GOCSPX-", f"{_T}{{20,}}"),
    _after("google-oauth", "1//0", f"{_T}{{30,}}", loose=True),
    Format(
        "azure-storage-key",
        ("AccountKey", "accountkey", "ACCOUNT_KEY", "account_key", "accountKey", "AccountKEY"),
        r"(?i:account_?key)\\{0,8}[\"']?\s{0,3}[=:]\s{0,3}\\{0,8}[\"']?(?P<s>[A-Za-z0-9+/]{40,}={0,2})",
    ),
    Format(
        "azure-shared-access-key",
        ("AccessKey", "accesskey", "ACCESS_KEY", "access_key", "accessKey"),
        r"(?i:shared_?access_?key)\\{0,8}[\"']?\s{0,3}[=:]\s{0,3}\\{0,8}[\"']?(?P<s>[A-Za-z0-9+/]{20,}={0,2})",
    ),
    Format("azure-signature", ("sig=",), r"(?<![A-Za-z])sig=(?P<s>[A-Za-z0-9%/+]{40,}={0,2})"),
    Format("azure-client-secret", ("Q~",), rf"{LEFT}[\w~.-]{{3}}\dQ~[\w~.-]{{31,34}}"),
    _after(
        "jwt", "eyJ", rf"{_T}{{8,}}\.(?:eyJ|[A-Za-z0-9_-]{{2}}){_T}{{8,}}(?:\.{_T}{{8,}}){{1,3}}"
    ),
    _after("npm-token", "npm_", f"{_W}{{30,}}"),
    _after("pypi-token", "pypi-", rf"A{_T}{{30,}}"),
    _after("sendgrid-key", "SG.", rf"{_T}{{16,24}}\.{_T}{{20,}}"),
    _after("twilio-key", "SK AC", f"[0-9a-f]{{32}}{END}"),
    Format("telegram-bot-token", (":AA",), rf"(?<!\d)\d{{6,12}}:AA{_T}{{30,}}"),
    Format(
        "discord-token",
        (".",),
        rf"{LEFT}[MNO][A-Za-z0-9_-]{{22,28}}\.[\w-]{{6,7}}\.{_T}{{25,}}",
        loose=True,
    ),
    _after("discord-token", "mfa.", f"{_T}{{60,}}"),
    Format(
        "discord-webhook",
        ("api/webhooks/",),
        r"discord(?:app)?\.com/api/webhooks/(?P<s>\d{15,}/[\w-]{40,})",
    ),
    _after("heroku-key", "HRKU-", r"[\w-]{30,}"),
    Format(
        "heroku-key",
        ("HEROKU", "heroku", "Heroku"),
        r"(?i:heroku)[^\n]{0,40}?(?P<s>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})",
    ),
    _after("digitalocean-token", "doo_v1_ dop_v1_ dor_v1_", "[a-f0-9]{32,}"),
    _after("databricks-token", "dapi", r"[a-f0-9]{32}(?:-\d)?"),
    _after("docker-token", "dckr_pat_ dckr_oat_", f"{_T}{{20,}}"),
    _after("shopify-token", "shpat_ shpca_ shppa_ shpss_", "[a-fA-F0-9]{32}"),
    _after("square-token", "sq0atp- sq0csp- sq0idp-", f"{_T}{{22,}}"),
    _after("square-token", "EAAA", f"[A-Z]{_T}{{50,}}"),
    _after("linear-key", "lin_api_ lin_oauth_", f"{_W}{{30,}}"),
    _after("notion-token", "ntn_ secret_", f"{_W}{{40,}}", loose=True),
    _after("atlassian-token", "ATATT3 ATCTT3", r"[\w=-]{50,}"),
    _after("figma-token", "figd_", f"{_T}{{30,}}"),
    _after("grafana-token", "glsa_ glc_", r"[\w+/=-]{32,}", loose=True),
    _after("vault-token", "hvs. hvb. hvr.", f"{_T}{{24,}}"),
    Format("terraform-token", ("atlasv1",), rf"{_W}{{14}}\.atlasv1\.{_T}{{40,}}"),
    _after(
        "doppler-token", "dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit.", r"(?:[\w-]+\.)?\w{30,}"
    ),
    _after("planetscale-token", "pscale_tkn_ pscale_pw_ pscale_oauth_", r"[\w=.-]{30,}"),
    _after("postman-key", "PMAK-", "[a-f0-9]{24}-[a-f0-9]{34}"),
    _after("new-relic-key", "NRAK- NRJS- NRAL- NRII-", r"[\w-]{19,}"),
    _after("sentry-token", "sntrys_ sntryu_", r"[\w+/=-]{30,}"),
    _after("mailgun-key", "key-", f"[0-9a-f]{{32}}{END}"),
    Format("mailchimp-key", ("-us",), rf"{LEFT}[0-9a-f]{{32}}-us\d{{1,2}}{END}"),
    _after("groq-key", "gsk_", f"{_W}{{40,}}"),
    _after("xai-key", "xai-", f"{_W}{{60,}}"),
    _after("replicate-token", "r8_", f"{_W}{{30,}}"),
    _after("perplexity-key", "pplx-", f"{_W}{{40,}}"),
    _after("langsmith-key", "lsv2_pt_ lsv2_sk_", r"[a-f0-9]{32}(?:_[a-f0-9]{8,})?"),
    _after("pinecone-key", "pcsk_", r"\w{40,}"),
    _after("supabase-key", "sbp_ sbs_", r"[a-z0-9_]{36,}", loose=True),
    _after("netlify-token", "nfp_ nfc_ nfo_ nfu_", f"{_W}{{36,}}"),
    _after("rubygems-key", "rubygems_", "[a-f0-9]{40,}"),
    _after("fly-token", "fo1_ fm1_ fm1a_ fm1r_ fm2_", r"[\w+/=,-]{40,}", loose=True),
    _after("tailscale-key", "tskey-", r"[\w-]{20,}"),
    _after("airtable-token", "pat", rf"{_W}{{14}}\.[a-f0-9]{{64}}"),
    _after("dropbox-token", "sl.", r"[\w.-]{100,}"),
    _after("facebook-token", "EAAC", f"{_W}{{60,}}"),
    _after("alibaba-key", "LTAI", f"{_W}{{17,}}", loose=True),
    _after("age-key", "AGE-SECRET-KEY-1", "[0-9A-Z]{50,}"),
    _after("1password-token", "ops_eyJ", r"[\w+/=-]{60,}"),
)
"""Sixty kinds of secret that their prefix gives away."""

BEGIN_KEY = re.compile(
    r"-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}|PuTTY-User-Key-File-\d:"
)
"""How a private key in text form begins: RSA, EC, DSA, OPENSSH, ENCRYPTED, PKCS#8, PGP, SSH2, PuTTY."""

KEY_BLOCK = re.compile(
    BEGIN_KEY.pattern.partition("|PuTTY")[0]
    + r"(?:(?:(?!-{4,5} ?BEGIN )[\s\S]){0,16384}?-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}"
    # An answer may be cut before the end: then everything that can be a part of the key goes.
    r"|(?:\\{1,8}[nr]|[\s\"'+,`\\]|[A-Za-z0-9+/=]{16,}|(?:Proc-Type|DEK-Info|Version|Comment)[^\n]*)*[A-Za-z0-9+/=]*)"
)

PUTTY_BLOCK = re.compile(
    r"PuTTY-User-Key-File-\d:[\s\S]{0,8192}?Private-Lines:[^\n]*(?P<s>(?:\s+[A-Za-z0-9+/=]{16,})+)"
)
