//! libFuzzer's way to [`coracle_fuzz::streams`].
#![no_main]
#![allow(unsafe_code, reason = "what libFuzzer calls has a name that is not mangled")]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    coracle_fuzz::streams::check(input);
});
