//! A segment of good frames, as recovery reads it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lockmaster::store::fuzzing::log(data, &mut |_| {}));
