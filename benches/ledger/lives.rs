//! The events: orders that live side by side.

use std::sync::Arc;

use orderd::domain::batch::{Batch, Context, Source, Work};
use orderd::domain::entry::Entry;
use orderd::domain::event::{Action, OrderEvent};
use orderd::domain::id::EntryId;

/// What happens to each order, in sequence.
const STEPS: [&str; 4] = ["created", "paid", "shipped", "delivered"];
/// So many orders live at the same time.
const BESIDE: u64 = 500;
/// As many events as the daemon gives to the ledger in one call.
pub(crate) const BATCH: u64 = 1024;

/// Events without end, each of them once.
pub(crate) struct Lives {
    source: Arc<Source>,
    next: u64,
    rising: bool,
}

impl Lives {
    /// With ids of orders that rise, or that lie anywhere.
    pub(crate) fn new(rising: bool) -> Self {
        let source = Arc::new(Source { stream: "orders:events".into(), group: "order-processors".into() });
        Self { source, next: 0, rising }
    }

    /// The same, with other entries.
    pub(crate) fn after(mut self, events: u64) -> Self {
        // A whole number of rounds, so that lives begin with their beginning.
        self.next = events.next_multiple_of(BESIDE * STEPS.len() as u64);
        self
    }

    /// The next `events`, as many at a time as the daemon brings.
    pub(crate) fn batches(&mut self, events: u64) -> Vec<Batch> {
        let sizes = (0..events.div_ceil(BATCH)).map(|at| BATCH.min(events - at * BATCH));
        sizes.map(|size| Arc::new((0..size).map(|_| self.event()).collect())).collect()
    }

    /// One event for each of so many new orders.
    pub(crate) fn beginnings(&mut self, orders: u64) -> Vec<Batch> {
        let sizes = (0..orders.div_ceil(BATCH)).map(|at| BATCH.min(orders - at * BATCH));
        sizes
            .map(|size| {
                let begin = |_| {
                    let number = self.next;
                    self.next += 1;
                    // Numbers that no life has.
                    self.work(number, u64::MAX / 2 + number, 0)
                };
                Arc::new((0..size).map(begin).collect())
            })
            .collect()
    }

    /// The next event alone.
    pub(crate) fn event(&mut self) -> Work {
        let number = self.next;
        self.next += 1;
        let round = BESIDE * STEPS.len() as u64;
        let order = number / round * BESIDE + number % BESIDE;
        self.work(number, order, usize::try_from(number % round / BESIDE).unwrap_or_default())
    }

    fn work(&self, number: u64, order: u64, step: usize) -> Work {
        let order = if self.rising { format!("order-{order:020}") } else { format!("order-{:016x}", scattered(order)) };
        let (action, user) = (STEPS[step], format!("user-{:08x}", scattered(number / 40) >> 32));
        let fields = [("action", action), ("orderId", &order), ("amount", "49.90"), ("userId", &user)];
        let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        let event = OrderEvent {
            order: order.as_str().into(),
            user: Some(user.as_str().into()),
            action: Action::from(action),
            amount: "49.90".parse().ok(),
            replay_of: None,
            event_id: None,
            entry: Entry {
                id: EntryId::new(1_764_600_000_000 + number / 4, number % 4),
                fields: fields.to_vec().into(),
            },
        };
        Work { event: event.into(), context: Context { source: Arc::clone(&self.source), attempt: 1 } }
    }
}

/// Lies anywhere, and is another for each number (the finalizer of `SplitMix64`).
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
