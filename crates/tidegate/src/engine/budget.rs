//! What retries may take of the traffic.

/// Retries that may be sent: a share of the rows that are sent for the first time, so that trouble with
/// some does not crowd out the others.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// In hundredths of a retry.
    saved: u64,
    percent: u64,
}

impl Budget {
    /// What is there at first, and at most.
    const RETRIES: (u64, u64) = (10, 100);

    pub(super) fn new(percent: u64) -> Self {
        Self { saved: Self::RETRIES.0 * 100, percent }
    }

    /// A row is sent for the first time.
    pub(super) fn earn(&mut self) {
        self.saved = (self.saved + self.percent).min(Self::RETRIES.1 * 100);
    }

    /// Whether a retry may be sent; then it is paid for.
    pub(super) fn pays(&mut self) -> bool {
        let left = self.saved.checked_sub(100);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }
}
