"""What each stage counts and measures: the keys of `counts` and `metrics` in its manifest.

A stage writes its record through `Manifest.keep` and everybody reads it through `Manifest.record`,
so that a key that nobody writes, or that a damaged manifest lacks, is found where it is read.
One module per stage; standard library only.
"""
