use std::sync::atomic::{AtomicU64, Ordering};

/// The logical clock of Celery's fleet: everybody who hears of a later moment moves on past it, so that events of
/// different machines have an order.
#[derive(Debug, Default)]
pub struct LogicalClock(AtomicU64);

impl LogicalClock {
    /// The next moment, for something that is sent.
    pub fn forward(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Hears of somebody's moment.
    pub fn adjust(&self, heard: u64) {
        // A clock that somebody set to the end of all numbers must not stop ours.
        if heard < u64::MAX / 2 {
            self.0.fetch_max(heard, Ordering::Relaxed);
            self.forward();
        }
    }

    /// The moment now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_moves_past_what_it_hears_and_never_back() {
        let clock = LogicalClock::default();
        assert_eq!(clock.forward(), 1);
        clock.adjust(40);
        assert_eq!(clock.value(), 41);
        clock.adjust(3);
        assert_eq!(clock.value(), 42);
        clock.adjust(u64::MAX);
        assert_eq!(clock.value(), 42);
    }
}
