//! Replays the corpus of the fuzzers, and mutations of it that are the same each time: what a clean machine can do without
//! building fuzzers.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::fuzz_targets::TARGETS;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
/// A target is done after so many inputs, or when this much time is up; slow machines try fewer. `KNARR_FUZZ_SECONDS` gives
/// each target that much time instead, and other inputs each time.
const ROUNDS: u64 = 3_000;
const TIME: Duration = Duration::from_secs(2);
/// One input may take this long, on a machine that does other things as well.
const INPUT_TIME: Duration = Duration::from_secs(20);

/// A small generator that always gives the same numbers (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or_default() % below.max(1)
    }
}

/// Pieces that decoders treat in a special way.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"\\",
    b"null",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"$patch",
    b"$setElementOrder/containers",
    b"&a ",
    b"*a",
    b"- ",
    b"\n",
    b"<<: ",
    b"!!",
    b"..",
    b"/",
    b"%2f",
    b"~1",
    b"\\u0000",
    b"\\ud800",
    b"in (",
    b"!=",
    b"name",
    b"k8s\0",
    b"\x0a\xff\xff\xff\xff\x0f",
];

fn mutate(seed: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.next(4) {
        let at = numbers.next(bytes.len() + 1);
        let end = (at + 1 + numbers.next(16)).min(bytes.len());
        match numbers.next(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << numbers.next(8),
            1 => drop(bytes.drain(at.min(end)..end)),
            2 => {
                let word = WORDS[numbers.next(WORDS.len())];
                bytes.splice(at..at, word.iter().copied());
            }
            3 => {
                let piece = bytes[at.min(end)..end].to_vec();
                bytes.splice(at..at, piece.repeat(1 + numbers.next(40)));
            }
            4 => bytes.truncate(at),
            5 => {
                let from = numbers.next(other.len());
                bytes.splice(at.., other[from..].iter().copied());
            }
            _ => bytes.insert(at, numbers.next(256) as u8),
        }
    }
    bytes
}

/// How many inputs, how long, and where the numbers begin.
fn effort() -> (u64, Duration, u64) {
    const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
    match std::env::var("KNARR_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()) {
        Some(seconds) => (u64::MAX, Duration::from_secs(seconds), FIRST ^ rand::random::<u64>()),
        None => (ROUNDS, TIME, FIRST),
    }
}

#[test]
fn no_target_panics_or_runs_away() {
    for (name, target) in TARGETS {
        let directory = Path::new(CORPUS).join(name);
        let mut files: Vec<_> = std::fs::read_dir(&directory)
            .expect("a corpus")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        let seeds: Vec<Vec<u8>> = files.iter().map(|path| std::fs::read(path).expect("a seed")).collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        let (rounds, time, first) = effort();
        let mut numbers = Numbers(first);
        let started = Instant::now();
        let mutations = (0..rounds).map_while(|round| {
            let (seed, other) = (&seeds[numbers.next(seeds.len())], &seeds[numbers.next(seeds.len())]);
            (started.elapsed() < time).then(|| (round, mutate(seed, other, &mut numbers)))
        });
        for (round, input) in seeds.iter().cloned().map(|seed| (0, seed)).chain(mutations) {
            let began = Instant::now();
            let ran = std::panic::catch_unwind(|| target(&input));
            let shown = String::from_utf8_lossy(&input);
            assert!(ran.is_ok(), "{name}, round {round}: {shown:?}");
            assert!(
                began.elapsed() < INPUT_TIME,
                "{name}, round {round}, took {:?}: {shown:?}",
                began.elapsed()
            );
        }
    }
}
