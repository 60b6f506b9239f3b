//! English words that say nothing about a text's subject.

use std::collections::HashSet;
use std::sync::LazyLock;

const WORDS: &str = "
    a about above after again against all also am an and any are as at be because been before being below between both
    but by can could did do does doing down during each few for from further had has have having he her here hers
    herself him himself his how i if in into is it its itself just me more most my myself no nor not now of off on once
    only or other our ours ourselves out over own same she should so some such than that the their theirs them
    themselves then there these they this those through to too under until up very was we were what when where which
    while who whom why will with would you your yours yourself yourselves
    don't doesn't didn't isn't aren't wasn't weren't won't can't couldn't shouldn't wouldn't it's i'm you're he's she's
    we're they're i've you've we've they've that's there's
";

static SET: LazyLock<HashSet<&'static str>> = LazyLock::new(|| WORDS.split_whitespace().collect());

/// Whether this word (in lower case) is one of them.
pub(crate) fn contains(word: &str) -> bool {
    SET.contains(word)
}
