//! The rules that the protocol stands on, by name, so that tests can take one away and see that it is missed.

/// A rule of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// A number is taken when all before it were.
    NumbersInOrder,
    /// Numbers of another history are other numbers.
    EpochsTold,
    /// A receiver goes on where the sender's first row is, if that is further.
    BaseMoves,
    /// A sender that hears of a later history of its own begins another.
    LaterEpochHeard,
    /// An acknowledgement counts only with the sender's own chain.
    AckHasChain,
    /// A number is taken only behind the chain that the receiver knows.
    DataHasChain,
    /// An envelope goes to nobody who has had it.
    PathHeld,
    /// An envelope for the fleet goes on from bot to bot.
    HandedOn,
    /// It goes on as far as links lead.
    WithoutEnd,
    /// What is not acknowledged is sent again.
    SentAgain,
}

impl Law {
    /// Those that some hundred random networks miss. [`Self::DataHasChain`] is missed in one of three thousand: it has
    /// a test of its own in [`super::link`].
    #[cfg(test)]
    pub const ALL: &[Self] = &[
        Self::NumbersInOrder,
        Self::EpochsTold,
        Self::BaseMoves,
        Self::LaterEpochHeard,
        Self::AckHasChain,
        Self::PathHeld,
        Self::HandedOn,
        Self::WithoutEnd,
        Self::SentAgain,
    ];

    /// Whether a test has taken this rule away; never outside of tests.
    #[cfg(not(test))]
    pub const fn is_broken(self) -> bool {
        false
    }

    #[cfg(test)]
    pub fn is_broken(self) -> bool {
        BROKEN.with(|broken| broken.get() == Some(self))
    }

    /// Takes a rule away from everything that runs on this thread, or gives it back.
    #[cfg(test)]
    pub fn break_only(law: Option<Self>) {
        BROKEN.with(|broken| broken.set(law));
    }
}

#[cfg(test)]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Law>> = const { std::cell::Cell::new(None) };
}
