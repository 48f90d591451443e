//! Frames of a segment.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lockmaster::store::fuzzing::frames(data));
