"""Folders of a comparison or a sweep as an earlier version of lorapar would have left them."""

import json


def rename(parent, change, prefix=""):
    """Gives all noted folders other names, and some of them other dependencies.

    Args:
        change: Takes the recorded dependencies and alters them in place.
        prefix: Of the folders that are changed.
    """
    for note in list(parent.glob("*.json")):
        recorded = json.loads(note.read_text())
        if note.name.startswith(prefix):
            change(recorded)
        note.write_text(json.dumps(recorded | {"lorapar": "0.0.1"}))
    names = {note.stem: note.stem[:-4] + "0000" for note in parent.glob("*.json")}
    for old, new in names.items():
        (parent / old).rename(parent / new)
        (parent / f"{old}.json").rename(parent / f"{new}.json")
    for note in parent.glob("*.json"):
        text = note.read_text()
        for old, new in names.items():
            text = text.replace(old, new)
        note.write_text(text)


def without(*names, place):
    """Returns a change that makes settings unknown to the earlier version."""

    def change(recorded):
        for name in names:
            del recorded[place][name]

    return change
