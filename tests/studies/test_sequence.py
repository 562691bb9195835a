import numpy as np
import pytest
import soundfile

from mtl.data.digits import digits
from mtl.data.images import from_arrays
from mtl.gallery import Gallery
from mtl.studies.sequence import cap, domains, images, pairs, read_courses, shuffled

COUNTS = {"speech": 2, "images": 1}


def arrays(path, classes=4, colour=()):
    x = np.zeros((16, 8, 8, *colour), np.uint8)
    y = np.arange(16) % classes
    np.savez(path, x_train=x, y_train=y, x_test=x[:8], y_test=y[:8])
    return path


def manifest(path, langs, count=4):
    lines = []
    for lang in langs:
        for index in range(count):
            name = f"{path.stem}-{lang}{index}"
            soundfile.write(path.parent / f"{name}.wav", np.zeros(8000), 16000)
            lines.append(
                f'{{"audio_filepath": "{name}.wav", "duration": 0.5, "text": "{"ab"[index % 2]}", '
                f'"lang": "{lang}", "speaker": "{name}"}}'
            )
    path.write_text("\n".join(lines))
    return path


def test_pairs_have_the_classes_in_order_and_little_data_from_the_second_on():
    course = pairs(Gallery("digits", digits(8)[:300], digits(8)[300:500]), count=3)
    assert course.names == ["0-1", "2-3", "4-5", "6-7", "8-9"] and course.modality == "images"
    for task, problem in course.tasks.items():
        classes = set(task.split("-"))
        assert {p.label for p in problem.train} == classes == {p.label for p in problem.test}
        assert problem.stream == task
    assert len(course.items("0-1", 0)) > 50 and len(course.items("2-3", 0)) == 6
    assert {p.id for p in course.items("2-3", 0)} != {p.id for p in course.items("2-3", 1)}
    assert course.tasks["0-1"].batch > course.tasks["2-3"].batch


def test_one_network_fits_all_sets_and_each_has_its_head():
    plain, coloured = digits(8)[:40], images(2, small=True)[1].tasks["blended"].train
    course = domains([Gallery("a.b", plain, plain), Gallery("c", coloured, coloured)], 2)
    assert course.names == ["a_b", "c"] and course.name == "a_b -> c"
    model = course.network("a_b")
    assert model.stem("a_b").channels == 3
    course.enrol(model, "c")
    assert {name: task.stream for name, task in model.tasks.items()} == {"a_b": "a_b", "c": "c"}
    assert model.heads["c"] is not model.heads["a_b"]


def test_files_make_pairs_and_a_sequence_of_sets(tmp_path):
    one = arrays(tmp_path / "one.npz", 5)
    two = arrays(tmp_path / "two.npz", 3, (3,))
    found = read_courses([one, two], [], "", COUNTS)
    assert [course.names for course in found] == [["0-1", "2-3"], ["one", "two"]]
    assert [course.count for course in found] == [1, 1]
    assert [course.name for course in read_courses([one], [], "", COUNTS)] == ["one in pairs"]
    assert [course.name for course in read_courses([two, one], [], "", COUNTS)] == ["two -> one"]
    with pytest.raises(ValueError, match="no sequence: give manifests of languages, or pictures"):
        read_courses([two], [], "", COUNTS)


def test_what_would_fail_after_the_first_training_is_refused_now(tmp_path):
    plain = digits(8)[:80]
    few = [p for p in plain if p.label in "01"]
    with pytest.raises(ValueError, match="digits in pairs: there is nothing to test task '2-3' on"):
        pairs(Gallery("digits", plain, few), 2)
    with pytest.raises(ValueError, match="type -> a: torch cannot name a task 'type': rename it"):
        domains([Gallery("type", plain, plain), Gallery("a", plain, plain)], 2)
    one = [p for p in plain if p.label == "1"]
    with pytest.raises(ValueError, match="b -> a: task 'b': class '1' is the only one"):
        domains([Gallery("b", one, one), Gallery("a", plain, plain)], 2)
    train = manifest(tmp_path / "train.jsonl", ["de", "nl", "x.y"])
    with pytest.raises(ValueError, match=r"torch cannot name a task 'x\.y'"):
        read_courses([train], [train], "de,x.y", COUNTS)
    train.write_text(train.read_text().replace('"a", "lang": "nl"', '"", "lang": "nl"'))
    train.write_text(train.read_text().replace('"b", "lang": "nl"', '"", "lang": "nl"'))
    test = manifest(tmp_path / "test.jsonl", ["de", "nl"], 2)
    with pytest.raises(ValueError, match="task 'nl' has neither texts nor labels to learn"):
        read_courses([train], [test], "de,nl", COUNTS)


def test_a_class_that_is_left_over_is_told():
    nine = [p for p in digits(8)[:200] if p.label != "9"]
    course = pairs(Gallery("digits", nine, nine), 2)
    assert course.names[-1] == "6-7"
    assert course.notes == ["digits: class '8' is left over from pairs, and left out"]
    assert pairs(Gallery("digits", digits(8)[:200], nine + digits(8)[:200]), 2).notes == []


def test_manifests_make_a_sequence_of_languages_in_the_order_wanted(tmp_path):
    train = manifest(tmp_path / "train.jsonl", ["de", "nl", "fr"])
    test = manifest(tmp_path / "test.jsonl", ["de", "nl"], 2)
    (course,) = read_courses([train], [test], "nl,de", COUNTS)
    assert course.names == ["nl", "de"] and course.modality == "speech"
    assert {u.lang for u in course.tasks["de"].train} == {"de"}
    assert [len(problem.test) for problem in course.tasks.values()] == [2, 2]
    assert (len(course.items("nl", 0)), len(course.items("de", 0))) == (4, 2)
    with pytest.raises(ValueError, match="no test utterance of 'fr'"):
        read_courses([train], [test], "nl,fr", COUNTS)
    with pytest.raises(ValueError, match="languages: a sequence takes two tasks or more, not 1"):
        read_courses([train], [test], "nl", COUNTS)


def test_labels_are_shuffled_and_inputs_are_not(tmp_path):
    pictures = from_arrays(np.zeros((50, 2, 2), np.uint8), np.arange(50) % 5, "made")
    found = shuffled(pictures, seed=1)
    assert [p.id for p in found] == [p.id for p in pictures]
    assert sorted(p.label for p in found) == sorted(p.label for p in pictures)
    assert sum(a.label == b.label for a, b in zip(found, pictures, strict=True)) < 25
    train = manifest(tmp_path / "train.jsonl", ["de", "nl"], 8)
    (course,) = read_courses([train], [], "", COUNTS)
    spoken = course.tasks["de"].train
    mixed = shuffled(spoken, seed=0)
    assert [u.audio for u in mixed] == [u.audio for u in spoken]
    assert sorted(u.text for u in mixed) == sorted(u.text for u in spoken)
    assert [u.text for u in mixed] != [u.text for u in spoken]


def test_tests_are_capped_always_alike():
    one, two = (cap(images(2, small=True)[0], 5) for _ in range(2))
    for task in one.names:
        ids = [[p.id for p in course.tasks[task].test] for course in (one, two)]
        assert len(ids[0]) == 5 and ids[0] == ids[1]
