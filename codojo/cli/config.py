"""`codojo config`: every setting and where it comes from."""

from pathlib import Path

import typer

from codojo.cli.options import DojoOption, JsonOption, print_json

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Settings.")


@app.callback()
def _group() -> None:
    pass


@app.command()
def show(dojo: DojoOption = Path("dojo"), as_json: JsonOption = False) -> None:
    """Print each setting with its value and the source that set it.

    Example: `CODOJO_TEAM__SAMPLES=8 codojo config show --dojo my-dojo`
    """
    from codojo.resources import redactor_for
    from codojo.settings import load

    settings, sources = load(dojo)
    hide = redactor_for(settings).redact
    flat = {
        f"{section}.{name}": {
            "value": hide(value).value,
            "source": sources.get(f"{section}.{name}", "default"),
        }
        for section, values in settings.model_dump(mode="json").items()
        for name, value in values.items()
    }
    if as_json:
        print_json(flat)
        return
    width = max(map(len, flat))
    for name, entry in flat.items():
        print(f"{name:<{width}}  {entry['value']!s:<12}  {entry['source']}")
