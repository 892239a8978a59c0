//! What is left out first when there is too much to do.

/// How much a shop needs an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Browsing, ordering, paying: refused last.
    Core,
    /// Nice to have.
    Minor,
    /// Can wait: whoever asked comes again later.
    Async,
}

impl Level {
    /// Up to which share of all places, in percent, requests of this level are taken.
    pub const fn share(self) -> usize {
        match self {
            Self::Core => 100,
            Self::Minor => 80,
            Self::Async => 60,
        }
    }

    /// Whether one more is taken while so many of so many places are in use.
    pub const fn takes(self, in_flight: usize, most: usize) -> bool {
        in_flight.saturating_mul(100) < most.saturating_mul(self.share())
    }

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Minor => "minor",
            Self::Async => "async",
        }
    }
}
