import pytest
from layouts import HZ, bring, same, sound


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        name = "wav.scp" if name == "wav_scp" else name
        (folder / name).write_text("".join(f"{row}\n" for row in rows), "utf-8")


def test_whole_recordings(tmp_path):
    one = sound(tmp_path / "wav" / "one.wav")
    two = sound(tmp_path / "wav" / "a file.flac", 0.4, 8000)
    data = tmp_path / "data" / "train"
    write(
        data,
        wav_scp=["u1 wav/one.wav", f"u2\t{tmp_path}/wav/a file.flac"],
        text=["u1 goede morgen", "u2\tdag"],
        utt2spk=["u1 anna", "u2 bert"],
        utt2lang=["u1 nl", "u2 af"],
        utt2dur=["u1 0.5", "u2 0.4"],
    )
    found = bring("kaldi", data, root=tmp_path)
    assert found.skips == []
    assert found.words("text", "lang", "speaker", "offset") == {
        "u1": ("goede morgen", "nl", "anna", 0),
        "u2": ("dag", "af", "bert", 0),
    }
    assert same(found.utterances["u1"], one) and same(found.utterances["u2"], two, 8000)


def test_segments_are_cuts(tmp_path):
    samples = sound(tmp_path / "talk.wav", 3.0)
    write(
        tmp_path / "data",
        wav_scp=["talk ../talk.wav"],
        segments=["t-1 talk 0.25 1.0", "t-2 talk 1.125 1.75", "t-3 talk 2.5 -1", "t-0 talk 0 0.25"],
        text=["t-1 een", "t-2 twee", "t-3 drie", "t-0 nul"],
        utt2spk=["t-1 anna", "t-2 anna", "t-3 bert"],
    )
    found = bring("kaldi", tmp_path / "data", lang="nl")
    for name, first, last in (
        ("t-1", 0.25, 1),
        ("t-2", 1.125, 1.75),
        ("t-3", 2.5, 3),
        ("t-0", 0, 0.25),
    ):
        assert same(found.utterances[name], samples[round(first * HZ) : round(last * HZ)])
    assert [u.speaker for u in found.utterances.values()] == ["anna", "anna", "bert", "unknown"]


def test_pipes_are_never_run(tmp_path):
    samples = sound(tmp_path / "one.flac")
    marker = tmp_path / "marker"
    write(
        tmp_path / "data",
        wav_scp=[
            f"u1 flac -c -d -s {tmp_path}/one.flac |",
            f"u2 cat '{tmp_path}/one.flac' |",
            f"u3 touch {marker} |",
            f"u4 sox {tmp_path}/one.flac -t wav - speed 1.1 |",
            f"u5 cat {tmp_path}/one.flac; touch {marker} |",
            f"u6 flac -c -d -s --skip=100 {tmp_path}/one.flac |",
            "u7 cat 'unclosed |",
            "u8 raw_wav.ark:1234",
            f"u9 cat $(touch {marker}) |",
        ],
        text=[f"u{n} dag {'abcdefghi'[n - 1]}" for n in range(1, 10)],
    )
    found = bring("kaldi", tmp_path / "data", lang="nl")
    assert set(found.utterances) == {"u1", "u2"}
    assert same(found.utterances["u1"], samples)
    assert found.kinds == {
        **{f"wav.scp:{n}": "pipe" for n in (3, 4, 5, 6, 7, 9)},
        "wav.scp:8": "archive",
    }
    assert f"sox {tmp_path}/one.flac -t wav - speed 1.1 > u4.wav" in found.skips[1].message
    assert not marker.exists()


def test_what_cannot_be_used_is_named(tmp_path):
    sound(tmp_path / "talk.wav", 1.0)
    sound(tmp_path / "phone.wav", 1.0, channels=2)
    write(
        tmp_path / "data",
        wav_scp=["talk ../talk.wav", "phone ../phone.wav", "gone ../gone.wav"],
        segments=[
            "a talk 0.5 0.9",
            "b talk 0.5 1.9",
            "c talk 2 3",
            "d talk 0.9 0.5",
            "e talk x y",
            "f lost 0 1",
            "g gone 0 1",
            "h phone 0 0.5 1",
            "i talk 0.1 0.4",
        ],
        text=[f"{name} woord {name}" for name in "abcdefgh"] + ["i", "z niemand"],
    )
    found = bring("kaldi", tmp_path / "data", lang="nl")
    assert list(found.utterances) == ["a"]
    kinds = ["times", "times", "times", "columns", "missing", "missing", "channel", "text"]
    assert found.kinds == {
        **{f"segments:{n}": kind for n, kind in enumerate(kinds, start=2)},
        "text:10": "missing",
    }
    (channel,) = (skip.message for skip in found.skips if skip.kind == "channel")
    assert "pan=mono|c0=c1" in channel and "channel 1 of 2" in channel
    assert any("--root" in skip.message for skip in found.skips)


def test_a_directory_without_texts(tmp_path):
    sound(tmp_path / "one.wav")
    write(tmp_path / "data", wav_scp=["u1 ../one.wav"])
    with pytest.raises(ValueError, match=r"nothing could be imported \(skipped: text 1, see "):
        bring("kaldi", tmp_path / "data")
    found = bring("kaldi", tmp_path / "data", untranscribed=True)
    assert found.words("text", "lang") == {"u1": ("", "und")}


def test_broken_directories_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no wav\.scp"):
        bring("kaldi", tmp_path)
    write(tmp_path / "data", wav_scp=["u1 a.wav", "u1 b.wav"])
    with pytest.raises(ValueError, match=r"wav.scp:2: 'u1' stands at wav.scp:1 too"):
        bring("kaldi", tmp_path / "data")
    (tmp_path / "data" / "wav.scp").write_bytes("u1 é.wav\n".encode("latin1"))
    with pytest.raises(ValueError, match=r"wav.scp:1: is not UTF-8; .*iconv"):
        bring("kaldi", tmp_path / "data")


def test_the_duration_is_held_against_the_file(tmp_path):
    sound(tmp_path / "one.wav", 1.0)
    stated = {"u1": 1.02, "u2": 2.0, "u3": 0.98, "u4": 0.5}
    write(
        tmp_path / "data",
        wav_scp=[f"{name} ../one.wav" for name in stated],
        text=[f"{name} {name}" for name in stated],
        utt2dur=[f"{name} {seconds}" for name, seconds in stated.items()],
    )
    found = bring("kaldi", tmp_path / "data", lang="nl")
    assert found.words("seconds") == {"u1": (1.0,), "u3": (1.0,), "u4": (0.5,)}
    assert found.kinds == {"wav.scp:2": "times"}
