//! See `portnat_fuzz::control`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portnat_fuzz::control(data));
