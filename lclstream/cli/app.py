"""The commands for people: run, pull, validate, plan, crd."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lclstream.logs import configure
from lclstream.pki import PkiError
from lclstream.process import EXIT_BAD_INPUT
from lclstream.spec import SpecError

app = typer.Typer(
    name="lclstream",
    help="Stream X-ray experiment data to consumers anywhere.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Runtime(StrEnum):
    """What runs the components of a stream."""

    LOCAL = "local"


class Format(StrEnum):
    """How structured output is written."""

    YAML = "yaml"
    JSON = "json"


RequestFile = Annotated[
    Path, typer.Argument(help="A YAML file with a StreamRequest, and its Dataset if any.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Say what is wrong in one line for each thing, and exit with code 2."""
    try:
        yield
    except (SpecError, PkiError) as error:
        for line in str(error).splitlines():
            typer.echo(f"error: {line}", err=True)
        raise typer.Exit(EXIT_BAD_INPUT) from None


@app.callback()
def _logging(
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON.")] = False,
) -> None:
    configure(json=log_json)


@app.command()
def run(
    request: RequestFile,
    runtime: Annotated[Runtime, typer.Option(help="What runs the components.")] = Runtime.LOCAL,
    json: Json = False,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the stream's folder with configurations and logs.")
    ] = False,
    connection: Annotated[
        Path | None, typer.Option(help="Write the connection file here; else into the stream's folder.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address the buffers listen on; consumers elsewhere need one they reach.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65000, help="First of the ports the buffers listen on; 0: any that are free."
        ),
    ] = 0,
) -> None:
    """Run a stream on this machine until it ends.

    Prints how to pull from it. Ctrl-C stops it cleanly, a second Ctrl-C kills it.
    """
    del runtime  # there is one so far
    from lclstream.cli import run as command

    with errors_in_one_line():
        raise typer.Exit(
            command.run(request, json=json, keep=keep, connection=connection, host=host, port=port)
        )


@app.command()
def pull(
    target: Annotated[Path, typer.Argument(help="The connection file of a stream.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder that gets every batch as a .h5 file.")
    ] = None,
    exec_: Annotated[
        str | None,
        typer.Option("--exec", metavar="CMD", help="Command that gets each batch on its standard input."),
    ] = None,
    group: Annotated[str, typer.Option(help="Consumers of a group share the batches.")] = "default",
    json: Json = False,
) -> None:
    """Consume a stream: show its progress, write its batches, or pipe each to a command."""
    from lclstream.cli import pull as command

    if output and exec_:
        _usage("--output and --exec given, expected one of them")
    with errors_in_one_line():
        raise typer.Exit(command.pull(target, output=output, execute=exec_, group=group, json=json))


@app.command()
def validate(request: RequestFile) -> None:
    """Say what is wrong with a request, or what it would run."""
    from lclstream.cli import run as command

    with errors_in_one_line():
        for line in command.validate(request):
            typer.echo(line)


@app.command("plan")
def show_plan(
    request: RequestFile,
    output: Annotated[Format, typer.Option("--output", "-o", help="Format.")] = Format.YAML,
) -> None:
    """Print the Plan of a request: its components with their configurations."""
    from lclstream.cli import run as command

    with errors_in_one_line():
        typer.echo(command.show_plan(request, as_json=output is Format.JSON), nl=False)


@app.command()
def crd(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write them to, a file each.")
    ] = None,
) -> None:
    """Print the CustomResourceDefinitions."""
    from lclstream.crd import crds, dump

    for name, definition in crds().items():
        if output:
            output.mkdir(parents=True, exist_ok=True)
            (output / name).write_text(dump(definition))
        else:
            typer.echo(f"---\n{dump(definition)}", nl=False)


def _usage(message: str) -> None:
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(EXIT_BAD_INPUT)
