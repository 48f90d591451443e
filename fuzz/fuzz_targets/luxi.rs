//! Requests of the protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lockmaster::interfaces::fuzzing::luxi(data));
