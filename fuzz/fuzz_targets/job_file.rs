//! Job files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lockmaster::interfaces::fuzzing::job_file(data));
