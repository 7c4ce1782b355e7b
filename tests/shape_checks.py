"""The decorator that holds functions to their annotations under test; a whole number is a float, too."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
