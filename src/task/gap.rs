//! The look at the ledger before anything is read: does it hold what was acknowledged?
//!
//! Owns: the comparison with the mark that the ledger of this group left in Redis, and the words for the operator.
//! Never: a way around a gap; only the operator knows what the events are worth.

use std::fmt;
use std::sync::Arc;

use crate::broker::Broker;
use crate::broker::error::BrokerError;
use crate::broker::mark::Span;
use crate::domain::batch::Source;
use crate::domain::id::{EntryId, GroupName, StreamKey};
use crate::domain::mark::{Gap, Mark};
use crate::ledger::Ledger;
use crate::ledger::error::LedgerError;

/// A ledger lacks events that were acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    kind: Gap,
    left: Mark,
    present: Mark,
    span: Option<Span>,
    stream: StreamKey,
    group: GroupName,
}

/// The look came to nothing. It can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum CannotLook {
    /// Redis is away.
    #[error(transparent)]
    Redis(#[from] BrokerError),
    /// The ledger is.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Looks whether `ledger` lacks anything.
pub async fn look(broker: &Broker, ledger: &dyn Ledger) -> Result<Option<Missing>, CannotLook> {
    let Some(left) = broker.ledger_mark().await? else { return Ok(None) };
    let present = ledger.standing(source_of(broker)).await?;
    let Some(kind) = left.gap(&present) else { return Ok(None) };
    let known = if kind == Gap::Older { present.highest } else { EntryId::MIN };
    let span = broker.handed_out_above(known).await?;
    let (stream, group) = (broker.keys().stream.clone(), broker.keys().group.clone());
    Ok(Some(Missing { kind, left, present, span, stream, group }))
}

/// Leaves a mark: so far `ledger` has come.
pub async fn leave_mark(broker: &Broker, ledger: &dyn Ledger) -> Result<(), CannotLook> {
    let present = ledger.standing(source_of(broker)).await?;
    Ok(broker.set_ledger_mark(&present).await?)
}

/// What `broker` works for.
pub fn source_of(broker: &Broker) -> Arc<Source> {
    Arc::new(Source { stream: broker.keys().stream.clone(), group: broker.keys().group.clone() })
}

impl std::error::Error for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, left, present, span, stream, group } = self;
        match kind {
            Gap::Older => write!(
                f,
                "the ledger lacks events that were acknowledged: its history ends with event {} (entry {}), and it had come to event {} \
                 (entry {}). An older copy was put in its place.",
                present.last, present.highest, left.last, left.highest
            )?,
            Gap::Another => write!(
                f,
                "the ledger lacks events that were acknowledged: those of group {group} on {stream} were applied to another one, \
                 {} (up to the entry {}), and this is {}. It was lost or moved, or ledger.url has changed.",
                left.ledger, left.highest, present.ledger
            )?,
        }
        let known = if *kind == Gap::Older { present.highest } else { EntryId::MIN };
        match span {
            Some(Span { first, last, count, more }) => {
                let count = if *more { format!("more than {count}") } else { count.to_string() };
                write!(
                    f,
                    " On the stream there are still {count} entries of that time, from {first} to {last}. To have them applied, stop \
                     all workers, run `XGROUP SETID {stream} {group} {known}` in Redis, and start with --accept-gap: what the ledger \
                     has is recognised. To go on without them, only start with --accept-gap."
                )
            }
            None => {
                f.write_str(" None of them is on the stream any more. To go on without them, start with --accept-gap.")
            }
        }
    }
}
