//! Whether a ledger becomes slower as it grows.

use std::time::Duration;

use crate::lives::Lives;
use crate::measure;
use crate::store::Store;
use crate::table::{self, count, grouped};

/// The orders of a ledger that is still small.
const FEW: u64 = 10_000;

/// How often a small ledger and the large one take turns.
const TURNS: u32 = 15;

/// Measures each store with few orders and with many: lives of new orders, in turns, so that a moment in which the machine is slow falls on
/// both. The large one is the same all the time; the small one is a new one each time, for it would not stay small. All of the time
/// counts, so that copying a log back falls on those whose log it is.
pub(crate) fn show(stores: &[Box<dyn Store>], many: u64, events: u64, rising: bool) -> anyhow::Result<()> {
    let head = [
        "",
        &format!("{} orders, events/s", grouped(count(FEW))),
        &format!("{} orders", grouped(count(many))),
        "change",
    ];
    let mut table = table::markdown(&head);
    let events = events / 5;
    for store in stores {
        // Whole lives only, and of orders that nothing else begins.
        let lives = || Lives::new(rising).after(u64::from(u32::MAX));
        let (place, mut fill, mut long) = (store.place()?, Lives::new(rising), lives());
        let large = place.open()?;
        for _ in 0..many.div_ceil(100_000) {
            measure::batches(&*large, fill.beginnings(100_000))?;
        }
        let (mut few, mut then) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..TURNS {
            let place = store.place()?;
            let small = place.open()?;
            measure::batches(&*small, Lives::new(rising).beginnings(FEW))?;
            few += measure::batches(&*small, lives().batches(events))?;
            then += measure::batches(&*large, long.batches(events))?;
        }
        let rate = |took: Duration| count(events * u64::from(TURNS)) / took.as_secs_f64();
        let change = format!("{:+.0} %", 100.0 * (rate(then) / rate(few) - 1.0));
        table.add_row([store.name().to_owned(), grouped(rate(few)), grouped(rate(then)), change]);
    }
    println!("\n{table}");
    Ok(())
}
