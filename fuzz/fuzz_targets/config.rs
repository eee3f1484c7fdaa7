//! See `portnat_fuzz::config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portnat_fuzz::config(data));
