"""Results of studies that never ran, for what the page and the README make of them."""

from evidence.page.results_files import CATALOGUE, Results


def row(cell, difference, p=0.01, *, against="random", measure="accuracy", system="system1"):
    return {
        "stage": "train-rl",
        "cell": cell,
        "against": against,
        "measure": measure,
        "system": system,
        "difference": difference,
        "low": difference - 0.01,
        "high": difference + 0.01,
        "p_value": p,
        "p_holm": p,
    }


def results(**units):
    """Returns empty results of every study, but for the units of those that are named."""
    found = {}
    for known in CATALOGUE:
        of_study = units.get(known.name.replace("-", "_"))
        content = {}
        if of_study is not None:
            content = {
                "command": known.command,
                "seeds": [1, 2],
                "settings": {},
                "unfinished": [],
                "units": {
                    name: {"cpu_seconds": 36.0, "made_with": {"machine": "M"}, "result": each}
                    for name, each in of_study.items()
                },
            }
        found[known.name] = Results(known, content)
    return found


def begun(found, name, *missing):
    """Returns the results with units of a study that are not measured yet."""
    study = found[name]
    return found | {name: Results(study.known, study.content | {"unfinished": list(missing)})}
