#!/usr/bin/env bash
# Makes the sample clips beside this script from texts.json.
# Needed only to change them: the results are committed.  Wants espeak-ng, flite, ffmpeg and python3.
# -bitexact keeps encoder names and dates out, so the same tools give the same bytes again.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

text() { # text FILE: the words that FILE speaks
  python3 -c 'import json, sys; print(json.load(open("texts.json", encoding="utf-8"))[sys.argv[1]]["text"])' "$1"
}

espeak() { espeak-ng -v "$1" -s "$2" -w "$3" "$4"; }      # espeak VOICE WORDS_PER_MINUTE WAV TEXT
speak() { flite -voice "$1" -t "$3" -o "$2"; }            # speak VOICE WAV TEXT
encode() { ffmpeg -nostdin -hide_banner -loglevel error -y "${@:1:$#-1}" \
  -map_metadata -1 -threads 1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact "${@: -1}"; }

# Plain clips: one format each, so that every decoder gets work.
espeak en-gb 145 "$work/memo.wav" "$(text memo.wav)"
encode -i "$work/memo.wav" -ar 16000 -ac 1 -c:a pcm_s16le memo.wav

speak slt "$work/meeting.wav" "$(text meeting.flac)"
encode -i "$work/meeting.wav" -ar 16000 -ac 1 -c:a flac meeting.flac

speak rms "$work/phone.wav" "$(text phone-call.wav)"
encode -i "$work/phone.wav" -ar 8000 -ac 1 -c:a pcm_mulaw phone-call.wav

speak rms "$work/interview.wav" "$(text interview.mp3)"
encode -i "$work/interview.wav" -ar 22050 -ac 1 -c:a libmp3lame -b:a 48k interview.mp3

espeak de 130 "$work/note.wav" "$(text voice-note.m4a)"
encode -i "$work/note.wav" -ar 44100 -ac 1 -c:a aac -b:a 80k voice-note.m4a

espeak es 145 "$work/greeting.wav" "$(text greeting.opus)"
encode -i "$work/greeting.wav" -ar 48000 -ac 1 -c:a libopus -b:a 32k greeting.opus

# Stereo with the voice to the left and a quieter copy to the right, as a real desk microphone gives it.
speak slt "$work/studio.wav" "$(text studio.flac)"
encode -i "$work/studio.wav" -af "pan=stereo|c0=c0|c1=0.6*c0" -ar 48000 -sample_fmt s16 -c:a flac studio.flac

# A film: a still grey picture, and the sound in AAC.
speak rms "$work/presentation.wav" "$(text presentation.mp4)"
encode -f lavfi -i "color=gray:size=64x48:rate=5" -i "$work/presentation.wav" -shortest \
  -c:v mpeg4 -b:v 8k -ar 48000 -ac 2 -c:a aac -b:a 64k presentation.mp4

# A long one with a pause in the middle, after "break.", to try the cutting at silences.
lecture=$(text lecture.ogg)
speak slt "$work/first.wav" "${lecture%%Welcome back.*}"
speak slt "$work/second.wav" "Welcome back.${lecture#*Welcome back.}"
encode -i "$work/first.wav" -i "$work/second.wav" \
  -filter_complex "[0]apad=pad_dur=4[a];[a][1]concat=n=2:v=0:a=1" \
  -ar 24000 -ac 1 -c:a libvorbis -q:a 2 -serial_offset 1 lecture.ogg

# Nothing to say: both must give an empty transcript.
encode -f lavfi -i "anullsrc=r=16000:cl=mono" -t 5 -c:a flac silence.flac
encode -f lavfi -i "sine=frequency=440:sample_rate=16000:duration=4" -af "volume=0.3" -ac 1 -c:a flac tone.flac

# No recording at all, only the name of one.
printf 'This is a shopping list, not a recording.\nbread\nbutter\ncoffee\n' >broken.mp3
