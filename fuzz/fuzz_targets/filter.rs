//! Filters of a query.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lockmaster::interfaces::fuzzing::filter(data));
