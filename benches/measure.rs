//! What the benchmarks share: quantiles, synthetic text and vectors. Each benchmark is a program of its own
//! (`cargo bench -p mnemosyne-benches --bench store`) that prints its figures and ends; none of them judges.
#![allow(clippy::print_stdout, reason = "printing figures is what a benchmark is for")]

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// The figures of many runs of one thing.
pub struct Runs(Vec<Duration>);

impl Runs {
    /// Takes the times as they were measured.
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that this share of the runs (0 to 1) did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0
            .get((share * last as f64).round() as usize)
            .copied()
            .unwrap_or_default()
    }

    /// Prints one line.
    pub fn print(&self, name: &str) {
        println!(
            "{name:<44} p50 {:>8.2} ms   p95 {:>8.2} ms   max {:>8.2} ms   ({} runs)",
            self.quantile(0.5).as_secs_f64() * 1e3,
            self.quantile(0.95).as_secs_f64() * 1e3,
            self.quantile(1.0).as_secs_f64() * 1e3,
            self.0.len()
        );
    }
}

/// A number after `--name` on the command line, or the default.
pub fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args();
    while let Some(argument) = arguments.next() {
        if argument == format!("--{name}") {
            return arguments
                .next()
                .and_then(|value| value.parse().ok())
                .unwrap_or(default);
        }
    }
    default
}

/// A text argument after `--name`.
pub fn text_argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|argument| *argument == format!("--{name}"))?;
    arguments.next()
}

/// Words with the uneven frequencies of a language: word `i` of `n` is about `1 / (i + 3)` as frequent.
pub struct Vocabulary {
    words: Vec<String>,
    cumulative: Vec<f64>,
}

impl Vocabulary {
    /// As many made-up words.
    pub fn new(size: usize, rng: &mut StdRng) -> Self {
        const SYLLABLES: [&str; 24] = [
            "ka", "ro", "mi", "ten", "sol", "var", "lu", "en", "dor", "pi", "ska", "tum", "re", "lin", "ab",
            "os", "qui", "gra", "ne", "ful", "her", "ist", "mon", "ze",
        ];
        let words = (0..size)
            .map(|index| {
                let mut word = String::new();
                for _ in 0..rng.random_range(2..5) {
                    word.push_str(SYLLABLES[rng.random_range(0..SYLLABLES.len())]);
                }
                format!(
                    "{word}{}",
                    if index > 5_000 {
                        index.to_string()
                    } else {
                        String::new()
                    }
                )
            })
            .collect();
        let mut sum = 0.0;
        let cumulative = (0..size)
            .map(|index| {
                sum += 1.0 / (index as f64 + 3.0);
                sum
            })
            .collect();
        Self { words, cumulative }
    }

    /// One word, common ones more often.
    pub fn word(&self, rng: &mut StdRng) -> &str {
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let at = rng.random_range(0.0..total);
        &self.words[self
            .cumulative
            .partition_point(|sum| *sum < at)
            .min(self.words.len() - 1)]
    }

    /// The word of this rank of frequency.
    pub fn nth(&self, rank: usize) -> &str {
        &self.words[rank % self.words.len()]
    }

    /// So many words in sentences.
    pub fn text(&self, words: usize, rng: &mut StdRng) -> String {
        let mut text = String::new();
        for index in 0..words {
            text.push_str(self.word(rng));
            text.push_str(if index % 12 == 11 { ". " } else { " " });
        }
        text
    }
}

/// Vectors around centres, as those of real texts are: `centre + noise`, of length 1.
pub struct Clusters {
    centres: Vec<Vec<f32>>,
}

impl Clusters {
    /// As many centres of this dimension.
    pub fn new(centres: usize, dimension: usize, rng: &mut StdRng) -> Self {
        let centres = (0..centres)
            .map(|_| (0..dimension).map(|_| rng.random_range(-1.0..1.0)).collect())
            .collect();
        Self { centres }
    }

    /// A vector near one of the centres.
    pub fn vector(&self, rng: &mut StdRng) -> Vec<f32> {
        let centre = &self.centres[rng.random_range(0..self.centres.len())];
        let mut vector: Vec<f32> = centre.iter().map(|x| x + rng.random_range(-0.6..0.6)).collect();
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
        vector
    }
}
