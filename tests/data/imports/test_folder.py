import pytest
from layouts import bring, same, sound


def test_a_text_beside_each_file(tmp_path):
    corpus = tmp_path / "corpus"
    samples = {}
    for name in ("nl/anna/1", "nl/bert/1", "cy/carys/1"):
        samples[name] = sound(corpus / f"{name}.wav")
        (corpus / f"{name}.txt").write_text(f" dit is\n{name[3:7]} \n", "utf-8-sig")
    (corpus / "nl" / ".hidden.wav").write_text("")
    found = bring("folder", corpus, folders=("lang", "speaker"))
    assert found.skips == []
    assert found.words("text", "lang", "speaker") == {
        "nl/anna/1": ("dit is anna", "nl", "anna"),
        "nl/bert/1": ("dit is bert", "nl", "bert"),
        "cy/carys/1": ("dit is cary", "cy", "carys"),
    }
    assert all(same(found.utterances[name], s) for name, s in samples.items())
    named = bring("folder", corpus, folders=("-", "speaker"), lang="xx")
    assert {u.lang for u in named.utterances.values()} == {"xx"}


def test_links_to_folders_are_followed_once(tmp_path):
    samples = sound(tmp_path / "disk" / "1.wav")
    (tmp_path / "disk" / "1.txt").write_text("een")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "anna").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "round").symlink_to(tmp_path / "corpus")
    found = bring("folder", tmp_path / "corpus", lang="nl", folders=("speaker",))
    assert found.words("speaker") == {"anna/1": ("anna",)}
    assert same(found.utterances["anna/1"], samples)


def test_classes_by_folder_need_no_text(tmp_path):
    for name in ("yes/1", "no/1"):
        sound(tmp_path / "c" / f"{name}.wav")
    found = bring("folder", tmp_path / "c", folders=("label",), untranscribed=True, lang="en")
    assert found.words("label") == {"yes/1": ("yes",), "no/1": ("no",)}


def test_ljspeech(tmp_path):
    corpus = tmp_path / "LJSpeech-1.1"
    samples = [sound(corpus / "wavs" / f"LJ001-000{n}.wav", 1.0) for n in (1, 2)]
    (corpus / "metadata.csv").write_text(
        'LJ001-0001|in 1455, "so"|in fourteen fifty-five, "so"\nLJ001-0002|plain "text|plain "text\n'
    )
    found = bring("folder", corpus, lang="en", folders=("-",))
    assert found.words("text") == {
        "wavs/LJ001-0001": ('in fourteen fifty-five, "so"',),
        "wavs/LJ001-0002": ('plain "text',),
    }
    assert all(same(u, s) for u, s in zip(found.utterances.values(), samples, strict=True))
    raw = bring("folder", corpus, lang="en", columns={"text": "2"})
    assert raw.utterances["wavs/LJ001-0001"].text == 'in 1455, "so"'


def test_librispeech(tmp_path):
    chapter = tmp_path / "dev-clean" / "84" / "121"
    samples = [sound(chapter / f"84-121-000{n}.flac") for n in (0, 1)]
    (chapter / "84-121.trans.txt").write_text("84-121-0000 GO DO\n84-121-0001 YOU HEAR\n")
    found = bring("folder", tmp_path / "dev-clean", lang="en", folders=("speaker", "-"))
    assert found.skips == []
    assert [(u.text, u.speaker) for u in found.utterances.values()] == [
        ("GO DO", "84"),
        ("YOU HEAR", "84"),
    ]
    assert all(same(u, s) for u, s in zip(found.utterances.values(), samples, strict=True))


def test_a_transcript_file_with_columns(tmp_path):
    samples = sound(tmp_path / "audio" / "deep" / "één.wav")
    sound(tmp_path / "audio" / "not listed.wav")
    table = tmp_path / "list.tsv"
    table.write_text("anna\tdeep/één.wav\tgoede | morgen\n", "utf-8")
    columns = {"speaker": "1", "audio": "2", "text": "3"}
    found = bring("folder", table, root=tmp_path / "audio", columns=columns, lang="nl")
    assert found.words("text", "speaker") == {"deep/één": ("goede | morgen", "anna")}
    assert same(found.utterances["deep/één"], samples) and found.skips == []
    with pytest.raises(ValueError, match=r"text=4: .* has columns 1 to 3"):
        bring("folder", table, root=tmp_path / "audio", columns={"text": "4"})


def test_other_formats_name_the_command_that_converts(tmp_path):
    corpus = tmp_path / "corpus"
    sound(corpus / "a.wav")
    (corpus / "a.txt").write_text("een")
    (corpus / "my b.m4a").write_bytes(b"\0\0\0\x20ftypM4A " * 9)
    (corpus / "my b.txt").write_text("twee")
    found = bring("folder", corpus, lang="nl")
    assert found.kinds == {"my b.m4a": "format"}
    command = f"ffmpeg -i '{corpus}/my b.m4a' '{corpus}/my b.flac'"
    assert found.skips[0].message.endswith(command)
    samples = sound(corpus / "my b.flac")  # as that command would write
    found = bring("folder", corpus, lang="nl")
    assert found.skips == [] and same(found.utterances["my b"], samples)
    (corpus / "metadata.csv").write_text("a|een\nmy b.m4a|twee\n")
    assert list(bring("folder", corpus, lang="nl").utterances) == ["a", "my b"]


def test_what_cannot_be_used_is_named(tmp_path):
    corpus = tmp_path / "corpus"
    for name in ("good", "silent", "latin", "empty"):
        sound(corpus / f"{name}.wav")
    (corpus / "good.txt").write_text("goed")
    (corpus / "latin.txt").write_bytes("één".encode("latin1"))
    (corpus / "empty.txt").write_text(" \n")
    (corpus / "lost.txt").write_text("geen geluid")
    (corpus / "broken.wav").write_text("no sound")
    (corpus / "broken.txt").write_text("kapot")
    found = bring("folder", corpus, lang="nl")
    assert list(found.utterances) == ["good"]
    assert found.kinds == {
        "silent.wav": "text",
        "latin.wav": "text",
        "empty.wav": "text",
        "lost.txt": "missing",
        "broken.wav": "audio",
    }
    found = bring("folder", corpus, lang="nl", folders=(), untranscribed=True)
    assert set(found.utterances) == {"good", "silent", "empty"}
    with pytest.raises(ValueError, match=r"skipped: folders \d"):
        bring("folder", corpus, folders=("lang",))


def test_what_a_transcript_file_gets_wrong_is_named(tmp_path):
    corpus = tmp_path / "corpus"
    for name in ("a/1", "b/1", "a/2", "a/3"):
        sound(corpus / f"{name}.wav")
    rows = ["a/1|een", "1|dubbel", "9|weg", "zonder", "2.wav|twee", "a/2|nog eens", "b/1|"]
    (corpus / "metadata.csv").write_text("\n".join(rows))
    found = bring("folder", corpus, lang="nl")
    assert set(found.utterances) == {"a/1", "a/2"}
    assert found.kinds == {
        "metadata.csv:2": "ambiguous",
        "metadata.csv:3": "missing",
        "metadata.csv:4": "columns",
        "metadata.csv:6": "id",
        "metadata.csv:7": "text",
        "a/3.wav": "text",
    }


def test_folders_without_audio_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="holds no audio files"):
        bring("folder", tmp_path)
    with pytest.raises(ValueError, match="no such folder"):
        bring("folder", tmp_path / "none")


def test_a_recording_is_neither_folder_nor_list(tmp_path):
    sound(tmp_path / "zero.wav")
    (tmp_path / "list").write_bytes(b"a\0b")
    for name in ("zero.wav", "list"):
        with pytest.raises(ValueError, match=f"{name}: is neither a folder nor a text file"):
            bring("folder", tmp_path / name)


def test_columns_need_a_transcript_file(tmp_path):
    sound(tmp_path / "c" / "1.wav")
    (tmp_path / "c" / "1.txt").write_text("een")
    with pytest.raises(ValueError, match=r"--columns text=2: .* holds no transcript file"):
        bring("folder", tmp_path / "c", columns={"text": "2"})
