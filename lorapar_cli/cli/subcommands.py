"""Commands with a name of two words, `eval show`, beside one of the first word alone, `eval`."""

from typing import Any

from typer.core import TyperGroup

from lorapar_cli.errors import UsageError, nearest


class SubcommandGroup(TyperGroup):
    """A group in which a command and commands below it can have the same first word.

    `eval` is a command with options of its own; typer would make it a group, whose options end
    where the name of a subcommand begins, and which `lorapar run` could not call as a stage.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Returns name and command that the words begin with, and the words behind them.

        Raises:
            UsageError: The second word looks like a subcommand and is none.
        """
        first, second = args[0], args[1] if len(args) > 1 else ""
        if (name := f"{first} {second}") in self.commands:
            return name, self.commands[name], args[2:]
        below = [each.partition(" ")[2] for each in self.commands if each.startswith(f"{first} ")]
        if below and second and not second.startswith("-"):
            raise UsageError(
                f"`{first}` has no subcommand `{second}`{nearest(second, below)}",
                hint=f"it has {', '.join(below)}; without one, options follow: "
                f"see `lorapar {first} --help`",
            )
        return super().resolve_command(ctx, args)
