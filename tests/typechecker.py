"""The run-time check of types, with ``int`` accepted where ``float`` is written (PEP 484)."""

from beartype import BeartypeConf, beartype

typechecker = beartype(conf=BeartypeConf(is_pep484_tower=True))
