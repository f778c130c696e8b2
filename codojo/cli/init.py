import typer

app = typer.Typer()


@app.command()
def init(x: str = "a") -> None:
    """Make it."""
    print(x)
