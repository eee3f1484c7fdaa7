//! See `portnat_fuzz::spec`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portnat_fuzz::spec(data));
