//! What a log says, replayed into a queue.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lockmaster::runtime::fuzzing::queue(data));
