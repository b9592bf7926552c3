#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| knarr_fuzz::merge_patch(bytes));
