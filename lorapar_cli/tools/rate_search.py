"""What a search for a learning rate tried, in words and as a table."""

from lorapar_cli.plurals import counted
from lorapar_cli.stage_records.training import RateSearch
from lorapar_cli.tools.markdown import table


def search_alt(stage: str, search: RateSearch) -> str:
    """Returns what a picture of the search shows, for whoever does not see it."""
    rates = [trial["rate"] for trial in search["curve"]]
    return (
        f"{stage}: held-out {search['measure']} by learning rate, {min(rates):g} to "
        f"{max(rates):g}, after {counted(search['steps'], 'step')} each; used {search['rate']:g}"
    )


def search_section(stage: str, search: RateSearch) -> str:
    """Returns the search of a stage as Markdown: what was chosen and why, and every trial."""
    measure = search["measure"]
    item = "held-out record" if measure == "loss" else "held-out prompt"
    sentence = (
        f"`{stage}`, `--find-lr`: {search['rate']:g}, {search['reason']}. Each of "
        f"{counted(len(search['curve']), 'trial')} took {counted(search['steps'], 'step')}, and was measured on "
        f"{counted(search['held_out'], item)}; all took {search['seconds']:,.0f} s."
    )
    rows = [["untrained", f"{search['untrained']:.4f}", ""]]
    for trial in search["curve"]:
        value, behind, error = trial["value"], trial["behind"], trial["error"]
        if value is None or behind is None or error is None:
            rows.append([f"{trial['rate']:g}", "diverged", ""])
        else:
            rows.append([f"{trial['rate']:g}", f"{value:.4f}", f"{behind:.4f} ± {error:.4f}"])
    heads = ["learning rate", f"held-out {measure}", "behind the best, ± standard error"]
    return f"{sentence}\n\n{table(heads, rows)}"
