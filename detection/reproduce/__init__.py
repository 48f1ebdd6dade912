"""The tables of both papers, row by row: what each row trains, tests and should come to."""
