//! Inputs that are nearly right: a valid one with something done to it. `PROPTEST_CASES` says how many are tried.

use proptest::prelude::*;
use proptest::sample::Index;

/// Something that is done to a valid input.
#[derive(Clone, Debug)]
pub enum Mutation {
    /// One bit becomes another.
    Flip {
        /// Where.
        at: Index,
        /// Which bit.
        bit: u8,
    },
    /// One byte becomes another.
    Set {
        /// Where.
        at: Index,
        /// What stands there then.
        byte: u8,
    },
    /// A letter changes its case, or a sign of one base64 alphabet becomes that of the other.
    Turn {
        /// Where the search for one begins.
        at: Index,
    },
    /// Something comes in between.
    Insert {
        /// Where.
        at: Index,
        /// What.
        bytes: Vec<u8>,
    },
    /// A piece goes.
    Delete {
        /// Where it begins.
        from: Index,
        /// How many bytes at the most.
        length: usize,
    },
    /// The end goes.
    Truncate {
        /// From here on.
        at: Index,
    },
    /// A piece comes twice.
    Duplicate {
        /// Where it begins.
        from: Index,
        /// How many bytes at the most.
        length: usize,
        /// Where it comes again.
        at: Index,
    },
    /// Two parts between separators change places.
    Swap {
        /// The one.
        one: Index,
        /// The other.
        other: Index,
    },
    /// The end is that of another valid input.
    Splice {
        /// Which one.
        donor: Index,
        /// Where the end begins, here.
        at: Index,
        /// And where there.
        from: Index,
    },
    /// A part between separators is that of another valid input.
    Graft {
        /// Which one.
        donor: Index,
        /// Which part.
        part: Index,
    },
    /// All of it is repeated.
    Repeat {
        /// So many times.
        times: usize,
    },
}

/// What separates the parts of signed texts, headers and passwords.
const SEPARATORS: &[u8] = b".:$ ";

/// One to four mutations.
pub fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec(mutation(), 1..5)
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    let bytes = prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..4),
        // What decoders of base64 may pass over or take for an end.
        4 => prop::sample::select(vec!["=", "==", "===", "\n", "\r\n", " ", "\t", "-", "_", "+", "/", "\0", ".", ":", ","])
            .prop_map(|text| text.as_bytes().to_vec()),
        // Letters that look like others, marks that combine, that which turns the direction, and that which is not to be seen.
        2 => prop::sample::select(vec!["\u{0430}", "\u{ff21}", "e\u{301}", "\u{202e}", "\u{200b}", "\u{feff}", "\u{212a}", "🦉"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => (any::<u8>(), prop_oneof![Just(1_000_usize), Just(8_192), Just(100_000)])
            .prop_map(|(byte, times)| vec![byte; times]),
    ];
    prop_oneof![
        3 => (at(), 0_u8..8).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Mutation::Set { at, byte }),
        3 => at().prop_map(|at| Mutation::Turn { at }),
        4 => (at(), bytes).prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        2 => (at(), 1_usize..20).prop_map(|(from, length)| Mutation::Delete { from, length }),
        2 => at().prop_map(|at| Mutation::Truncate { at }),
        2 => (at(), 1_usize..60, at()).prop_map(|(from, length, at)| Mutation::Duplicate { from, length, at }),
        2 => (at(), at()).prop_map(|(one, other)| Mutation::Swap { one, other }),
        2 => (at(), at(), at()).prop_map(|(donor, at, from)| Mutation::Splice { donor, at, from }),
        3 => (at(), at()).prop_map(|(donor, part)| Mutation::Graft { donor, part }),
        1 => (2_usize..5).prop_map(|times| Mutation::Repeat { times }),
    ]
}

/// A valid input after these mutations; the donors are other valid ones of the same kind.
pub fn mutated(valid: &[u8], donors: &[&[u8]], mutations: &[Mutation]) -> Vec<u8> {
    mutations
        .iter()
        .fold(valid.to_vec(), |input, mutation| apply(input, donors, mutation))
}

/// The same as text; what is no UTF-8 any more has a sign in its place that says so.
pub fn mutated_text(valid: &str, donors: &[&str], mutations: &[Mutation]) -> String {
    let donors: Vec<&[u8]> = donors.iter().map(|donor| donor.as_bytes()).collect();
    String::from_utf8_lossy(&mutated(valid.as_bytes(), &donors, mutations)).into_owned()
}

fn apply(mut input: Vec<u8>, donors: &[&[u8]], mutation: &Mutation) -> Vec<u8> {
    // A place in something, its end included.
    let place = |at: &Index, length: usize| at.index(length + 1);
    let length = input.len();
    match mutation {
        Mutation::Flip { at, bit } if length > 0 => input[at.index(length)] ^= 1 << bit,
        Mutation::Set { at, byte } if length > 0 => input[at.index(length)] = *byte,
        Mutation::Turn { at } if length > 0 => {
            let begin = at.index(length);
            let turned = |byte: u8| match byte {
                b'-' => Some(b'+'),
                b'+' => Some(b'-'),
                b'_' => Some(b'/'),
                b'/' => Some(b'_'),
                letter if letter.is_ascii_alphabetic() => Some(letter ^ 0x20),
                _ => None,
            };
            let found = (begin..length).find_map(|at| turned(input[at]).map(|byte| (at, byte)));
            if let Some((at, byte)) = found {
                input[at] = byte;
            }
        }
        Mutation::Insert { at, bytes } => {
            let at = place(at, length);
            input.splice(at..at, bytes.iter().copied());
        }
        Mutation::Delete { from, length: count } => {
            let from = place(from, length);
            input.drain(from..length.min(from + count));
        }
        Mutation::Truncate { at } => input.truncate(place(at, length)),
        Mutation::Duplicate {
            from,
            length: count,
            at,
        } => {
            let from = place(from, length);
            let piece = input[from..length.min(from + count)].to_vec();
            let at = place(at, length);
            input.splice(at..at, piece);
        }
        Mutation::Swap { one, other } => {
            let parts = parts(&input);
            let (one, other) = (one.index(parts.len()), other.index(parts.len()));
            let (first, last) = (one.min(other), one.max(other));
            if first < last {
                let (first, last) = (parts[first].clone(), parts[last].clone());
                input = [
                    &input[..first.start],
                    &input[last.clone()],
                    &input[first.end..last.start],
                    &input[first],
                    &input[last.end..],
                ]
                .concat();
            }
        }
        Mutation::Splice { donor, at, from } if !donors.is_empty() => {
            let donor = donors[donor.index(donors.len())];
            input.truncate(place(at, length));
            input.extend_from_slice(&donor[place(from, donor.len())..]);
        }
        Mutation::Graft { donor, part } if !donors.is_empty() => {
            let donor = donors[donor.index(donors.len())];
            let (ours, theirs) = (parts(&input), parts(donor));
            let part = part.index(ours.len().min(theirs.len()));
            input.splice(ours[part].clone(), donor[theirs[part].clone()].iter().copied());
        }
        Mutation::Repeat { times } if length < 1 << 20 => input = input.repeat(*times),
        // There is nothing to do it to.
        _ => {}
    }
    input
}

/// The ranges between separators; at least one.
fn parts(input: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut begin = 0;
    let mut found = Vec::new();
    for (at, byte) in input.iter().enumerate() {
        if SEPARATORS.contains(byte) {
            found.push(begin..at);
            begin = at + 1;
        }
    }
    found.push(begin..input.len());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_between_separators() {
        assert_eq!(parts(b"ab.c::d"), [0..2, 3..4, 5..5, 6..7]);
        assert_eq!(parts(b"."), [0..0, 1..1]);
    }

    proptest! {
        /// Most of what comes out is another input, and none of it breaks the mutator.
        #[test]
        fn something_comes_of_every_list(mutations in mutations()) {
            for valid in ["", "a", "aa.bb.cc", "Basic YTpi"] {
                mutated(valid.as_bytes(), &[b"x.y:z", b""], &mutations);
                mutated_text(valid, &[], &mutations);
            }
        }
    }
}
