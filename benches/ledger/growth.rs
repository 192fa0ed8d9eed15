//! Whether a ledger becomes slower as it grows.

use crate::lives::Lives;
use crate::measure;
use crate::store::Store;
use crate::table::{self, count, grouped};

/// The orders of a ledger that is still small.
const FEW: u64 = 10_000;

/// How often the same is measured at each size.
const STRETCHES: usize = 5;

/// Measures each store with few orders and with many: lives of new orders, in stretches, the median of them.
pub(crate) fn show(stores: &[Box<dyn Store>], many: u64, events: u64, rising: bool) -> anyhow::Result<()> {
    let head = [
        "",
        &format!("{} orders, events/s", grouped(count(FEW))),
        &format!("{} orders", grouped(count(many))),
        "change",
    ];
    let mut table = table::markdown(&head);
    for store in stores {
        let place = store.place()?;
        let ledger = place.open()?;
        // Whole lives only, and of orders that nothing else begins.
        let (mut fill, mut lives) = (Lives::new(rising), Lives::new(rising).after(u64::from(u32::MAX)));
        let rate = |lives: &mut Lives| {
            let stretches = (0..STRETCHES).map(|_| measure::batches(&*ledger, lives.batches(events / 5)));
            stretches.collect::<anyhow::Result<_>>().map(measure::median)
        };
        measure::batches(&*ledger, fill.beginnings(FEW))?;
        let few = rate(&mut lives)?;
        for _ in 0..many.div_ceil(100_000) {
            measure::batches(&*ledger, fill.beginnings(100_000))?;
        }
        let then = rate(&mut lives)?;
        let change = format!("{:+.0} %", 100.0 * (then / few - 1.0));
        table.add_row([store.name().to_owned(), grouped(few), grouped(then), change]);
    }
    println!("\n{table}");
    Ok(())
}
