//! See `portnat_fuzz::nat`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portnat_fuzz::nat(data));
