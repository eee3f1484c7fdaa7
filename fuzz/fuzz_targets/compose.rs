//! See `portnat_fuzz::compose`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portnat_fuzz::compose(data));
