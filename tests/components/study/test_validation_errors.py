from components.formatting import did_you_mean


def test_few_names_are_all_listed_with_the_nearest():
    assert did_you_mean("tan", ["minmax", "tanh"]) == "one of minmax, tanh (did you mean tanh?)"


def test_no_name_is_suggested_where_none_is_near():
    assert did_you_mean("qqq", ["minmax", "tanh"]) == "one of minmax, tanh"


def test_of_many_names_only_the_nearest_is_said():
    names = [f"part.name_{i}" for i in range(20)] + ["model.dropout"]
    text = did_you_mean("model.dropot", names)
    assert text.startswith("model.dropout, or another of the 21")
    assert "name_3" not in text


def test_the_last_part_of_a_path_is_enough_to_find_it():
    names = ["model.batch_norm_momentum", "train.early_stopping.patience"]
    assert "did you mean train.early_stopping.patience?" in did_you_mean("patience", names)


def test_names_are_written_in_the_form_that_is_asked_for():
    assert did_you_mean("digit", ["digits"], "sklearn:{}") == "one of sklearn:digits (did you mean sklearn:digits?)"
