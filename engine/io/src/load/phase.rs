//! How far a load is.

/// The phases, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Publishers wait for all clients.
    Connecting,
    /// Messages flow and do not count yet.
    Warming,
    Measuring,
    /// The publishers have stopped; the rest is awaited.
    Draining,
    /// The clients say goodbye.
    Ended,
}

impl Phase {
    pub(super) const fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::Connecting,
            1 => Self::Warming,
            2 => Self::Measuring,
            3 => Self::Draining,
            _ => Self::Ended,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Warming => "warming",
            Self::Measuring => "measuring",
            Self::Draining => "draining",
            Self::Ended => "ended",
        }
    }

    /// Whether publishers publish.
    pub(super) const fn is_sending(self) -> bool {
        matches!(self, Self::Warming | Self::Measuring)
    }
}
