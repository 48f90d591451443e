//! Records of a frame.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lockmaster::store::fuzzing::records(data));
