//! Small changes to known inputs, from a seed.

use fastrand::Rng;

/// Longest input that is made.
const MAX_LEN: usize = 4_096;

/// Makes new inputs of known ones: flips, cuts, splices, and words that mean something.
pub struct Mutator<'a> {
    rng: Rng,
    corpus: &'a [Vec<u8>],
    words: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    /// The same seed makes the same input.
    pub fn new(seed: u64, corpus: &'a [Vec<u8>], words: &'a [&'a str]) -> Self {
        Self { rng: Rng::with_seed(seed), corpus, words }
    }

    /// Another input.
    pub fn input(&mut self) -> Vec<u8> {
        let mut bytes = self.rng.choice(self.corpus).cloned().unwrap_or_default();
        // Mostly one: what has been changed in many places is refused at the first of them.
        for _ in 0..=self.rng.u32(..).trailing_zeros().min(3) {
            self.change(&mut bytes);
        }
        bytes.truncate(MAX_LEN);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.rng.usize(0..=bytes.len());
        let end = (at + self.rng.usize(0..=16)).min(bytes.len());
        match self.rng.u8(0..10) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let part = bytes[at..end].to_vec();
                insert(bytes, end, &part);
            }
            3 => {
                let byte = self.rng.u8(..);
                insert(bytes, at, &[byte]);
            }
            4..=6 => {
                let word = self.rng.choice(self.words).copied().unwrap_or_default();
                insert(bytes, at, word.as_bytes());
            }
            7 => {
                // From somewhere in this input to somewhere in another.
                let other = self.rng.choice(self.corpus).cloned().unwrap_or_default();
                let from = self.rng.usize(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            8 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = *self.rng.choice(b"\0\t\n\r \"'#%&./:;<=>?@\\{|}09aZ\x7f\xc3\xff").unwrap_or(&0);
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.rng.u8(0..8);
                }
            }
        }
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    drop(bytes.splice(at..at, part.iter().copied()));
}
