from detection import structures, values


def test_the_values_without_tensors_are_those_of_the_pipeline():
    assert structures.Skipped is values.Skipped
    assert structures.Size is values.Size
