import multiprocessing
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from mtl.data.audio import AudioError, audio_seconds, open_audio, read_audio, read_frames


def tone(hz, rate, seconds=0.5):
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def wav_header(rate=16000, channels=1, size=200):
    format_ = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    riff = b"WAVEfmt " + struct.pack("<I", 16) + format_ + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", min(36 + size, 2**32 - 1)) + riff


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.fixture
def sound(tmp_path):
    def write(name, samples, rate=16000, **options):
        soundfile.write(tmp_path / name, samples, rate, **options)
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_reads_what_was_written(sound, name):
    samples = tone(440, 16000)
    read = read_audio(sound(name, samples), 16000)
    assert read.dtype == np.float32 and read.shape == samples.shape
    assert np.abs(read - samples).max() < 1e-4  # 16 bits


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_reads_lossy_formats(sound, name):
    samples = tone(440, 16000)
    read = read_audio(sound(name, samples), 16000)
    assert read.shape == samples.shape
    assert np.corrcoef(read, samples)[0, 1] > 0.99


def test_stereo_at_44100_equals_an_independent_resampling(sound):
    left, right = tone(300, 44100), tone(1000, 44100)
    read = read_audio(sound("a.wav", np.stack([left, right], 1), 44100, subtype="FLOAT"), 16000)
    reference = resample_poly((left + right) / 2, 160, 441)
    assert read.shape == (8000,)
    assert np.abs(read - reference)[200:-200].max() < 5e-3


# 44101 Hz shares no factor with 16000: exact filters would take gigabytes.
@pytest.mark.parametrize("rate", [8000, 11025, 44101, 48000])
def test_resampling_keeps_the_frequency(sound, rate):
    read = read_audio(sound("a.wav", tone(1000, rate, 1.0), rate), 16000)
    assert len(read) == pytest.approx(16000, abs=1)
    assert np.abs(np.fft.rfft(read[:16000])).argmax() == 1000
    assert np.abs(read[1000:-1000]).max() == pytest.approx(0.4, rel=0.02)


def test_many_channels_are_averaged_in_blocks(sound, monkeypatch):
    monkeypatch.setattr("mtl.data.audio._BLOCK", 3000)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (5000, 7)).astype(np.float32)
    read = read_audio(sound("a.wav", samples, subtype="FLOAT"), 16000)
    assert np.allclose(read, samples.mean(1), atol=1e-6)


def test_cuts_by_offset_and_seconds(sound):
    samples = tone(440, 16000, 1.0)
    path = sound("a.wav", samples, subtype="FLOAT")
    assert np.array_equal(read_audio(path, 16000, 0.25, 0.5), samples[4000:12000])
    assert np.array_equal(read_audio(path, 16000, 0.75), samples[12000:])
    assert len(read_audio(path, 16000, 0.5, 0.505)) == 8000  # a rounded duration
    for offset, seconds in [(1.0, None), (0.5, 0.8), (-0.1, None), (0, 0), (float("nan"), 1)]:
        with pytest.raises(AudioError, match=r"is 1\.000 s long"):
            read_audio(path, 16000, offset, seconds)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.au", "a.mp3", "a.ogg", "a.opus"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated_files_are_refused(sound, name, share):
    options = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 40000).astype(np.float32)
    path = sound(name, noise, **options)
    assert len(read_audio(path, 16000)) == 40000
    with pytest.raises(AudioError, match=rf"{name}: .*copy it again"):
        read_audio(cut(path, share), 16000)


def test_a_header_written_into_a_pipe_is_accepted(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav_header(size=0xFFFFFFFF) + bytes(2 * 16000))
    assert len(read_audio(path, 16000)) == 16000


def test_unusable_samples_are_refused(sound):
    for bad in (np.nan, np.inf):
        samples = tone(440, 16000)
        samples[77] = bad
        with pytest.raises(AudioError, match=r"a\.wav: .*NaN or infinite"):
            read_audio(sound("a.wav", samples, subtype="FLOAT"), 16000)
    empty = sound("empty.wav", np.zeros(0))
    for use in (audio_seconds, lambda path: read_audio(path, 16000)):
        with pytest.raises(AudioError, match=r"empty\.wav: holds no samples"):
            use(empty)


def test_unreadable_files_come_with_a_command(tmp_path):
    path = tmp_path / "my voice.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(500))
    command = r"\.m4a files are not read here, convert it: ffmpeg -i '.*voice\.m4a' -vn -ac 1 "
    with pytest.raises(AudioError, match=rf"{command}'.*my voice\.flac'$"):
        read_audio(path, 16000)
    path.with_suffix(".flac").touch()  # that it may not overwrite
    with pytest.raises(AudioError, match=rf"{command}'.*my voice\.mono\.flac'$"):
        read_audio(path, 16000)
    (tmp_path / "a.raw").write_bytes(bytes(500))
    with pytest.raises(AudioError, match="ffmpeg"):
        audio_seconds(tmp_path / "a.raw")
    for name in ("a.wav", "a.mp3"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(AudioError, match=rf"{name}: is an empty file; copy it again, or leave"):
            audio_seconds(tmp_path / name)
    for missing in (tmp_path / "none.wav", tmp_path, "nul\0.wav", 999 * "long"):
        with pytest.raises(AudioError, match="no such file"):
            read_audio(missing, 16000)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (wav_header(rate=50), "claims 50 Hz"),
        (wav_header(rate=0), "ffmpeg"),
        (wav_header(rate=10**9), "claims 1000000000 Hz"),
        (wav_header(channels=193, size=193 * 2), "claims 193 channels"),
    ],
)
def test_absurd_headers_are_refused(tmp_path, header, message):
    path = tmp_path / "a.wav"
    path.write_bytes(header + bytes(400))
    with pytest.raises(AudioError, match=message):
        audio_seconds(path)


@pytest.mark.parametrize("samples", [0, 2**36 - 1, 20 * 3600 * 16000])
def test_a_false_length_takes_no_memory(sound, samples):
    """The last, 20 hours, is believable: reading must stop where the sound does."""
    path = sound("a.flac", tone(440, 16000))
    data = bytearray(path.read_bytes())
    info = int.from_bytes(data[18:26], "big")  # STREAMINFO: 28 bits of format, 36 of length
    data[18:26] = (info >> 36 << 36 | samples).to_bytes(8, "big")
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(AudioError, match=r"a\.flac"):
        read_audio(path, 16000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # bytes; 20 hours would be 4.6e9


def test_audio_seconds_reads_the_header(sound):
    assert audio_seconds(sound("a.flac", tone(440, 8000, 0.75), 8000)) == 0.75


@pytest.fixture
def frames():
    return np.random.default_rng(0).normal(size=(9, 13))


def test_frames_from_npy_and_npz(tmp_path, frames):
    np.save(tmp_path / "a.npy", np.asfortranarray(frames))
    np.savez_compressed(tmp_path / "a.npz", x=frames, y=frames[:4])
    np.savez(tmp_path / "one.npz", x=frames)
    wanted = frames.astype(np.float32)
    for read in (
        read_frames(tmp_path / "a.npy"),
        read_frames(tmp_path / "a.npz", "x"),
        read_frames(tmp_path / "one.npz"),
    ):
        assert read.dtype == np.float32 and read.flags.writeable and np.array_equal(read, wanted)
    assert np.array_equal(read_frames(tmp_path / "a.npz", "y"), wanted[:4])


def test_a_rewritten_archive_is_read_anew(tmp_path, frames):
    for scale in (1, 2):
        np.savez(tmp_path / "new.npz", x=scale * frames)
        (tmp_path / "new.npz").replace(tmp_path / "a.npz")
        assert np.allclose(read_frames(tmp_path / "a.npz", "x"), scale * frames)


def _sum_of(path, key):
    return float(read_frames(path, key).sum())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_workers_read_one_archive(tmp_path):
    """Shared file positions would mix up the arrays."""
    arrays = {f"k{i}": np.full((400, 13), float(i)) for i in range(60)}
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    read_frames(path, "k0")  # opened before the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sums = pool.starmap(_sum_of, [(path, key) for key in arrays], chunksize=1)
    assert sums == [float(a.sum()) for a in arrays.values()]


def test_unusable_frames_are_refused(tmp_path, frames):
    def refuse(message, name, key=None):
        with pytest.raises(AudioError, match=message) as error:
            read_frames(tmp_path / name, key)
        assert name in str(error.value)

    np.savez(tmp_path / "a.npz", x=frames, y=frames[0], z=frames * np.nan)
    refuse("no array 'q' among its 3, such as x, y, z", "a.npz", "q")
    refuse("no array None", "a.npz")
    refuse(r"shape \(13,\)", "a.npz", "y")
    refuse("NaN", "a.npz", "z")
    refuse("no such file", "none.npz", "x")
    np.save(tmp_path / "o.npy", np.array([[{}]]), allow_pickle=True)
    np.savez(tmp_path / "o.npz", x=np.array([[{}]]))
    refuse("without Python objects", "o.npy")
    refuse("without Python objects", "o.npz", "x")
    np.save(tmp_path / "empty.npy", frames[:0])
    refuse(r"shape \(0, 13\)", "empty.npy")
    np.save(tmp_path / "cut.npy", frames)
    np.savez(tmp_path / "cut.npz", x=frames)
    for name in ("cut.npy", "cut.npz"):
        refuse("cannot be read", cut(tmp_path / name, 0.6).name, "x")
    data = (tmp_path / "o.npy").read_bytes()
    (tmp_path / "text.npz").write_bytes(b"hello")
    (tmp_path / "swapped.npy").write_bytes((tmp_path / "a.npz").read_bytes())
    (tmp_path / "swapped.npz").write_bytes(data)
    for name in ("text.npz", "swapped.npy", "swapped.npz"):
        refuse("cannot be read", name, "x")
    np.save(tmp_path / "large.npy", np.full((2, 2), 1e300))
    refuse("NaN or infinite", "large.npy")  # in 32 bits


@pytest.mark.parametrize(
    ("name", "place", "byte"),
    [
        ("a.npy", b"(13, 4)", b"(13, 4 "),  # tokenize.TokenError
        ("a.npz", b"PK\x01\x02", b"PK\x01\x02\x14\x03\x6d"),  # NotImplementedError: version 10.9
        ("a.npz", b"PK\x05\x06", b"PK\x05\x07"),  # left open, as a warning told
    ],
)
def test_strangely_damaged_frames_are_refused(name, place, byte, tmp_path):
    """What numpy and zipfile raise for these is no error of reading."""
    (np.save if name == "a.npy" else np.savez)(tmp_path / name, np.ones((13, 4)))
    data = bytearray((tmp_path / name).read_bytes())
    at = data.rindex(place)
    data[at : at + len(byte)] = byte
    (tmp_path / name).write_bytes(data)
    with pytest.raises(AudioError, match=rf"{name}: cannot be read as numpy arrays"):
        read_frames(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.opus"])
def test_parts_of_a_file_are_those_of_the_whole(sound, name):
    options = {"format": "OGG", "subtype": "OPUS"} if name == "a.opus" else {}
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (48000, 2)).astype(np.float32)
    path = sound(name, noise, **options)
    whole = read_audio(path, 16000)
    for offset in (0.0, 1.234, 2.5):
        with open_audio(path) as file:
            assert (file.hz, file.seconds) == (16000, 3.0)
            part = file.cut(16000, offset, 0.4)
            start = round(offset * 16000)
            assert np.allclose(part, whole[start : start + 6400], atol=1e-6)
            with pytest.raises(RuntimeError, match="was read; open it again"):
                file.cut(16000)
    with open_audio(path) as file:
        blocks = list(file.blocks(0.7))
    assert np.allclose(np.concatenate(blocks), whole, atol=1e-6)
    assert [len(block) for block in blocks] == [11200] * 4 + [3200]
    with pytest.raises(AudioError, match="lies outside"), open_audio(path) as file:
        file.cut(16000, 3.0)


def test_resampled_parts_fit_together(sound):
    """Only what lies within a filter's length of a cut differs, and no length is lost."""
    rng = np.random.default_rng(0)
    samples = np.cumsum(rng.normal(size=44100 * 3))
    samples = (samples - np.linspace(0, samples[-1], len(samples))) / np.abs(samples).max() / 2
    path = sound("a.wav", samples, 44100, subtype="FLOAT")
    whole = read_audio(path, 16000)
    parts = [read_audio(path, 16000, offset, 1.0) for offset in (0.0, 1.0, 2.0)]
    assert [len(part) for part in parts] == [16000] * 3 and len(whole) == 48000
    difference = np.abs(np.concatenate(parts) - whole).reshape(3, -1)
    assert difference[:, 20:-20].max() < 1e-5


def test_blocks_of_a_broken_file_are_refused(sound):
    samples = tone(440, 16000, 2.0)
    samples[-5] = np.nan
    path = sound("nan.wav", samples, subtype="FLOAT")
    with open_audio(path) as file, pytest.raises(AudioError, match="NaN or infinite"):
        list(file.blocks())
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 40000).astype(np.float32)
    for name in ("a.mp3", "a.flac"):
        path = cut(sound(name, noise), 0.6)
        with pytest.raises(AudioError, match="copy it again"), open_audio(path) as file:
            list(file.blocks())
