"""Every format that people record in, made here and read back: by our readers, in this process."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]  # it has none
from faster_whisper import audio as faster_whisper_audio  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

from daemon.decode import decoding, pydub_reader, sniff
from daemon.decode.decoding import Job, Reading, Result
from daemon.decode.pcm import resampled
from daemon.decode.pydub_reader import PydubTrack
from daemon.decode.settings import DecodeLimits, DecodeSettings, SpeechThresholds
from daemon.decode.source import Pulse
from daemon.errors import EmptyRecording, RecordingTooLarge, UnreadableRecording

DATA = Path(__file__).parent.parent / "data"
RATE_HZ = 22_050
SECONDS = 4.0

Samples = npt.NDArray[np.int16]


def chirp(rate_hz: int = RATE_HZ, seconds: float = SECONDS, channels: int = 1) -> npt.NDArray[np.float32]:
    """A tone rising from 100 to 1500 Hz: any shift or stretch of time shows. Shape (n, channels)."""
    t = np.arange(int(rate_hz * seconds)) / rate_hz
    tone = 0.5 * np.sin(2 * np.pi * (100 + 700 / seconds * t) * t)
    return np.repeat(tone[:, None], channels, axis=1).astype(np.float32)


def decode(path: Path, limits: DecodeLimits | None = None) -> tuple[Result, Samples]:
    """What the decode process would make of *path*: its result and its spool file."""
    settings = DecodeSettings(limits or DecodeLimits(), SpeechThresholds())
    recording_fd = os.open(path, os.O_RDONLY)
    try:
        with tempfile.TemporaryFile() as spool:
            job = Job(recording_fd, spool.fileno(), path.suffix.removeprefix("."))
            result = decoding.decode(job, settings, Pulse(lambda _decoded_s: None))
            spool.seek(0)
            return result, np.frombuffer(spool.read(), np.int16)
    finally:
        os.close(recording_fd)


def likeness(samples: Samples, within_s: float = 0.15) -> float:
    """How well the middle second of *samples* fits the chirp where it fits best, near its place; 1.0 is perfect.

    Encoders shift by some milliseconds, and files do not always say by how much.
    """
    start = len(samples) // 2 - 8_000
    part = samples[start : start + 16_000].astype(np.float64)
    expected = chirp(16_000)[:, 0].astype(np.float64)
    reach = int(within_s * 16_000)
    first = max(0, start - reach)
    near = expected[first : start + reach + 16_000]
    size = 2 * len(near)
    products = np.fft.irfft(np.fft.rfft(near, size) * np.conj(np.fft.rfft(part, size)), size)[: len(near) - 15_999]
    sums = np.concatenate(([0.0], np.cumsum(near**2)))
    energies = sums[16_000:] - sums[:-16_000]
    return float(np.max(products / np.sqrt(energies * np.sum(part**2))))


def writer(path: Path) -> Any:
    """A container to write to; untyped, as PyAV's types leave much of the writing side open."""
    return av.open(str(path), "w")


def encoded(path: Path, codec: str, rate_hz: int = RATE_HZ) -> Path:
    """The chirp in the container that the suffix of *path* names."""
    tone = (chirp(rate_hz) * 32767).astype(np.int16)
    with writer(path) as container:
        stream = container.add_stream(codec, rate=rate_hz)
        stream.layout, stream.bit_rate = "mono", 64_000
        converter = av.AudioResampler(stream.format.name, "mono", rate_hz, frame_size=stream.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(tone.reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.time_base, frame.pts = rate_hz, Fraction(1, rate_hz), 0
        for portion in (*converter.resample(frame), *converter.resample(None)):
            container.mux(stream.encode(portion))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "format_name", "subtype"),
    [
        ("a.wav", "WAV", "PCM_U8"), ("a.wav", "WAV", "PCM_16"), ("a.wav", "WAV", "PCM_24"), ("a.wav", "WAV", "PCM_32"),
        ("a.wav", "WAV", "FLOAT"), ("a.wav", "WAV", "DOUBLE"), ("a.wav", "WAV", "ALAW"), ("a.wav", "WAV", "ULAW"),
        ("a.wav", "WAV", "IMA_ADPCM"), ("a.wav", "WAV", "MS_ADPCM"), ("a.wav", "WAV", "GSM610"),
        ("a.wav", "RF64", "PCM_16"), ("a.wav", "WAVEX", "PCM_24"), ("a.w64", "W64", "PCM_16"),
        ("a.flac", "FLAC", "PCM_16"), ("a.flac", "FLAC", "PCM_24"), ("a.ogg", "OGG", "VORBIS"),
        ("a.mp3", "MP3", "MPEG_LAYER_III"), ("a.aiff", "AIFF", "PCM_16"), ("a.au", "AU", "PCM_16"),
        ("a.caf", "CAF", "ALAC_16"), ("a.sph", "NIST", "PCM_16"),
    ],
)  # fmt: skip
def test_formats_of_libsndfile_are_read(tmp_path: Path, name: str, format_name: str, subtype: str) -> None:
    """The right length and the right sound come out, whatever the samples were stored as."""
    soundfile.write(tmp_path / name, chirp(), RATE_HZ, format=format_name, subtype=subtype)
    result, samples = decode(tmp_path / name)
    assert result.reading.decoded_s == pytest.approx(SECONDS, abs=0.1)
    assert result.reading.sample_rate_hz == RATE_HZ
    assert not result.reading.short
    assert likeness(samples) > 0.99


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz"),
    [
        ("a.m4a", "aac", RATE_HZ), ("a.m4a", "alac", RATE_HZ), ("a.aac", "aac", RATE_HZ), ("a.wma", "wmav2", RATE_HZ),
        ("a.mp4", "aac", 48_000), ("a.mov", "aac", RATE_HZ), ("a.mkv", "aac", RATE_HZ), ("a.webm", "libopus", 48_000),
        ("a.opus", "libopus", 48_000), ("a.avi", "libmp3lame", RATE_HZ), ("a.mpg", "mp2", 44_100),
        ("a.3gp", "aac", 16_000), ("a.wmv", "wmav2", RATE_HZ), ("a.ts", "aac", RATE_HZ),
        ("a.flv", "libmp3lame", RATE_HZ),
        ("a.amr", "libopencore_amrnb", 8_000), ("a.3gp", "libopencore_amrnb", 8_000), ("a.wv", "wavpack", RATE_HZ),
    ],
)  # fmt: skip
def test_formats_of_ffmpeg_are_read(tmp_path: Path, name: str, codec: str, rate_hz: int) -> None:
    """Phones', browsers' and offices' formats give the right length and the right sound."""
    result, samples = decode(encoded(tmp_path / name, codec, rate_hz))
    assert result.reading.reader == "pyav"
    assert result.reading.decoded_s == pytest.approx(SECONDS, abs=0.2)
    assert not result.reading.short
    # AMR is made for voices, not for tones.
    assert likeness(samples) > (0.8 if "amr" in codec else 0.98)


@pytest.mark.parametrize("name", ["memo.wav", "phone-call.wav", "studio.flac", "interview.mp3", "voice-note.m4a",
                                  "greeting.opus", "lecture.ogg", "presentation.mp4"])  # fmt: skip
def test_samples_are_those_that_faster_whisper_hears(name: str) -> None:
    """Equal in number, and equal but for rounding: the words of the model must not depend on our reader."""
    result, samples = decode(DATA / name)
    expected: npt.NDArray[np.float32] = cast(Any, faster_whisper_audio).decode_audio(os.fspath(DATA / name))
    assert len(samples) == len(expected)
    assert np.abs(samples / 32768 - expected).max() < 1e-3
    assert result.spans


def test_stereo_becomes_the_mean_of_its_channels(tmp_path: Path) -> None:
    """What one channel alone says is heard at half its loudness."""
    both = chirp(channels=2)
    both[:, 1] = 0
    soundfile.write(tmp_path / "a.wav", both, RATE_HZ)
    result, samples = decode(tmp_path / "a.wav")
    assert result.reading.channels == 2
    assert likeness(samples) > 0.99
    assert np.abs(samples).max() / 32768 == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("channels", [3, 8, 10])
def test_many_channels_without_a_layout_are_averaged(tmp_path: Path, channels: int) -> None:
    """A field recorder's channels all count the same."""
    tones = np.zeros((int(RATE_HZ * SECONDS), channels), np.float32)
    tones[:, -1] = chirp()[:, 0]
    soundfile.write(tmp_path / "a.wav", tones, RATE_HZ)
    _result, samples = decode(tmp_path / "a.wav")
    assert likeness(samples) > 0.99
    assert np.abs(samples).max() / 32768 == pytest.approx(0.5 / channels, rel=0.05)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_sound_that_starts_late_is_preceded_by_silence(tmp_path: Path, name: str) -> None:
    """Times in a transcript are those that a player shows: a track that starts at 3 s is not moved to 0."""
    path = tmp_path / name
    with writer(path) as container:
        picture = container.add_stream("mpeg4", rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("aac", rate=RATE_HZ)
        sound.layout = "mono"
        for index in range(70):
            image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            image.pts, image.time_base = index, Fraction(1, 10)
            container.mux(picture.encode(image))
        container.mux(picture.encode(None))
        tone = chirp()[:, 0]
        for start in range(0, len(tone) - 1024, 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.time_base = RATE_HZ, Fraction(1, RATE_HZ)
            frame.pts = start + 3 * RATE_HZ
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    result, samples = decode(path)
    assert result.reading.decoded_s == pytest.approx(3 + SECONDS, abs=0.2)
    assert not result.reading.short
    assert not samples[: int(2.8 * 16_000)].any()
    assert likeness(samples[3 * 16_000 :]) > 0.99


def test_a_video_without_sound_is_empty(tmp_path: Path) -> None:
    """The reason says that there is no sound track."""
    with writer(tmp_path / "a.mp4") as container:
        picture = container.add_stream("mpeg4", rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        for _ in range(5):
            image = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(image))
        container.mux(picture.encode(None))
    with pytest.raises(EmptyRecording, match="no sound track"):
        decode(tmp_path / "a.mp4")


@pytest.mark.fault(39, "each format under another name")
def test_a_name_with_the_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    """The content decides: AAC named .wav and WAV named .mp3 are read."""
    encoded(tmp_path / "a.m4a", "aac").rename(tmp_path / "a.wav")
    assert decode(tmp_path / "a.wav")[0].reading.codec == "aac"
    soundfile.write(tmp_path / "b.wav", chirp(), RATE_HZ)
    (tmp_path / "b.wav").rename(tmp_path / "b.mp3")
    assert decode(tmp_path / "b.mp3")[0].reading.codec == "pcm_16"


@pytest.mark.fault(35, "files cut in the middle")
@pytest.mark.parametrize(("format_name", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("AIFF", "PCM_24")])
def test_a_truncated_recording_shows_in_its_durations(tmp_path: Path, format_name: str, subtype: str) -> None:
    """What is there is decoded, and the declared duration stays that of the whole."""
    path = tmp_path / "a"
    soundfile.write(path, chirp(seconds=20), RATE_HZ, format=format_name, subtype=subtype)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    reading = decode(path)[0].reading
    assert reading.short
    assert reading.declared_s == pytest.approx(20)
    assert 5 < reading.decoded_s < 15


@pytest.mark.fault(35, "bytes flipped")
@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mp3", "libmp3lame")])
def test_damage_in_the_middle_costs_only_the_damaged_packets(tmp_path: Path, name: str, codec: str) -> None:
    """Some flipped bytes are counted, and what follows is decoded."""
    path = encoded(tmp_path / name, codec)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = np.random.default_rng(3).bytes(400)
    path.write_bytes(content)
    result, samples = decode(path)
    assert result.reading.n_damaged
    assert result.reading.decoded_s > SECONDS * 0.8
    assert np.abs(samples[-8_000:]).max() > 3_000


@pytest.mark.parametrize("n_bytes", [0, 0xFFFFFFFF])
def test_a_streamed_wav_is_read_to_its_end(tmp_path: Path, n_bytes: int) -> None:
    """Programs that write to a pipe cannot fill in the size; the samples are there all the same."""
    tone = (chirp(16_000)[:, 0] * 32767).astype("<i2").tobytes()
    (tmp_path / "a.wav").write_bytes(wav_header(n_bytes=n_bytes) + tone)
    result, samples = decode(tmp_path / "a.wav")
    assert result.reading.decoded_s == pytest.approx(SECONDS)
    assert likeness(samples) > 0.999


def wav_header(*, rate_hz: int = 16_000, channels: int = 1, n_bytes: int) -> bytes:
    byte_rate, block_align = rate_hz * channels * 2 & 0xFFFFFFFF, channels * 2 & 0xFFFF
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate_hz, byte_rate, block_align, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + n_bytes & 0xFFFFFFFF) + b"WAVE" + form + struct.pack("<4sI", b"data", n_bytes)
    )


def flac_of_zeros(seconds: float, declared: bool) -> bytes:
    """A FLAC of frames that hold one constant each: twelve bytes for eight seconds (RFC 9639, section 9.2.3)."""
    rate_hz, block = 8_000, 65_535
    n_frames = int(seconds * rate_hz / block) + 1
    packed = rate_hz << 44 | 15 << 36 | (n_frames * block if declared else 0)
    info = struct.pack(">HH6xQ16x", block, block, packed)
    frames = [flac_frame(index, block) for index in range(n_frames)]
    return b"fLaC" + bytes([0x80]) + len(info).to_bytes(3, "big") + info + b"".join(frames)


def flac_frame(index: int, block: int) -> bytes:
    head = b"\xff\xf8\x74\x08" + flac_number(index) + struct.pack(">H", block - 1)
    head += bytes([crc(head, 0x07, 8)])
    frame = head + b"\x00\x00\x00"
    return frame + crc(frame, 0x8005, 16).to_bytes(2, "big")


def flac_number(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([0xC0 | value >> 6, 0x80 | value & 0x3F])


def crc(content: bytes, polynomial: int, n_bits: int) -> int:
    value, top = 0, 1 << n_bits - 1
    for byte in content:
        value ^= byte << n_bits - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & 2 * top - 1
    return value


@pytest.mark.fault(38, "a small file of many hours")
@pytest.mark.parametrize("declared", [True, False])
def test_a_small_file_that_claims_hours_stops_at_the_limit(tmp_path: Path, declared: bool) -> None:
    """Some kilobytes of FLAC hold hours of silence: refused by the header if it says so, else while decoding."""
    content = flac_of_zeros(3600, declared)
    assert len(content) < 10_000
    (tmp_path / "a.flac").write_bytes(content)
    with pytest.raises(RecordingTooLarge, match="longer than the limit"):
        decode(tmp_path / "a.flac", DecodeLimits(max_duration_s=600))


@pytest.mark.fault(38, "1 Hz, 2^31 Hz, 65,535 channels")
@pytest.mark.parametrize(
    ("rate_hz", "channels", "reason"),
    [(1, 1, "1 Hz"), (2**31, 1, "2147483648 Hz"), (16_000, 65_535, "65535 channels"), (16_000, 65, "65 channels")],
)
def test_absurd_rates_and_channels_are_refused(tmp_path: Path, rate_hz: int, channels: int, reason: str) -> None:
    """The reason names the number and the limit."""
    header = wav_header(rate_hz=rate_hz, channels=channels, n_bytes=400_000)
    (tmp_path / "a.wav").write_bytes(header + bytes(400_000))
    with pytest.raises(RecordingTooLarge, match=reason):
        decode(tmp_path / "a.wav")


def test_a_file_over_the_limit_on_bytes_is_refused_unread(tmp_path: Path) -> None:
    """A sparse file of a terabyte costs nothing."""
    with open(tmp_path / "a.wav", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(RecordingTooLarge, match=r"1024\.0 GiB"):
        decode(tmp_path / "a.wav")


@pytest.mark.fault(34, "a header without samples")
def test_a_header_without_samples_is_empty(tmp_path: Path) -> None:
    """44 bytes of WAV header, and a file of no bytes, have their own reason."""
    (tmp_path / "a.wav").write_bytes(wav_header(n_bytes=0))
    with pytest.raises(EmptyRecording, match="no audio samples"):
        decode(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(b"")
    with pytest.raises(EmptyRecording, match="0 bytes"):
        decode(tmp_path / "b.wav")


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_unreadable(tmp_path: Path, seed: int) -> None:
    """Random bytes named as a recording give a reason that names the readers."""
    (tmp_path / "a.mp3").write_bytes(np.random.default_rng(seed).bytes(100_000))
    with pytest.raises(UnreadableRecording, match="no reader finds audio"):
        decode(tmp_path / "a.mp3")


@pytest.mark.fault(40, "ffconcat, m3u8 and the like")
def test_a_playlist_never_opens_its_neighbours(tmp_path: Path) -> None:
    """An ffconcat script, as text or with zeros behind, is refused; the file that it names is not transcribed."""
    soundfile.write(tmp_path / "secret.wav", chirp(), RATE_HZ)
    for tail in (b"", bytes(600)):
        (tmp_path / "a.wav").write_bytes(b"ffconcat version 1.0\nfile secret.wav\n" + tail)
        with pytest.raises(UnreadableRecording, match="playlist"):
            decode(tmp_path / "a.wav")


@pytest.mark.fault(40, "a playlist given to FFmpeg itself")
@pytest.mark.parametrize("script", [b"ffconcat version 1.0\nfile secret.wav\n", b"#EXTM3U\n#EXTINF:4,\nsecret.wav\n"])
def test_even_past_the_first_look_ffmpeg_opens_no_playlist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: bytes
) -> None:
    """The list of formats holds alone, should the look at the first bytes miss a playlist."""
    monkeypatch.chdir(tmp_path)

    def sees_nothing(_head: bytes) -> None:
        return None

    monkeypatch.setattr(sniff, "not_a_recording", sees_nothing)
    soundfile.write(tmp_path / "secret.wav", chirp(), RATE_HZ)
    (tmp_path / "a.txt").write_bytes(script)
    with pytest.raises(UnreadableRecording):
        decode(tmp_path / "a.txt")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the last resort is a system ffmpeg, which is not here")
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_the_last_resort_gives_the_same_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int) -> None:
    """Through pydub and ffmpeg, in blocks, comes what the first reader gives."""
    monkeypatch.setattr(pydub_reader, "_BLOCK_S", 3)
    path = tmp_path / "a.flac"
    soundfile.write(path, chirp(seconds=8, channels=channels), RATE_HZ)
    _result, expected = decode(path)
    with open(path, "rb") as file:
        track = PydubTrack(file.fileno(), "flac", DecodeLimits())
        samples = np.frombuffer(b"".join(resampled(track.frames())), np.int16)
    assert len(samples) == len(expected)
    assert np.abs(samples.astype(np.int32) - expected).max() <= 2


def test_a_reading_is_short_only_beyond_both_margins() -> None:
    """Two seconds and one per cent: padding of encoders is no loss."""

    def short(decoded_s: float, declared_s: float | None) -> bool:
        return Reading(int(decoded_s * 16_000), declared_s, 16_000, 1, "x", "x", 0).short

    assert not short(10, None)
    assert not short(8.1, 10)
    assert short(7.9, 10)
    assert not short(995, 1000)
    assert short(985, 1000)
