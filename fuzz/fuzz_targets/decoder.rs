//! What a server sends, taken apart by orderd and by the client library. What has to hold is said where the decoder is:
//! `src/broker/wire/library.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orderd::broker::wire::library;

fuzz_target!(|input: &[u8]| {
    if let Err(disagreement) = library::agrees(input) {
        panic!("{disagreement}");
    }
});
