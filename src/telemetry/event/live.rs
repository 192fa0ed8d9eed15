//! What is told live.
//!
//! Owns: notices that were sent, dropped, or failed, and those who watch through a browser.
//! Never: what a notice says.

use tracing::{debug, info, trace, warn};

use crate::telemetry::Happening;
use crate::telemetry::meters::{Meters, number};

/// Notices were published.
#[derive(Debug, Clone, Copy)]
pub struct NotificationsSent {
    /// How many.
    pub count: usize,
    /// How many subscribers were given one, summed over all of them.
    pub receivers: u64,
}

/// Notices did not fit into the queue.
#[derive(Debug, Clone, Copy)]
pub struct NotificationsDropped {
    /// How many.
    pub count: usize,
}

/// Notices could not be published. They are not tried again.
#[derive(Debug, Clone, Copy)]
pub struct NotificationsFailed<'a> {
    /// How many.
    pub count: usize,
    /// Whether it worked until now.
    pub first: bool,
    /// Why.
    pub reason: &'a str,
}

/// Publishing works again.
#[derive(Debug, Clone, Copy)]
pub struct NotifierBack;

/// Those who watch through a browser cannot be told anything for now.
#[derive(Debug, Clone, Copy)]
pub struct LiveAway<'a> {
    /// Why.
    pub reason: &'a str,
}

/// Those who watch through a browser may have missed something, and are told so.
#[derive(Debug, Clone, Copy)]
pub struct LiveGap {
    /// Why: `away` or `too-slow`.
    pub reason: &'static str,
}

/// A browser did not take what it was sent, and was cut off.
#[derive(Debug, Clone, Copy)]
pub struct LiveClientCut;

/// How many browsers watch.
#[derive(Debug, Clone, Copy)]
pub struct LiveClients {
    /// So many.
    pub count: usize,
}

impl Happening for LiveAway<'_> {
    fn tell(self, _: &Meters) {
        warn!(reason = self.reason, "live notifications are not heard; trying again");
    }
}

impl Happening for LiveGap {
    fn tell(self, meters: &Meters) {
        meters.count_by("orderd_live_gaps_total", "reason", self.reason, 1);
        info!(reason = self.reason, "live notifications may have been missed; whoever watches is told");
    }
}

impl Happening for LiveClientCut {
    fn tell(self, meters: &Meters) {
        meters.live_clients_cut.increment(1);
        debug!("a browser was too slow and is cut off");
    }
}

impl Happening for LiveClients {
    fn tell(self, meters: &Meters) {
        meters.live_clients.set(number(self.count as u64));
    }
}

impl Happening for NotificationsSent {
    fn tell(self, meters: &Meters) {
        meters.notifications_sent.increment(self.count as u64);
        meters.notification_receivers.increment(self.receivers);
        trace!(count = self.count, receivers = self.receivers, "notifications sent");
    }
}

impl Happening for NotificationsDropped {
    fn tell(self, meters: &Meters) {
        meters.notifications_dropped.increment(self.count as u64);
        debug!(count = self.count, "notifications were dropped: more came than could be sent");
    }
}

impl Happening for NotificationsFailed<'_> {
    fn tell(self, meters: &Meters) {
        meters.notifications_failed.increment(self.count as u64);
        if self.first {
            warn!(reason = self.reason, "notifications cannot be sent; the work goes on without them");
        } else {
            debug!(count = self.count, reason = self.reason, "notifications were not sent");
        }
    }
}

impl Happening for NotifierBack {
    fn tell(self, _: &Meters) {
        info!("notifications are sent again");
    }
}
