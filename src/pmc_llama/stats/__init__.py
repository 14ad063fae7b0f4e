"""How sure the numbers are: numbers in, numbers out, with each formula's source beside it.

`intervals` and `paired` are about one pair of models; `seeds` about models that were trained more than once;
`multiplicity`, `equivalence` and `power` about what may be claimed; `macro_f1` and `calibration` measure answers.
"""
