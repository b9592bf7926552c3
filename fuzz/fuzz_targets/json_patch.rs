#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| knarr_fuzz::json_patch(bytes));
