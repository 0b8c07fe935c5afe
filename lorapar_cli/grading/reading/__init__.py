"""Reads final answers as a careful person would; `lorapar_cli.grading.answers` is the way in.

In order: `clean` drops what is not part of the answer; `forms` finds answers in a marked form,
`statements` those that are said to be the answer, `endings` what a text without either ends in;
`opening` gets from there to the answer itself; `plain`, `number_words`, `quantity`, `units`,
`doubt` and `structures` read it; `compare` tells whether two are equal. `choices` reads letters.
"""
